"""What Farsite asks of a broker, and what it answers. This is the wire format of the broker API.

Every job is one call of the VNF-management seam (`vnfs.adapter.Adapter`) for one device. Values of secrets
are in a job, for the device needs them; they are sent over TLS only and kept by nobody longer than the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from farsite.model.configuration import Configuration
from farsite.model.errors import Conflict, FarsiteError, Invalid, NotSupported, VnfFault, VnfUnreachable
from farsite.model.licence import Licence
from farsite.model.software import DeviceSoftware, SoftwareImage
from farsite.vnfs.adapter import Backup, Outcome, Plan, Probed, Running, Sample

VERSION = 3
"""Raised when a broker of the version before could not understand a job. 2: the calls that upgrade
software. 3: backups are made, and put back in place of a document; licences."""


class JobVerb(StrEnum):
    """The calls of the seam."""

    FETCH = "fetch"
    BACK_UP = "back_up"
    PLAN = "plan"
    APPLY = "apply"
    CONFIRM = "confirm"
    REVERT = "revert"
    OUTCOME = "outcome"
    HEALTH = "health"
    METRICS = "metrics"
    SOFTWARE = "software"
    EXAMINE = "examine"
    RECEIVE = "receive"
    INSTALL = "install"
    UPGRADE = "upgrade"
    DISCARD = "discard"
    LICENCES = "licences"


_UPGRADES = (
    JobVerb.SOFTWARE,
    JobVerb.EXAMINE,
    JobVerb.RECEIVE,
    JobVerb.INSTALL,
    JobVerb.UPGRADE,
    JobVerb.DISCARD,
)
_SINCE: Mapping[JobVerb, int] = {**dict.fromkeys(_UPGRADES, 2), JobVerb.BACK_UP: 3, JobVerb.LICENCES: 3}


def since(verb: JobVerb, *, of_a_backup: bool = False) -> int:
    """The version that brought a call. A job is of the version of its call, so that older brokers go on with
    what they understand, and none takes a backup that it does not see for an empty document."""
    return max(_SINCE.get(verb, 1), 3 if of_a_backup else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccess:
    """How the device is reached from the broker. `host` empty: the broker's own machine."""

    host: str = ""
    port: int = 22
    user: str = "root"
    host_keys: tuple[str, ...] = ()
    private_key: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call. `device` tells devices apart: jobs of one come one after another, in their order."""

    id: str
    device: str
    name: str
    """What people call the device."""
    verb: JobVerb
    adapter: str
    access: JobAccess
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    keep_in: str = "/var/lib/farsite"
    deadline_at: datetime
    document: Configuration | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    backup: Backup | None = None
    """What `plan` and `apply` are to make true in place of a document."""
    running: Running | None = None
    plan: Plan | None = None
    change_id: str = ""
    confirm_within_s: float = 0.0
    image: SoftwareImage | None = None
    """Its content is read at `.../jobs/{id}/image`."""
    software_version: str = ""
    against: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error in the words of `model.errors`: its kind, what it says, and what it is about."""

    kind: str
    detail: str
    about: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a job: one of the values that its verb returns (none for verbs that return nothing), or
    a fault."""

    job_id: str
    running: Running | None = None
    backup: Backup | None = None
    plan: Plan | None = None
    outcome: Outcome | None = None
    health: tuple[Probed, ...] = ()
    metrics: tuple[Sample, ...] = ()
    software: DeviceSoftware | None = None
    installed: str = ""
    """The version that was in an image."""
    licences: tuple[Licence, ...] = ()
    fault: Fault | None = None


_KINDS: Mapping[str, type[FarsiteError]] = {
    one.__name__: one for one in (Invalid, Conflict, NotSupported, VnfFault, VnfUnreachable)
}
_JOB: TypeAdapter[Job] = TypeAdapter(Job)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


def job_to_json(job: Job) -> dict[str, Any]:
    return _JOB.dump_python(job, mode="json")


def job_from_json(body: object) -> Job:
    """Raises:
    ValueError: it is no job.
    """
    return _JOB.validate_python(body)


def answer_to_json(answer: Answer) -> dict[str, Any]:
    return _ANSWER.dump_python(answer, mode="json")


def answer_from_json(body: object) -> Answer:
    """Raises:
    ValueError: it is no answer.
    """
    return _ANSWER.validate_python(body)


def not_understood(job_id: str, broker: str, version: int, understood: int) -> Answer:
    """The answer to a job that is of a later version than a broker understands."""
    said = (
        f"The broker {broker} understands jobs up to version {understood}, and this one is of version "
        f"{version}. Nothing was done. Upgrade the broker."
    )
    return Answer(job_id=job_id, fault=Fault(kind=NotSupported.__name__, detail=said))


def fault_of(error: FarsiteError) -> Fault:
    """An error as it goes over the wire. What we have no name for there is the device's fault."""
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "VnfFault")
    return Fault(kind=kind, detail=error.detail, about={key: str(one) for key, one in error.about.items()})


def error_of(fault: Fault) -> FarsiteError:
    """The error that a fault stands for."""
    return _KINDS.get(fault.kind, VnfFault)(fault.detail, about=dict(fault.about))
