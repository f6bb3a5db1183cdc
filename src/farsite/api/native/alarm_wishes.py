"""Silences, rules for alarms, and thresholds over metrics."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.wire import ROOT, Here, Label, Name, ObjectName, Text, Wire, asks
from farsite.assurance.alarms import THRESHOLD_CROSSED
from farsite.model.alarm import PerceivedSeverity
from farsite.model.alarm_reports import AlarmRule, Comparison, Damping, Matcher, Naming, Silence
from farsite.model.errors import Invalid
from farsite.model.ids import new_id
from farsite.model.query import Ask
from farsite.model.threshold import TEXT_MAX, Threshold, read_condition
from farsite.store import alarm_rules, alarms

router = APIRouter(prefix=ROOT, tags=["Silences and rules of alarms"])

_LONGEST = timedelta(days=366)
_DELAY_MOST_S = 86_400.0

Seconds = Annotated[float, Field(ge=0, le=_DELAY_MOST_S)]


class MatcherBody(Wire):
    """`name`: object, kind, location, event_type, type, problem, cause, severity, source, or a label of the
    source. `comparison`: = (is), != (is not), ^= (begins with)."""

    name: Name
    comparison: Comparison = Comparison.IS
    value: Label = ""

    def meant(self) -> Matcher:
        return Matcher(name=self.name, comparison=self.comparison, value=self.value)


class CreateSilence(Wire):
    """Until when, of which alarms (all matchers must fit) and why. Without `starts_at`: from now on."""

    matchers: Annotated[list[MatcherBody], Field(min_length=1, max_length=20)]
    ends_at: datetime
    starts_at: datetime | None = None
    comment: Text = ""


class DampingBody(Wire):
    """How long a condition must last, or be gone, before that counts, in seconds."""

    raise_delay_s: Seconds = 0.0
    clear_delay_s: Seconds = 0.0
    flaps: Annotated[int, Field(ge=1, le=1000)] = 5
    flap_window_s: Seconds = 600.0
    probation_s: Seconds = 0.0
    delays_critical: bool = False


class NamingBody(Wire):
    """Texts with labels in braces, e.g. `{site}/{instance}`; where a label is missing, the source decides."""

    object: Label = ""
    kind: Label = ""
    location: Label = ""
    severity: Label = ""
    event_type: Label = ""
    cause: Label = ""


class PutRule(Wire):
    matchers: Annotated[list[MatcherBody], Field(max_length=20)] = Field(default_factory=list[MatcherBody])
    damping: DampingBody = DampingBody()
    naming: NamingBody = NamingBody()
    silent_after_s: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None


@router.post("/silences", status_code=201)
def create_silence(body: CreateSilence, context: Here, caller: Asker) -> Silence:
    """Tell subscribers nothing of some alarms for a time; they are recorded all the same."""
    now = context.clock.now()
    starts_at = body.starts_at or now
    for name, moment in (("starts_at", starts_at), ("ends_at", body.ends_at)):
        if moment.tzinfo is None:
            raise Invalid(f"{name}: the time has no zone. End it with Z or +00:00.")
    if body.ends_at <= max(now, starts_at):
        raise Invalid("ends_at: a silence must end after it begins, and in the future.")
    if body.ends_at - starts_at > _LONGEST:
        raise Invalid(f"ends_at: a silence lasts {_LONGEST.days} days at most.")
    silence = Silence(
        id=new_id(),
        matchers=tuple(one.meant() for one in body.matchers),
        starts_at=starts_at,
        ends_at=body.ends_at,
        created_by=caller.name,
        comment=body.comment,
    )
    for one in silence.matchers:
        if one.name == "severity" and one.comparison is Comparison.IS and not one.value.isupper():
            raise Invalid(f'matchers: severity is spelled as in CRITICAL, not "{one.value}".')
    with context.database.transaction() as connection:
        alarm_rules.insert_silence(connection, caller.project_id, silence)
    return silence


@router.get("/silences")
def list_silences(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[Silence]:
    """The project's silences, those that are over too."""
    with context.database.transaction() as connection:
        known = alarm_rules.silences_of(connection, caller.project_id)
    page = page_in_memory(known, ask, {"created_by": lambda one: one.created_by}, key=lambda one: one.id)
    link_next(request, response, page)
    return list(page.items)


@router.delete("/silences/{silence}", status_code=204)
def delete_silence(silence: str, context: Here, caller: Asker) -> None:
    """End a silence; alarms that it hid and that still stand are told within two seconds."""
    with context.database.transaction() as connection:
        alarm_rules.delete_silence(connection, caller.project_id, silence)


@router.put("/alarm-rules/{name}")
def put_rule(name: ObjectName, body: PutRule, context: Here, caller: Asker) -> AlarmRule:
    """Keep a rule: how alarms that fit are named and delayed. Rules are tried in order of their names."""
    rule = AlarmRule(
        name=name,
        matchers=tuple(one.meant() for one in body.matchers),
        damping=Damping(**body.damping.model_dump()),
        naming=Naming(**body.naming.model_dump()),
        silent_after_s=body.silent_after_s,
    )
    with context.database.transaction() as connection:
        alarm_rules.put_rule(connection, caller.project_id, rule)
    return rule


@router.get("/alarm-rules")
def list_rules(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[AlarmRule]:
    """The project's rules for alarms, in the order in which they are tried."""
    with context.database.transaction() as connection:
        known = alarm_rules.rules_of(connection, caller.project_id)
    page = page_in_memory(known, ask, {"name": lambda one: one.name}, key=lambda one: one.name)
    link_next(request, response, page)
    return list(page.items)


@router.delete("/alarm-rules/{name}", status_code=204)
def delete_rule(name: str, context: Here, caller: Asker) -> None:
    """Forget a rule."""
    with context.database.transaction() as connection:
        alarm_rules.delete_rule(connection, caller.project_id, name)


class PutThreshold(Wire):
    """`condition`, e.g. `cpu_load > 5 for 30s and memory_free{kind="huge"} < 2`; `by` is the label whose
    values are the objects."""

    condition: Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
    by: Name = "host"
    severity: PerceivedSeverity = PerceivedSeverity.MAJOR
    location: Label = ""


@router.put("/thresholds/{name}")
def put_threshold(name: ObjectName, body: PutThreshold, context: Here, caller: Asker) -> Threshold:
    """Keep a threshold: an alarm for each object whose metrics meet the condition."""
    read_condition(body.condition)
    if body.severity is PerceivedSeverity.CLEARED:
        raise Invalid("severity: a threshold that clears what it finds tells nobody anything.")
    threshold = Threshold(name=name, **body.model_dump())
    with context.database.transaction() as connection:
        alarm_rules.put_threshold(connection, caller.project_id, threshold)
    return threshold


@router.get("/thresholds")
def list_thresholds(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[Threshold]:
    """The project's thresholds."""
    with context.database.transaction() as connection:
        known = alarm_rules.thresholds_of(connection, caller.project_id)
    page = page_in_memory(known, ask, {"name": lambda one: one.name}, key=lambda one: one.name)
    link_next(request, response, page)
    return list(page.items)


@router.delete("/thresholds/{name}", status_code=204)
def delete_threshold(name: str, context: Here, caller: Asker) -> None:
    """Forget a threshold, and clear the alarms that it raised."""
    now = context.clock.now()
    with context.database.transaction() as connection:
        alarm_rules.delete_threshold(connection, caller.project_id, name)
        problem = f"{THRESHOLD_CROSSED.name}/{name}"[:255]
        alarms.clear_problem(connection, caller.project_id, problem, now, who=caller.name)
