"""The verdict on a host: what is wrong with it, and what may be done about it."""

import random
from dataclasses import replace

import pytest

from farsite.assurance.evidence import MATRIX, PERMITTED, Action, Evidence, Seen, Verdict, judge

UP, DOWN, UNKNOWN = Seen.UP, Seen.DOWN, Seen.UNKNOWN

TRUTHS: dict[Verdict, Evidence] = {
    Verdict.UP: Evidence(agent=UP, service=UP, management=UP, tenant=UP, power=UP, neighbours=UP, others=UP),
    Verdict.SERVICE_DOWN: Evidence(
        agent=UP, service=DOWN, management=UP, tenant=UP, power=UP, neighbours=UP, others=UP
    ),
    Verdict.DATA_PLANE_DOWN: Evidence(
        agent=UP, service=UP, management=UP, tenant=DOWN, power=UP, neighbours=DOWN, others=UP
    ),
    Verdict.HOST_HUNG: Evidence(
        agent=DOWN, service=DOWN, management=DOWN, tenant=DOWN, power=UP, neighbours=DOWN, others=UP
    ),
    Verdict.HOST_ISOLATED: Evidence(
        agent=DOWN, service=DOWN, management=DOWN, tenant=UP, power=UP, neighbours=UP, others=UP
    ),
    Verdict.POWER_LOST: Evidence(
        agent=DOWN, service=DOWN, management=DOWN, tenant=DOWN, power=DOWN, neighbours=DOWN, others=UP
    ),
    Verdict.PARTITION_OF_US: Evidence(
        agent=DOWN, service=UNKNOWN, management=DOWN, tenant=DOWN, power=UNKNOWN, neighbours=DOWN, others=DOWN
    ),
}
"""What every observer sees when that is the truth and all have looked."""

CAN_BE_MISSING = ("service", "power", "neighbours", "tenant")
"""Observers that many sites do not have. The verdict may become UNKNOWN without them, and never another one
that permits more than the truth does."""


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_each_kind_of_fault_is_told_from_the_others(truth: Verdict) -> None:
    """A dead agent, a hung host, a cut cable, a lost supply and our own isolation need different hands."""
    assert judge(TRUTHS[truth]).verdict is truth


def test_no_verdict_is_wrong_in_two_hundred_random_runs() -> None:
    """Observers that lag (the VIM's service state, up though dead or down though alive) or are missing may
    cost the verdict; they may never permit what the truth forbids."""
    dice = random.Random(20)
    told: dict[Verdict, int] = {}
    for _ in range(200):
        truth = dice.choice(list(TRUTHS))
        seen = TRUTHS[truth]
        for name in CAN_BE_MISSING:
            if dice.random() < 0.3:
                seen = replace(seen, **{name: UNKNOWN})
        if dice.random() < 0.4 and truth in (Verdict.HOST_HUNG, Verdict.HOST_ISOLATED, Verdict.POWER_LOST):
            seen = replace(seen, service=UP)
        verdict = judge(seen).verdict
        told[verdict] = told.get(verdict, 0) + 1
        if truth is Verdict.SERVICE_DOWN and seen.service is UNKNOWN:
            # Only the VIM's service state told them apart: what runs there is well, and so is the verdict.
            assert verdict is Verdict.UP
            continue
        if truth is Verdict.DATA_PLANE_DOWN and UNKNOWN in (seen.tenant, seen.neighbours, seen.service):
            # Its agent answers, and who would know better did not look.
            assert verdict is Verdict.UP
            continue
        if truth is Verdict.POWER_LOST and seen.power is UNKNOWN:
            # Without a management controller a host without power looks like one that hangs: fence first.
            assert verdict in (Verdict.HOST_HUNG, Verdict.UNKNOWN)
            assert Action.RECOVER not in judge(seen).permitted
            continue
        assert verdict in (truth, Verdict.UNKNOWN), (truth, seen)
        assert judge(seen).permitted <= PERMITTED[truth]
    assert set(told) >= {*TRUTHS, Verdict.UNKNOWN}


def test_our_own_isolation_permits_nothing_whatever_else_is_seen() -> None:
    """Who cannot see anybody must not conclude that all are dead: two halves would each replace the other."""
    dice = random.Random(5)
    names = ("agent", "service", "management", "tenant", "power", "neighbours")
    for _ in range(500):
        seen = Evidence(others=DOWN, **{name: dice.choice(list(Seen)) for name in names})
        finding = judge(seen)
        assert finding.verdict is Verdict.PARTITION_OF_US
        assert finding.permitted == frozenset()


def test_nothing_seen_permits_nothing() -> None:
    """Missing evidence is no evidence of death; the finding says who did not tell."""
    finding = judge(Evidence())
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.permitted == frozenset()
    assert "management" in finding.reason


def test_only_a_lost_supply_permits_recovery_without_a_fence() -> None:
    """Everything else may still be writing to its disks and answering under its address."""
    assert {verdict for verdict, may in PERMITTED.items() if Action.RECOVER in may} == {Verdict.POWER_LOST}
    assert set(PERMITTED) == set(Verdict)


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.verdict}-{row.confidence}")
def test_every_row_of_the_matrix_decides_something(row: object) -> None:
    """A row that an earlier one always covers would be read and believed by people, and never act."""
    seen = Evidence(**row.needs)  # type: ignore[attr-defined]
    finding = judge(seen)
    assert (finding.verdict, finding.reason) == (row.verdict, row.reason)  # type: ignore[attr-defined]
