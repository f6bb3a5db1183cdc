"""How a drill goes on and what is concluded from it, moment by moment, without a VIM."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.drill_judgement import Act, Sample, advance, lost, with_functions
from farsite.model.audit_rules import DEMANDS, AuditRules
from farsite.model.control_plane import ControlElement, ElementKind
from farsite.model.drill import Drill, DrillFinding, DrillOutcome, DrillState
from farsite.model.ids import ProjectId, VimId

BEGAN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SCHEDULER = ControlElement(service="nova-scheduler", host="ctl-1", kind=ElementKind.CONTROL)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def drill(rules: AuditRules = AuditRules.SMALL, *, is_injected: bool = True, is_lost: bool = True) -> Drill:
    made = Drill(
        id="d",
        vim_id=VimId("v"),
        project_id=ProjectId("default"),
        check="copies",
        about="nova-scheduler",
        element=SCHEDULER,
        is_injected=is_injected,
        rules=rules,
        demands=DEMANDS[rules],
        hold_s=10,
        begun_at=BEGAN,
        ends_at=at(120),
    )
    return lost(made, at(0), "killed") if is_lost else made


def through(begun: Drill, samples: Iterable[Sample]) -> tuple[Drill, list[Act]]:
    """The drill after these moments, and what was to be done in each."""
    acts: list[Act] = []
    for one in samples:
        begun, act = advance(begun, one)
        acts.append(act)
    return begun, acts


def survived(**more: object) -> list[Sample]:
    """A copy is lost from 1 s to 12 s; another works, an alarm is raised, nobody notices."""
    down = Sample(at=at(1), is_lost=True, others=1)
    up = Sample(at=at(12), is_lost=False, others=1)
    # Each case gives keywords of several types.
    changed = [down, replace(down, at=at(5), told_at=at(4), **more), replace(down, at=at(10.5))]  # type: ignore[arg-type]
    return [*changed, up, replace(up, at=at(14))]


def finding(ended: Drill, demand: str) -> DrillFinding:
    (only,) = [one for one in ended.findings if one.demand == demand]
    return only


def test_a_copy_that_is_not_missed_proves_that_there_are_others() -> None:
    """Only this makes `proven` more than a word."""
    ended, acts = through(drill(), survived())
    assert acts == [Act.NOTHING, Act.NOTHING, Act.MEND, Act.NOTHING, Act.END]
    assert (ended.state, ended.outcome) == (DrillState.ENDED, DrillOutcome.PROVEN)
    assert {one.demand: one.is_met for one in ended.findings} == {
        "outage": True,
        "other copies": True,
        "functions": True,
        "told": True,
        "back": True,
    }


def test_a_vim_that_answers_nobody_for_too_long_fails_and_is_mended_at_once() -> None:
    """The rest of its hold would only make the outage longer."""
    short, acts = through(drill(), survived(unanswered_s=4.9))
    assert (short.outcome, acts[1]) == (DrillOutcome.PROVEN, Act.NOTHING)
    failed, acts = through(drill(), survived(unanswered_s=5.1))
    assert (failed.outcome, acts[1]) == (DrillOutcome.FAILED, Act.MEND)
    assert "5.1 s; 5 s are allowed" in failed.why


def test_a_failover_that_lasts_longer_than_the_hold_is_not_cut_short() -> None:
    """A short drill would pass whatever the other copy does."""
    short = replace(drill(), hold_s=2)
    begun, act = advance(short, Sample(at=at(3), unanswered_s=3, is_lost=None))
    assert (begun.state, act) == (DrillState.LOST, Act.NOTHING)
    _, act = advance(begun, Sample(at=at(5.2), unanswered_s=5.2, is_lost=None))
    assert act is Act.MEND
    answered, act = advance(begun, Sample(at=at(4), longest_outage_s=3.5, is_lost=True, others=1))
    assert (answered.outage_s, act) == (3.5, Act.MEND)


def test_functions_that_are_hurt_end_it_and_fail_it() -> None:
    """A drill is not worth a service."""
    failed, acts = through(drill(), survived(hurt=("vnfc-died of VNFC a",)))
    assert (failed.outcome, acts[1]) == (DrillOutcome.FAILED, Act.MEND)
    assert finding(failed, "functions").measured == "vnfc-died of VNFC a"
    later, _ = through(drill(), survived())
    assert with_functions(later, ()).outcome is DrillOutcome.PROVEN
    assert with_functions(later, ("VNFC a was replaced",)).outcome is DrillOutcome.FAILED
    assert finding(with_functions(later, None), "functions").is_met is None


def test_a_loss_that_is_told_late_is_survived_in_part() -> None:
    """Nobody was hurt; an operator who is not told would let the second copy go, too."""
    held = replace(drill(), hold_s=40)
    down = [Sample(at=at(second), is_lost=True, others=1) for second in (1, 30, 41)]
    up = [Sample(at=at(second), is_lost=False, others=1) for second in (43, 45)]
    untold, _ = through(held, [*down, *up])
    assert (untold.outcome, finding(untold, "told").is_met) == (DrillOutcome.PARTLY, False)
    late, _ = through(held, [*down[:2], replace(down[2], told_at=at(40)), *up])
    assert (late.outcome, finding(late, "told").is_met) == (DrillOutcome.PARTLY, False)
    in_time, _ = through(held, [replace(one, told_at=at(3)) for one in down] + up)
    assert in_time.outcome is DrillOutcome.PROVEN


def test_without_another_copy_no_failover_is_proven() -> None:
    """An API that goes on answering says nothing of a scheduler that is gone."""
    failed, _ = through(drill(), [replace(one, others=0) for one in survived()])
    assert (failed.outcome, finding(failed, "other copies").is_met) == (DrillOutcome.FAILED, False)


def test_on_one_machine_what_is_lost_must_come_back_by_itself() -> None:
    """There is no other copy, so an outage is allowed, and somebody who has to start it is not."""
    silent = [Sample(at=at(second), unanswered_s=second) for second in (1, 5, 10)]
    up = [Sample(at=at(second), is_lost=False) for second in (12, 14)]
    by_itself, acts = through(drill(AuditRules.SINGLE), [*silent, *up])
    assert Act.MEND not in acts
    assert by_itself.outcome is DrillOutcome.PROVEN
    assert finding(by_itself, "restart").measured == "it was back by itself after 12.0 s"
    never = [Sample(at=at(second), is_lost=True) for second in (1, 20, 29, 31)]
    mended = [Sample(at=at(second), is_lost=False) for second in (33, 35)]
    failed, acts = through(drill(AuditRules.SINGLE), [*never, *mended])
    assert acts[3] is Act.MEND
    assert (failed.outcome, finding(failed, "restart").is_met) == (DrillOutcome.FAILED, False)


def test_what_returns_and_dies_again_has_not_returned() -> None:
    """A service in a crash loop is up now and then."""
    looping = [
        Sample(at=at(1), is_lost=True),
        Sample(at=at(2), is_lost=False),
        Sample(at=at(2.5), is_lost=True),
        Sample(at=at(31), is_lost=True),
    ]
    begun, acts = through(drill(AuditRules.SINGLE), looping)
    assert (begun.state, acts[-1]) == (DrillState.MENDING, Act.MEND)
    assert "lost again" in [one.what for one in begun.observations]


def test_a_guided_drill_says_what_to_do_and_waits_for_it() -> None:
    """Who pulls the cable reads one line at a time; when it was done is what we see, not what was said."""
    begun = replace(drill(is_injected=False, is_lost=False), instruction="Stop it now.")
    waiting, act = advance(begun, Sample(at=at(20), is_lost=False, others=1))
    assert (waiting, act) == (begun, Act.NOTHING)
    gone, _ = advance(waiting, Sample(at=at(30), is_lost=True, others=1, told_at=at(29)))
    assert (gone.state, gone.lost_at, gone.instruction[:5]) == (DrillState.LOST, at(30), "Wait:")
    held, act = advance(gone, Sample(at=at(41), is_lost=True, others=1))
    assert (act, held.instruction) == (Act.MEND, "Start nova-scheduler on ctl-1 again.")
    slow, act = advance(held, Sample(at=at(110), is_lost=True, others=1))
    assert (slow.state, act) == (DrillState.MENDING, Act.NOTHING)
    ended, _ = through(slow, [Sample(at=at(112), is_lost=False), Sample(at=at(114), is_lost=False)])
    assert ended.outcome is DrillOutcome.PROVEN
    assert finding(ended, "told").measured == "an alarm was raised after 0.0 s"


def test_a_vim_that_has_failed_over_and_not_noticed_is_not_taken_for_mended() -> None:
    """An OpenStack calls a dead service up for a minute."""
    begun = drill(is_injected=False, is_lost=False)
    gone, _ = advance(begun, Sample(at=at(30), unanswered_s=2, is_lost=None))
    assert (gone.state, gone.lost_at) == (DrillState.LOST, at(28))
    answers = [Sample(at=at(second), is_lost=False, others=1) for second in (31, 33, 35)]
    still, _ = through(gone, answers)
    assert still.state is DrillState.LOST


def test_nothing_is_concluded_when_nothing_was_lost_or_it_was_stopped() -> None:
    """A proof that nobody has brought must not be counted."""
    begun = drill(is_injected=False, is_lost=False)
    nobody, act = advance(begun, Sample(at=at(121), is_lost=False, others=1))
    assert (nobody.outcome, act) == (DrillOutcome.NOT_SHOWN, Act.END)
    stopped, acts = through(drill(), [replace(one, is_end_asked=True) for one in survived()])
    assert (acts[0], stopped.outcome) == (Act.MEND, DrillOutcome.STOPPED)
    seen_before = Sample(at=at(1), unanswered_s=9, is_lost=True, others=1, is_end_asked=True)
    failed, _ = through(drill(), [seen_before, *survived()])
    assert failed.outcome is DrillOutcome.FAILED


moments = st.lists(
    st.builds(
        dict,
        is_lost=st.sampled_from([True, False, None]),
        unanswered_s=st.sampled_from([0.0, 0.0, 2.0, 40.0]),
        others=st.sampled_from([0, 1, None]),
        hurt=st.sampled_from([(), ("a",)]),
        unrecovered=st.sampled_from([(), ("b",)]),
        is_end_asked=st.sampled_from([False, False, False, True]),
    ),
    max_size=60,
)


@given(
    moments,
    st.sampled_from(list(AuditRules)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([10.0, 600.0]),
)
def test_every_drill_ends_and_mends_before_its_time_is_over(
    seen: list[dict[str, object]], rules: AuditRules, is_injected: bool, is_lost: bool, hold_s: float
) -> None:
    """Whatever the VIM shows: a loss that outlives its drill is a fault that we have made."""
    begun = replace(drill(rules, is_injected=is_injected, is_lost=is_lost), hold_s=hold_s)
    most_s = 120 + DEMANDS[rules].back_s + 2
    mended_at: float | None = None
    for second in range(int(most_s) + 2):
        what = seen[second] if second < len(seen) else {}
        # As above: keywords of several types.
        begun, act = advance(begun, Sample(at=at(second), **what))  # type: ignore[arg-type]
        if act is Act.MEND:
            mended_at = second
        if begun.state is DrillState.ENDED:
            break
    assert begun.state is DrillState.ENDED
    assert begun.outcome is not None
    if begun.lost_at is not None:
        assert begun.was_back_by_itself or (mended_at is not None and mended_at <= 120)
