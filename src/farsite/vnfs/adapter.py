"""The VNF-management seam: what every adapter offers, whatever it is written in and however it talks.

An adapter manages the inside of one product: it fetches what runs, says what a configuration document would
change, and changes it so that a mistake undoes itself. Three rules carry everything else:

* **Fetched, not remembered.** A plan compares with what the device says now, and is applied only to that.
* **A change is unconfirmed until it is confirmed.** `apply` arms a dead-man's switch on the device (or beside
  it), which takes the change back unless `confirm` comes in time; losing the device is then no disaster.
* **Three outcomes.** A refusal is `VnfFault` in the device's own words, silence is `VnfUnreachable` (look
with `outcome`, then repeat), else it is done. Repeating a call with the same change id changes nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from farsite.model.configuration import Configuration, Service, Verb


class Evidence(StrEnum):
    """What an adapter was proved against."""

    REAL = "real"
    EMULATED = "emulated"
    """Written from the vendor's documents; it has not met the device."""


class Atomicity(StrEnum):
    """How a change takes effect."""

    ATOMIC = "atomic"
    """All of it or nothing, by the device's own means."""
    GUARDED = "guarded"
    """Step by step, and taken back when a step fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an adapter is for and can do."""

    name: str
    vendor: str
    product: str
    versions: str
    """Which of the product's versions, as people say it."""
    method: str
    services: frozenset[Service]
    verbs: frozenset[Verb]
    atomicity: Atomicity
    evidence: Evidence
    description: str = ""
    tried: tuple[str, ...] = ()
    """Which versions it was tried on, in the author's words."""


class ErrorCode(StrEnum):
    """What went wrong, so that programs can tell. The last column of `RETRIED` says whether repeating "
    "helps."""

    UNREACHABLE = "VNF_UNREACHABLE"
    TIMEOUT = "VNF_TIMEOUT"
    BUSY = "VNF_BUSY"
    AUTHENTICATION = "VNF_AUTHENTICATION"
    IDENTITY = "VNF_IDENTITY"
    """The device's host key or certificate is not the pinned one."""
    INVALID = "VNF_INVALID"
    CONFLICT = "VNF_CONFLICT"
    """Somebody else changed it, or has changes pending."""
    FULL = "VNF_FULL"
    NOT_SUPPORTED = "VNF_NOT_SUPPORTED"
    FAILED = "VNF_FAILED"


RETRIED: Mapping[ErrorCode, bool] = {
    ErrorCode.UNREACHABLE: True,
    ErrorCode.TIMEOUT: True,
    ErrorCode.BUSY: True,
    ErrorCode.AUTHENTICATION: False,
    ErrorCode.IDENTITY: False,
    ErrorCode.INVALID: False,
    ErrorCode.CONFLICT: False,
    ErrorCode.FULL: False,
    ErrorCode.NOT_SUPPORTED: False,
    ErrorCode.FAILED: False,
}
"""Whether the same call a moment later may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a device says that it runs now, of what the adapter manages."""

    texts: Mapping[str, str]
    """Native text by the name of its place (a file, a section of the configuration)."""
    version: str = ""
    digest: str = ""
    """Of the texts: two fetches with one digest found the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What would change in one place, as a unified diff of native text. Secrets in it are masked."""

    place: str
    diff: str

    @property
    def is_empty(self) -> bool:
        return not self.diff


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What applying a document would do, and to what."""

    differences: tuple[Difference, ...]
    against: str
    """Digest of what was running when the plan was made; applying it to anything else is refused."""

    @property
    def changes(self) -> bool:
        return any(not one.is_empty for one in self.differences)


class Outcome(StrEnum):
    """What became of a change, as the device tells."""

    NONE = "NONE"
    """It never got there."""
    PENDING = "PENDING"
    """Applied, and will be taken back unless it is confirmed."""
    CONFIRMED = "CONFIRMED"
    REVERTED = "REVERTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One look at whether a service of the function works, in the sense of its users."""

    name: str
    is_well: bool
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure of a function; names are stable and carry their unit."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """All of a device that the adapter manages, to the letter and with what is secret in it, so that it can
    be put back: also what no document speaks of.

    `texts` are native text by the name of the place, None where there was nothing. `version` is that of the
    software which ran.
    """

    texts: Mapping[str, str | None] = field(repr=False)
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an adapter is to make true: the document, or exactly what a backup holds."""

    document: Configuration = field(default_factory=Configuration)
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Values of the secrets that the document refers to, by name; never kept, told or logged."""
    backup: Backup | None = None


class Adapter(Protocol):
    """Manages the inside of one function. One object serves one device; calls come one after another."""

    @property
    def about(self) -> About: ...

    async def fetch(self) -> Running:
        """What runs now.

        Raises:
            VnfFault: the device refuses us or what it says cannot be read.
            VnfUnreachable: no answer.
        """
        ...

    async def back_up(self) -> Backup:
        """All that runs now, as it can be put back. Changes nothing.

        Raises:
            VnfFault: the device refuses us or what it says cannot be read.
            VnfUnreachable: no answer.
        """
        ...

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """What applying the document to this, or putting the backup back, would change. Changes nothing, on
        the device either.

        Raises:
            Invalid: the document speaks of a service that this product has not, or cannot be rendered.
            VnfFault: the device finds the candidate wrong; its words name the line.
        """
        ...

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """Make the document run, unconfirmed: the device takes it back after `confirm_within_s` seconds.

        Raises:
            Conflict: what runs is no longer what the plan was made against, or another change is pending.
            VnfFault: the device refused; what was in place before is in place again, as the error says.
            VnfUnreachable: we do not know; `outcome` tells.
        """
        ...

    async def confirm(self, change_id: str) -> None:
        """Keep the change. Confirming a confirmed change is success.

        Raises:
            Conflict: it was taken back already.
        """
        ...

    async def revert(self, change_id: str) -> None:
        """Take the change back now. Reverting what never got there, or was reverted, is success."""
        ...

    async def outcome(self, change_id: str) -> Outcome:
        """What became of a change."""
        ...

    async def health(self) -> Sequence[Probed]:
        """Look at each service that the function is for."""
        ...

    async def metrics(self) -> Sequence[Sample]:
        """The figures of the function now."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...
