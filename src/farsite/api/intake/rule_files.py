"""What an operator writes of senders that have no token: who is let in, and what their messages mean.

A file of YAML with two lists. `senders` names the networks that are listened to, each with the project whose
alarms its messages are and the site where it is. `rules` make alarms of messages: what a message must be, how
the alarm is named, and by which message it ends. The first rule that fits counts; what fits none is no fault.

Names are texts with `{label}` in them. An alarm ends only where its end is told under the same name, so what
names it must be found in the message that ends it too; that is looked at when the file is read.
"""

import fnmatch
import ipaddress
import re
import stat
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from farsite.api.intake.patterns import Pattern
from farsite.model.alarm import EventType
from farsite.model.errors import Invalid
from farsite.model.ids import DEFAULT_PROJECT, ProjectId

FILE_MAX = 1024 * 1024
_FAULTS_SHOWN = 10
_FIELD = re.compile(r"\{([^{}]+)\}")

Name = Annotated[str, Field(min_length=1, max_length=64)]
Naming = Annotated[str, Field(max_length=255)]
Texts = Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=100)]
Severity = Literal["CRITICAL", "MAJOR", "MINOR", "WARNING", "INDETERMINATE"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Sender(Strict):
    """Networks that are listened to, and in whose name."""

    networks: Annotated[list[Network], Field(alias="from", min_length=1, max_length=1000)]
    project: Annotated[str, Field(min_length=1, max_length=64)] = DEFAULT_PROJECT
    site: Annotated[str, Field(max_length=255)] = ""
    """What the location of its alarms begins with."""
    timezone: ZoneInfo | None = None
    """Zone of its clock, for times that name none; without one such a message is as old as its arrival."""

    @field_validator("timezone", mode="before")
    @classmethod
    def _known_zone(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return ZoneInfo(value)
        except (OSError, ValueError, ZoneInfoNotFoundError) as error:
            raise ValueError(f'"{value[:60]}" is no time zone; write it as Europe/Rome or UTC') from error

    @property
    def project_id(self) -> ProjectId:
        return ProjectId(self.project)


class Rule(Strict):
    """What all rules have: how the alarm is named. `type` and `cause` are those of X.733."""

    name: Name
    type: EventType
    cause: Annotated[Naming, Field(min_length=1)]
    object: Naming = "{host}"
    kind: Annotated[Naming, Field(max_length=16)] = "host"
    problem: Naming = ""
    """What tells it from other alarms of the object; empty: the rule's name."""
    location: Naming = ""
    silent_after_s: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None

    @property
    def naming(self) -> Mapping[str, str]:
        return {
            "object": self.object,
            "problem": self.problem or self.name,
            "cause": self.cause,
            "kind": self.kind,
            "location": self.location,
        }

    def must_find(self, begun: frozenset[str], ended: frozenset[str] | None) -> None:
        """See that every label of its names is there: in messages that begin the alarm (`begun`), and what
        it is known by in those that end it (`ended`; None: none does).

        Raises:
            ValueError: one is not; names it.
        """
        for attribute, text in self.naming.items():
            for label in _FIELD.findall(text):
                if label.startswith("data."):
                    # Which parameters a message has, only the message knows.
                    continue
                if label not in begun:
                    raise ValueError(
                        f"{attribute}: {{{label}}} is neither a label nor a named group of the pattern; "
                        f"there are {', '.join(sorted(begun))}"
                    )
                is_known_by = attribute in ("object", "problem", "cause")
                if ended is not None and is_known_by and label not in ended:
                    raise ValueError(
                        f"{attribute}: {{{label}}} is not in what ends the alarm, so it would never end; "
                        f"name a group of `clear` so"
                    )


R = TypeVar("R", bound=Rule)


class Rules(Strict, Generic[R]):
    """A file as it was read."""

    senders: Annotated[list[Sender], Field(min_length=1, max_length=1000)]
    rules: Annotated[list[R], Field(max_length=1000)] = Field(default_factory=list[R])

    def sender_of(self, address: str) -> Sender | None:
        """Who an address is of; None: nobody who is listened to. The first that fits counts."""
        found = address_of(address)
        if found is None:
            return None
        return next((one for one in self.senders if any(found in network for network in one.networks)), None)


F = TypeVar("F", bound=Rules[Any])


def address_of(text: str) -> Address | None:
    """An address without its zone; one of IPv4 that came over a socket of IPv6 as what it is."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def read(kind: TypeAdapter[F], text: str, where: str) -> F:
    """The rules in a file.

    Raises:
        Invalid: it is not YAML, or says what no rule says; names each fault by its place.
    """
    if len(text) > FILE_MAX:
        raise Invalid(f"{where} is larger than {FILE_MAX // 1024} KiB.")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Invalid(f"{where} is not YAML: {' '.join(str(error).split())[:300]}.") from error
    try:
        rules = kind.validate_python(found)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        faults = [f"{'/'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in wrong]
        more = f" (and {len(faults) - _FAULTS_SHOWN} more)" if len(faults) > _FAULTS_SHOWN else ""
        raise Invalid(f"{where}: {'; '.join(faults[:_FAULTS_SHOWN])}{more}.") from None
    names = [one.name for one in rules.rules]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise Invalid(f"{where}: two rules have the name {', '.join(twice)}.")
    return rules


def filled(text: str, labels: Mapping[str, str]) -> str:
    """A text with its `{label}`s put in; what a message does not say is empty."""
    return _FIELD.sub(lambda one: labels.get(one[1], ""), text)


def fits_one(globs: Sequence[str], text: str) -> bool:
    """Whether a text is one of those named, with * and ? as in the shell; without names any is."""
    return not globs or any(_glob(one).match(text) is not None for one in globs)


@cache
def _glob(text: str) -> re.Pattern[str]:
    # What fnmatch makes of a glob never goes back further than to its last star.
    return re.compile(fnmatch.translate(text))


def pattern_of(value: object) -> object:
    """A pattern from its text, for models. Raises ValueError, which becomes a fault with a place."""
    if not isinstance(value, str):
        return value
    try:
        return Pattern(value)
    except Invalid as error:
        raise ValueError(error.detail) from error


class RuleFile(Generic[F]):
    """A file that is read again when it has changed."""

    def __init__(self, path: str, kind: TypeAdapter[F], setting: str, *, is_secret: bool = False) -> None:
        self._path = Path(path)
        self._kind = kind
        self._setting = setting
        self._is_secret = is_secret
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> F:
        """What it says now.

        Raises:
            Invalid: it cannot be read, or not as rules; or it holds passwords and everybody can.
        """
        where = f"{self._setting} {self._path}"
        try:
            self._seen = self._state()
            if self._is_secret and self._path.stat().st_mode & stat.S_IROTH:
                raise Invalid(
                    f"{where} holds passwords and can be read by everybody: chmod o-r {self._path}."
                )
            with self._path.open(encoding="utf-8") as file:
                text = file.read(FILE_MAX + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
        return read(self._kind, text, where)

    def has_changed(self) -> bool:
        """Whether it is another one than was read last; one that is away is not."""
        try:
            return self._state() != self._seen
        except OSError:
            return False

    def _state(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
