"""The seam to Ansible: one run of a playbook on one device, and what it told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from farsite.vnfs.shell import Holds


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """What a task changed, or with `is_check` would change. A module that does not say what tells neither."""

    task: str
    path: str = ""
    """The file, where it is one."""
    before: str = ""
    after: str = ""
    diff: str = ""
    """In place of both, where the module makes the difference itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFault:
    """The task at which a playbook ended, and why. `is_unreachable`: Ansible has lost the device, or never
    had it."""

    task: str
    words: str
    is_unreachable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of a playbook: it went through if `fault` is None."""

    changes: tuple[TaskChange, ...] = ()
    fault: TaskFault | None = None


class Playbooks(Protocol):
    """Runs the playbooks of an adapter's folder on one device, one after another."""

    @property
    def shell(self) -> Holds:
        """The device's shell, over the same connection."""
        ...

    async def play(
        self,
        playbook: str,
        variables: Mapping[str, object],
        *,
        texts: Mapping[str, str],
        is_check: bool,
        through: str,
        scratch: str,
        timeout_s: float,
    ) -> Played:
        """Run one, with `variables` as its variable `farsite`. No text in them is taken for a template.

        `texts` lie beside the playbook while it runs, as `texts/NAME`. `is_check`: nothing is changed, what
        would be is told. `through` stands in place of `/bin/sh` on the device; what Ansible needs there for
        the time being is below `scratch`.

        Raises:
            NotSupported: there is no Ansible on this host.
            VnfUnreachable: it did not end in time, and was ended; it may have changed anything.
        """
        ...
