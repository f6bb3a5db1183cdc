"""Traps of SNMP, and what they mean: by the operator's rules, else by those for what every agent sends.

A trap is named by its OID and has variables, each an OID with a value. Rules call the variables by names that
the file gives to OIDs; those of the interfaces (IF-MIB) and of the system (SNMPv2-MIB) have theirs already. A
variable of a table is found by its column, whatever its row.

Source: RFC 3416 (trap, inform), RFC 3418 (coldStart, snmpTrapAddress), RFC 2863 (linkDown, linkUp).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from farsite.api.intake.rule_files import (
    Rule,
    Rules,
    Sender,
    Severity,
    Strict,
    filled,
    fits_one,
)
from farsite.api.intake.rule_files import read as read_rules
from farsite.api.intake.told import Told

SYS_UP_TIME = "1.3.6.1.2.1.1.3.0"
TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"
_TRAP_ADDRESS = "1.3.6.1.6.3.18.1.3.0"
_OF_THE_MESSAGE = frozenset({SYS_UP_TIME, TRAP_OID, _TRAP_ADDRESS, "1.3.6.1.6.3.18.1.4.0"})
"""What says nothing of the fault (the last is the community of a proxy)."""

NAMES: Mapping[str, str] = {
    "ifIndex": "1.3.6.1.2.1.2.2.1.1",
    "ifDescr": "1.3.6.1.2.1.2.2.1.2",
    "ifAdminStatus": "1.3.6.1.2.1.2.2.1.7",
    "ifOperStatus": "1.3.6.1.2.1.2.2.1.8",
    "ifName": "1.3.6.1.2.1.31.1.1.1.1",
    "ifAlias": "1.3.6.1.2.1.31.1.1.1.18",
    "sysName": "1.3.6.1.2.1.1.5",
}
LABELS = frozenset({"host", "sender", "site", "trap", "user"})
_VARIABLES_SHOWN = 20
_VALUE_MAX = 255


def _oid(text: str) -> str:
    found = text.strip().removeprefix(".")
    if not re.fullmatch(r"\d{1,10}(\.\d{1,10}){1,127}", found):
        raise ValueError(f'"{text[:60]}" is no OID; write it in numbers, as 1.3.6.1.6.3.1.1.5.3')
    return found


Oid = Annotated[str, AfterValidator(_oid)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
Password = Annotated[str, Field(min_length=8, max_length=255)]
Wanted = Annotated[
    dict[Label, Annotated[str, Field(max_length=255)] | int], Field(max_length=20, default_factory=dict)
]


class SnmpRule(Rule):
    """One rule. `trap` begins the alarm and `clear` ends it; `where` and `clear_where` say which values the
    variables of each must have, with * and ?, and `unless` which they must not. A `momentary` one ends as
    soon as it has begun: it is told, and stands for nothing that lasts."""

    trap: Oid
    severity: Severity
    """A trap does not say how bad it is."""
    where: Wanted
    unless: Wanted
    clear: Oid | None = None
    clear_where: Wanted
    momentary: bool = False


class User(Strict):
    """A user of SNMPv3. Its keys are made for each engine (sender) by the engine's id; informs need none.

    Source: RFC 3414 section 2.6; RFC 3411 (SnmpEngineID).
    """

    name: Annotated[str, Field(min_length=1, max_length=32)]
    auth: Literal["MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"] | None = None
    auth_password: Password | None = None
    privacy: Literal["DES", "AES", "AES-192", "AES-256"] | None = None
    privacy_password: Password | None = None
    engine_ids: Annotated[
        list[Annotated[str, Field(pattern=r"^(0x)?([0-9A-Fa-f]{2}){5,32}$")]], Field(max_length=1000)
    ] = Field(default_factory=list[str])

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.auth is None) != (self.auth_password is None):
            raise ValueError("auth and auth_password come together")
        if (self.privacy is None) != (self.privacy_password is None):
            raise ValueError("privacy and privacy_password come together")
        if self.privacy is not None and self.auth is None:
            raise ValueError("privacy without auth is not known to SNMPv3")
        return self

    @property
    def level(self) -> int:
        """1 without anything, 2 with authentication, 3 with privacy too (RFC 3411, SnmpSecurityLevel)."""
        return 1 + (self.auth is not None) + (self.privacy is not None)


class SnmpRules(Rules[SnmpRule]):
    """A file: senders and rules, whom messages must come from, and names of variables."""

    communities: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=100)
    ] = Field(default_factory=list[str])
    users: Annotated[list[User], Field(max_length=1000)] = Field(default_factory=list[User])
    names: Annotated[dict[Label, Oid], Field(max_length=1000)] = Field(default_factory=dict[str, str])
    standard: bool = True
    """Whether the rules for linkDown, linkUp and coldStart count after the operator's."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if not self.communities and not self.users:
            raise ValueError("neither communities nor users: nobody could be listened to")
        names = [one.name for one in self.users]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"two users have the name {', '.join(twice)}")
        known = LABELS | NAMES.keys() | self.names.keys()
        for rule in self.rules:
            for label in (*rule.where, *rule.unless, *rule.clear_where):
                if label not in known:
                    raise ValueError(f'rule "{rule.name}": {label} has no OID; give it one under `names`')
            rule.must_find(known, known if rule.clear or rule.clear_where else None)
        return self


SNMP_RULES: TypeAdapter[SnmpRules] = TypeAdapter(SnmpRules)

