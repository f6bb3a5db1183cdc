"""What messages of syslog mean: by the operator's rules, else by RFC 5674 where a message is an alarm itself.

Source: RFC 5674 (structured data element `alarm`, and which severity of syslog is which of X.733).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from farsite.api.intake.patterns import Pattern
from farsite.api.intake.rule_files import (
    Rule,
    Rules,
    Sender,
    Severity,
    Strict,
    Texts,
    filled,
    fits_one,
    pattern_of,
)
from farsite.api.intake.syslog import FACILITIES, SEVERITIES, Message
from farsite.api.intake.told import Told
from farsite.model.alarm import EventType, PerceivedSeverity

LABELS = frozenset({"host", "app", "facility", "sender", "site", "message_id", "process", "level", "text"})
_ALIKE = frozenset({"host", "app", "facility", "sender", "site"})
"""What the message that ends an alarm says as the one that began it did."""

_BY_LEVEL = (
    PerceivedSeverity.CRITICAL,
    PerceivedSeverity.CRITICAL,
    PerceivedSeverity.MAJOR,
    PerceivedSeverity.MINOR,
    PerceivedSeverity.WARNING,
    *(PerceivedSeverity.INDETERMINATE for _ in range(3)),
)
_RFC5674_TYPES: Mapping[str, EventType] = {
    "communicationsalarm": EventType.COMMUNICATIONS_ALARM,
    "qualityofservicealarm": EventType.QOS_ALARM,
    "processingerroralarm": EventType.PROCESSING_ERROR_ALARM,
    "equipmentalarm": EventType.EQUIPMENT_ALARM,
    "environmentalalarm": EventType.ENVIRONMENTAL_ALARM,
}
_DETAIL_MAX = 4000


def _facility(text: str) -> str:
    if text not in FACILITIES:
        raise ValueError(f'"{text[:30]}" is no facility; there are {", ".join(FACILITIES)}')
    return text


def _level(text: str) -> str:
    if text not in SEVERITIES:
        raise ValueError(f'"{text[:30]}" is no level; there are {", ".join(SEVERITIES)}')
    return text


Facility = Annotated[str, AfterValidator(_facility)]
Level = Annotated[str, AfterValidator(_level)]
Expression = Annotated[Pattern, BeforeValidator(pattern_of)]


class Match(Strict):
    """What a message must be. `level`: as bad as this or worse, by the names of syslog; it is not asked of
    the message that ends an alarm, which is rarely as bad."""

    facility: Annotated[list[Facility], Field(max_length=24)] = Field(default_factory=list[str])
    level: Level = "debug"
    app: Texts = Field(default_factory=list[str])
    host: Texts = Field(default_factory=list[str])
    message_id: Texts = Field(default_factory=list[str])
    pattern: Expression | None = None


class SyslogRule(Rule):
    """One rule: messages that `match` begin the alarm, those in which `clear` is found end it."""

    match: Match
    severity: Severity | None = None
    """Empty: what the message says of itself."""
    clear: Expression | None = None

    @model_validator(mode="after")
    def _names_are_found(self) -> Self:
        begun = LABELS | (self.match.pattern.names if self.match.pattern is not None else frozenset[str]())
        self.must_find(begun, None if self.clear is None else _ALIKE | self.clear.names)
        return self


SYSLOG_RULES = TypeAdapter(Rules[SyslogRule])


def told(
    message: Message, *, arrived_at: datetime, address: str, sender: Sender, rules: Rules[SyslogRule]
) -> Told | None:
    """What a message tells; None: nothing that anybody called a fault."""
    labels = {
        "host": message.host or address,
        "app": message.app,
        "facility": message.facility,
        "sender": address,
        "site": sender.site,
        "message_id": message.message_id,
        "process": message.process,
        "level": SEVERITIES[message.severity],
        "text": message.text,
    }
    for element, values in message.data.items():
        labels |= {f"data.{element}.{name}": value for name, value in values.items()}
    for rule in rules.rules:
        found = _fits(rule, message, labels)
        if found is not None:
            is_over, groups = found
            return _by_rule(rule, message, labels | groups, arrived_at, sender, is_over=is_over)
    alarm = message.data.get("alarm")
    return None if alarm is None else _by_itself(alarm, message, labels, arrived_at, sender)


def _fits(
    rule: SyslogRule, message: Message, labels: Mapping[str, str]
) -> tuple[bool, dict[str, str]] | None:
    """Whether a message is the end of the rule's alarm, and the groups of the pattern; None: neither."""
    match = rule.match
    if match.facility and message.facility not in match.facility:
        return None
    if not (fits_one(match.app, message.app) and fits_one(match.host, labels["host"])):
        return None
    if rule.clear is not None and (groups := rule.clear.match(message.text)) is not None:
        return True, groups
    if message.severity > SEVERITIES.index(match.level) or not fits_one(match.message_id, message.message_id):
        return None
    groups = {} if match.pattern is None else match.pattern.match(message.text)
    return None if groups is None else (False, groups)


def _by_rule(
    rule: SyslogRule,
    message: Message,
    labels: dict[str, str],
    arrived_at: datetime,
    sender: Sender,
    *,
    is_over: bool,
) -> Told:
    name = filled(rule.object, labels) or labels["host"]
    return Told(
        at=message.at or arrived_at,
        is_over=is_over,
        name=rule.name,
        problem=filled(rule.problem, labels) or rule.name,
        object=name,
        kind=filled(rule.kind, labels),
        location=filled(rule.location, labels) or f"{sender.site or 'syslog'}/{name}",
        event_type=rule.type.value,
        severity=rule.severity or _BY_LEVEL[message.severity].value,
        cause=filled(rule.cause, labels) or rule.name,
        details=(message.text[:_DETAIL_MAX],) if message.text else (),
        episode="" if is_over else _episode(message),
        labels={**labels, "rule": rule.name},
        silent_after_s=rule.silent_after_s,
    )


def _by_itself(
    alarm: Mapping[str, str],
    message: Message,
    labels: dict[str, str],
    arrived_at: datetime,
    sender: Sender,
) -> Told | None:
    """An alarm in structured data. Without what it must have it is a message as any other."""
    cause, severity = alarm.get("probableCause", ""), alarm.get("perceivedSeverity", "").upper()
    if not cause or severity not in PerceivedSeverity.__members__:
        return None
    name = alarm.get("resource", "") or labels["host"]
    is_over = severity == PerceivedSeverity.CLEARED
    return Told(
        at=message.at or arrived_at,
        is_over=is_over,
        name=cause,
        problem=cause,
        object=name,
        kind="host" if name == labels["host"] else "object",
        location="/".join(dict.fromkeys((sender.site or "syslog", labels["host"], name))),
        event_type=_RFC5674_TYPES.get(alarm.get("eventType", "").lower(), EventType.EQUIPMENT_ALARM).value,
        severity=severity,
        cause=cause,
        details=(message.text[:_DETAIL_MAX],) if message.text else (),
        episode="" if is_over else _episode(message),
        labels=labels,
    )


def _episode(message: Message) -> str:
    """The same for the same message, however it came; empty where two messages may look the same.

    A message that is told again after its alarm has ended opens nothing. Where times have no parts of a
    second, a condition that came back within it looks like a repetition, and would be lost.
    """
    if not message.is_exact or message.at is None:
        return ""
    parts = (message.at.isoformat(), message.host, message.app, message.process, message.text)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
