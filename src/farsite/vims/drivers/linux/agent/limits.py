"""Memory, CPU and process limits of VDUs by control groups, version 1 or 2, whichever is writable.

Without one, a VDU's data size is limited per process (RLIMIT_DATA) and the site reports that its
limits are not enforced in full.
"""

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farsite.model.deployment import WantedVnfc
from farsite.model.ids import VnfcId
from farsite.vims.drivers.linux.paths import short_hash

_ROOT = Path("/sys/fs/cgroup")
_PROCESSES = 512
_PERIOD_US = 100_000


class Limits(Protocol):
    """How limits are set on this host."""

    @property
    def missing(self) -> str:
        """Why limits are not enforced in full; empty when they are."""
        ...

    def apply(self, key: str, wanted: WantedVnfc, pid: int) -> None:
        """Put a VDU's first process, and so all its descendants, under its limits."""
        ...

    def remove(self, key: str) -> None:
        """Forget a VDU that has ended; an absent one is well."""
        ...


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Limits by one directory per VDU under each of `roots` (one for version 2)."""

    roots: tuple[Path, ...]
    is_unified: bool
    missing: str = ""

    def apply(self, key: str, wanted: WantedVnfc, pid: int) -> None:
        """Put a process and its descendants under the limits of a VNFC."""
        size, quota = wanted.memory_mib << 20, wanted.vcpus * _PERIOD_US
        if self.is_unified:
            settings = {
                "memory.max": str(size),
                "pids.max": str(_PROCESSES),
                "cpu.max": f"{quota} {_PERIOD_US}",
            }
        else:
            settings = {
                "memory.limit_in_bytes": str(size),
                "pids.max": str(_PROCESSES),
                "cpu.cfs_period_us": str(_PERIOD_US),
                "cpu.cfs_quota_us": str(quota),
            }
        for root in self.roots:
            group = root / key
            group.mkdir(exist_ok=True)
            for name, value in settings.items():
                if (group / name).exists():
                    (group / name).write_text(value)
            (group / "cgroup.procs").write_text(str(pid))

    def remove(self, key: str) -> None:
        """Remove the groups of a VDU that has ended."""
        for root in self.roots:
            with contextlib.suppress(OSError):
                (root / key).rmdir()


@dataclass(frozen=True, slots=True)
class NoGroups:
    """No writable control group."""

    missing: str

    def apply(self, key: str, wanted: WantedVnfc, pid: int) -> None:  # noqa: ARG002
        """Limit what the process may allocate; it has not executed yet, so its descendants inherit."""
        with contextlib.suppress(OSError):
            size = wanted.memory_mib << 20
            resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))

    def remove(self, key: str) -> None:
        """Nothing to remove."""


def probe(site: str) -> Limits:
    """What works here, by putting a process of our own under limits."""
    trial = f"farsite-trial-{short_hash(site)}-{os.getpid()}"
    candidates = (
        ControlGroups(tuple(_ROOT / name for name in ("memory", "pids", "cpu")), is_unified=False),
        ControlGroups((_ROOT,), is_unified=True),
    )
    for groups in candidates:
        if all((root / "cgroup.procs").exists() for root in groups.roots) and _works(groups, trial):
            return groups
    return unavailable()


def forget(key: str) -> None:
    """Remove what any kind of control group holds of a VDU that has ended."""
    for root in (_ROOT, *(_ROOT / name for name in ("memory", "pids", "cpu"))):
        with contextlib.suppress(OSError):
            (root / key).rmdir()


def unavailable() -> Limits:
    """Where control groups are out of reach, as they are without root or delegation."""
    return NoGroups(
        "No writable control group, so only the data size of each process is limited. "
        "Run as root, or have a control group delegated to this user."
    )


def _works(groups: ControlGroups, trial: str) -> bool:
    if groups.is_unified:
        # Controllers must be handed down before a child group has their files.
        with contextlib.suppress(OSError):
            (_ROOT / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    wanted = WantedVnfc(id=VnfcId("trial"), vdu="trial", image="trial")
    try:
        groups.apply(trial, wanted, child)
        names = ("memory.max", "memory.limit_in_bytes")
        return any((root / trial / name).exists() for root in groups.roots for name in names)
    except OSError:
        return False
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        groups.remove(trial)