_STANDARD_TEXT = """
senders: [{from: [0.0.0.0/0]}]
communities: [unused]
rules:
  - name: link-down
    trap: 1.3.6.1.6.3.1.1.5.3
    # An interface that somebody shut is as it shall be.
    unless: {ifAdminStatus: 2}
    clear: 1.3.6.1.6.3.1.1.5.4
    problem: "link-down/{ifIndex}"
    type: COMMUNICATIONS_ALARM
    cause: Link failure
    severity: MAJOR
  - name: restarted
    trap: 1.3.6.1.6.3.1.1.5.1
    momentary: true
    type: PROCESSING_ERROR_ALARM
    cause: Reinitialized
    severity: WARNING
"""
STANDARD = read_rules(SNMP_RULES, _STANDARD_TEXT, "the standard rules").rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A trap or inform that was let in, whatever the version. `level` and `user` are those of SNMPv3."""

    variables: tuple[tuple[str, str], ...]
    """OIDs and values in their order, as texts."""
    user: str = ""
    is_inform: bool = False

    @property
    def oid(self) -> str:
        return next((value for oid, value in self.variables if oid == TRAP_OID), "")

    @property
    def up_time(self) -> int | None:
        """Hundredths of a second since the sender's start."""
        found = next((value for oid, value in self.variables if oid == SYS_UP_TIME), "")
        return int(found) if found.isdigit() else None

    def value(self, oid: str) -> str:
        """The first variable that is this one, or a row of this column; empty if there is none."""
        return next(
            (value for found, value in self.variables if found == oid or found.startswith(f"{oid}.")), ""
        )


def told(trap: Trap, *, arrived_at: datetime, address: str, sender: Sender, rules: SnmpRules) -> list[Told]:
    """What a trap tells: an alarm or its end, both of a momentary one, or nothing that is called a fault."""
    names = {**NAMES, **rules.names}
    labels = {name: trap.value(oid)[:_VALUE_MAX] for name, oid in names.items()}
    labels |= {
        "host": labels["sysName"] or trap.value(_TRAP_ADDRESS) or address,
        "sender": address,
        "site": sender.site,
        "trap": trap.oid,
        "user": trap.user,
    }
    for rule in (*rules.rules, *(STANDARD if rules.standard else ())):
        is_over = _fits(rule, trap.oid, labels)
        if is_over is None:
            continue
        found = _told(rule, trap, names, labels, arrived_at, sender, is_over=is_over)
        if not rule.momentary or is_over:
            return [found]
        return [found, _told(rule, trap, names, labels, arrived_at, sender, is_over=True)]
    return []


def _fits(rule: SnmpRule, oid: str, labels: Mapping[str, str]) -> bool | None:
    """Whether a trap ends the rule's alarm (True) or begins it (False); None: it is another."""
    if (
        (rule.clear or rule.clear_where)
        and oid == (rule.clear or rule.trap)
        and _all(rule.clear_where, labels)
    ):
        return True
    if oid == rule.trap and _all(rule.where, labels) and not _any(rule.unless, labels):
        return False
    return None


def _all(wanted: Mapping[str, str | int], labels: Mapping[str, str]) -> bool:
    return all(fits_one((str(value),), labels[name]) for name, value in wanted.items())


def _any(wanted: Mapping[str, str | int], labels: Mapping[str, str]) -> bool:
    return any(fits_one((str(value),), labels[name]) for name, value in wanted.items())


def _told(
    rule: SnmpRule,
    trap: Trap,
    names: Mapping[str, str],
    labels: dict[str, str],
    arrived_at: datetime,
    sender: Sender,
    *,
    is_over: bool,
) -> Told:
    name = filled(rule.object, labels) or labels["host"]
    return Told(
        at=arrived_at,
        is_over=is_over,
        name=rule.name,
        problem=filled(rule.problem, labels) or rule.name,
        object=name,
        kind=filled(rule.kind, labels),
        location=filled(rule.location, labels) or f"{sender.site or 'snmp'}/{name}",
        event_type=rule.type.value,
        severity=rule.severity,
        cause=filled(rule.cause, labels) or rule.name,
        details=tuple(_shown(trap, names)),
        episode="" if is_over else _episode(trap, labels["host"], arrived_at, rule),
        labels={**{key: value for key, value in labels.items() if value}, "rule": rule.name},
        silent_after_s=rule.silent_after_s,
    )


def _shown(trap: Trap, names: Mapping[str, str]) -> list[str]:
    called = {oid: name for name, oid in names.items()}
    found = [f"trap {trap.oid}"]
    for oid, value in trap.variables:
        if oid in _OF_THE_MESSAGE:
            continue
        column = next((one for one in called if oid == one or oid.startswith(f"{one}.")), "")
        row = oid.removeprefix(column)
        found.append(f"{called[column] + row if column else oid} = {value[:_VALUE_MAX]}")
    return found[: _VARIABLES_SHOWN + 1]


def _episode(trap: Trap, host: str, arrived_at: datetime, rule: SnmpRule) -> str:
    """The same for the same trap, to whomever it was told and however often.

    Time since the sender's start tells traps apart by hundredths of a second, and when that was tells apart
    what comes at the same time after every start: as a restart does, so of these the minute counts. Others
    may be told again later, by relays, and at the next start hardly come in the same hundredth.
    """
    if trap.up_time is None:
        return ""
    began = arrived_at - timedelta(milliseconds=10 * trap.up_time)
    unit_s = 60 if rule.momentary else 3600
    parts = [host, trap.oid, str(trap.up_time), str(round(began.timestamp() / unit_s))]
    parts += [f"{oid}={value}" for oid, value in trap.variables if oid not in _OF_THE_MESSAGE]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
