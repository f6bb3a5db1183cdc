"""What observations of hosts come to, as evidence and as a verdict. Pure.

All times are those of the VIM's clock, so its being wrong against ours does no harm.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from farsite.assurance.evidence import Evidence, Finding, Seen, Verdict, judge
from farsite.model.control_plane import HostObservation

DEAD = frozenset({Verdict.HOST_SILENT, Verdict.HOST_HUNG, Verdict.POWER_LOST})
"""Verdicts by which nothing on a host is relied on."""


def findings(hosts: Sequence[HostObservation], vim_time: datetime | None) -> Mapping[str, Finding]:
    """The verdict on each host whose service is not up, or whose data plane reaches nobody; the others need
    none, and of the latter those whose fault it is not."""
    judged = {one: judge(evidence_of(one, hosts, vim_time)) for one in hosts if _is_in_question(one)}
    return {one.host: finding for one, finding in judged.items() if finding.verdict is not Verdict.UP}


def _is_in_question(one: HostObservation) -> bool:
    if one.service is False:
        return not _is_at_rest(one)
    return one.service is True and one.tenant is False


def _is_at_rest(one: HostObservation) -> bool:
    """Taken out of service by its operators before it went off: nobody is to be called for that."""
    return one.is_disabled and not one.is_forced_down


def evidence_of(
    one: HostObservation, hosts: Sequence[HostObservation], vim_time: datetime | None
) -> Evidence:
    """What is known of a host. Another agent that reports from there proves that the host works and is
    reached: as good as an answer of its own."""
    management = True if one.agent else one.management
    return Evidence(
        service=_seen(one.service),
        agent=Seen.DOWN if one.agent is False else Seen.UNKNOWN,
        management=_seen(management),
        tenant=_seen(one.tenant),
        power=_seen(one.power),
        neighbours=_seen(one.neighbours),
        others=others_of(one, hosts, vim_time) if one.others is None else _seen(one.others),
    )


def others_of(one: HostObservation, hosts: Sequence[HostObservation], vim_time: datetime | None) -> Seen:
    """Whether other hosts have gone on reporting while this one was silent.

    When the VIM's message bus dies, all hosts fall silent at nearly the same moment, but the VIM calls them
    down one after the other: who looks only at their states evacuates the first of them. So another host
    counts when it has reported well after this one did for the last time.
    """
    others = [each for each in hosts if each.host != one.host and not each.is_disabled]
    if not others:
        return Seen.UNKNOWN
    reporting = [each for each in others if each.service]
    if not reporting:
        return Seen.DOWN
    if one.is_forced_down or one.seen_at is None or vim_time is None:
        # Somebody has declared it dead, for reasons of their own.
        return Seen.UP
    silent_s = (vim_time - one.seen_at).total_seconds()
    for each in reporting:
        if each.seen_at is not None and (vim_time - each.seen_at).total_seconds() < silent_s / 2:
            return Seen.UP
    return Seen.DOWN


def _seen(told: bool | None) -> Seen:
    return Seen.UNKNOWN if told is None else Seen.UP if told else Seen.DOWN
