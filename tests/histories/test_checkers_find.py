"""Each checker passes a healthy history, and finds what was planted for it and nothing else does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from histories import Entry, History, Kind, read
from histories.bounds import Bounds
from histories.checkers import CHECKERS, wrongs
from histories.tale import SECRET, SINK, VIM, changed, healthy, matching, with_, without

Spoil = Callable[[list[Entry]], list[Entry]]
TIGHT = Bounds(told_s=1.0, cleared_s=1.0, again_s=1.0)


def entry(at: float, kind: Kind, what: str, about: str, source: str = "x", **values: object) -> Entry:
    return Entry(at=at, source=source, kind=kind, what=what, object=about, values=values)


def seen(at: float, what: str, vnfc: str, epoch: int, **body: object) -> Entry:
    """An effect on a server."""
    resource = f"{vnfc}#{epoch}"
    return entry(at, Kind.SEEN, what, f"vnfc:{vnfc}/{epoch}", VIM, resource_id=resource, **body)


def twin(entries: list[Entry], vnfc: str, epoch: int, at: float, **values: object) -> Entry:
    """The creation of a server that is like one that was created."""
    (one,) = matching(entries, "vnfc.created", f"vnfc:{vnfc}/{epoch}")
    body = {**one.values, **values}
    key = f"vnfc:{vnfc}/{body['incarnation']}"
    return entry(at, Kind.SEEN, "vnfc.created", key, VIM, **body)


def alarm(at: float, what: str, type_: str, about: str, part: str = "", **values: object) -> Entry:
    usual = {
        "became": what, "alarm": "planted", "type": type_, "problem": type_, "part": part,
        "severity": "MAJOR", "event_type": "QOS_ALARM", "location": "here", "object_kind": "farsite",
        "happened": at, "sequence": 900 + int(at),
    }  # fmt: skip
    return entry(at, Kind.BELIEVED, "alarm", about, **(usual | values))


PLANTED: dict[str, tuple[str, Spoil]] = {
    "an accepted operation is not known any more": (
        "I-01 no_lost_operation",
        lambda e: without(e, "operation", "make-v1", state="COMPLETED"),
    ),
    "an operation failed and does not say why": (
        "I-01 no_lost_operation",
        lambda e: changed(e, "operation", "make-v1", {"state": "FAILED"}, state="COMPLETED"),
    ),
    "an accepted operation never ends": (
        "I-01 no_lost_operation",
        lambda e: changed(e, "operation", "make-v1", {"state": "PROCESSING"}, state="COMPLETED"),
    ),
    "one server was created twice": (
        "I-02 nothing_doubled",
        lambda e: with_(e, twin(e, "v2/1", 0, 30.0, resource_id="again")),
    ),
    "the new one serves before the old one stops": (
        "I-03 single_active",
        lambda e: with_(e, twin(e, "v2/1", 0, 30.0, resource_id="again", incarnation=1)),
    ),
    "a server of an epoch that was left comes back": (
        "I-04 epoch_monotone",
        lambda e: with_(e, seen(60.0, "vnfc.removed", "v1/1", 1), twin(e, "v1/1", 0, 61.0)),
    ),
    "a hung server is replaced without a fence": (
        "I-05 fence_before_recover",
        lambda e: without(e, "vnfc.fenced", "vnfc:v1/1/0"),
    ),
    "a server of a dead host is evacuated without a fence": (
        "I-05 fence_before_recover",
        lambda e: with_(
            e, seen(130.0, "vnfc.repaired", "v2/1", 0, repair="evacuate", is_cured=True, host="B")
        ),
    ),
    "a dead server is no alarm": (
        "I-06 alarm_complete",
        lambda e: without(e, "alarm", "v2", type="vnfc-died"),
    ),
    "an alarm comes after its bound": (
        "I-06 alarm_complete",
        lambda e: without(
            changed(e, "alarm", "v1", {}, later_s=7.0, became="raised", type="vnfc-datapath-lost"),
            "vnfc.started",
            "vnfc:v1/1/1",
        ),
    ),
    "a silent VIM is no alarm": (
        "I-06 alarm_complete",
        lambda e: without(e, "alarm", VIM, type="vim-unreachable"),
    ),
    "an alarm has no location": (
        "I-06 alarm_complete",
        lambda e: changed(e, "alarm", "v1", {"location": ""}, type="vnfc-died", became="raised"),
    ),
    "a VNFC is told dead that lives": (
        "I-06 no_alarm_without_cause",
        lambda e: with_(e, alarm(60.0, "raised", "vnfc-died", "v1", "v1/0")),
    ),
    "a host is told dead of which only one server died": (
        "I-06 no_alarm_without_cause",
        lambda e: with_(e, alarm(23.0, "raised", "host-down", f"{VIM}/B")),
    ),
    "healing is told to be given up, and there was none": (
        "I-06 no_alarm_without_cause",
        lambda e: with_(e, alarm(23.0, "raised", "heal-budget-spent", "v2")),
    ),
    "an alarm of a type that nobody can explain": (
        "I-06 no_alarm_without_cause",
        lambda e: with_(e, alarm(23.0, "raised", "weather", "v2")),
    ),
    "an alarm is cleared while what it tells of goes on": (
        "I-07 alarm_truth",
        lambda e: changed(e, "alarm", VIM, {"happened": 80.0}, type="vim-unreachable", became="cleared"),
    ),
    "a host is told to be back that is not": (
        "I-07 alarm_truth",
        lambda e: changed(e, "alarm", f"{VIM}/A", {"happened": 50.0}, became="cleared"),
    ),
    "an alarm stands long after what it tells of": (
        "I-07 alarm_truth",
        lambda e: changed(e, "alarm", "v1", {}, later_s=30.0, type="vnfc-datapath-lost", became="cleared"),
    ),
    "an alarm is never cleared": (
        "I-07 alarm_truth",
        lambda e: without(e, "alarm", "v2", type="vnfc-died", became="cleared"),
    ),
    "a number was never told": (
        "I-08 in_order_to_each",
        lambda e: without(e, "notification", number=1),
    ),
    "two notifications came in the wrong order": (
        "I-08 in_order_to_each",
        lambda e: changed(e, "notification", "", {}, later_s=60.0, number=1),
    ),
    "one number was given to two": (
        "I-08 in_order_to_each",
        lambda e: changed(e, "notification", "", {"number": 1}, number=2),
    ),
    "a consumer was told of another's": (
        "I-08 in_order_to_each",
        lambda e: changed(e, "notification", "", {"is_mine": False}, number=1),
    ),
    "the end of an alarm was not told": (
        "I-08 all_told",
        lambda e: without(e, "notification", "v2", type="AlarmClearedNotification"),
    ),
    "the cause is told to be a symptom": (
        "I-09 causes",
        lambda e: changed(e, "alarm-stands", "alarm-2", {"is_root_cause": False}),
    ),
    "a symptom does not name its cause": (
        "I-09 causes",
        lambda e: changed(e, "alarm-stands", "alarm-3", {"correlated": []}),
    ),
    "two of a group share a host after a heal": (
        "I-10 apart",
        lambda e: changed(e, "vnfc.created", "vnfc:v1/0/1", {"host": "B"}),
    ),
    "VNFs that must stand on different VIMs do not": (
        "I-10 apart",
        lambda e: with_(e, entry(0.0, Kind.BELIEVED, "apart", "rule", scope="vim", members=["v1", "v2"])),
    ),
    "two of a group share a rack": (
        "I-10 apart",
        lambda e: with_(
            e,
            entry(0.0, Kind.BELIEVED, "apart", "rule", scope="rack", members=["v1", "v2"]),
            entry(0.0, Kind.BELIEVED, "rack", f"{VIM}/B", rack="one"),
            entry(0.0, Kind.BELIEVED, "rack", f"{VIM}/C", rack="one"),
        ),
    ),
    "two volumes of a VNF share a back end after a heal": (
        "I-10 apart",
        lambda e: changed(e, "vnfc.created", "vnfc:v1/0/1", {"back_ends": {"data": "ssd-1"}}),
    ),
    "two networks of a VNF share a physical network": (
        "I-10 apart",
        lambda e: changed(
            e,
            "deployment.created",
            "deployment:v2",
            {
                "networks": [
                    {"id": "v2-left", "physical_network": "front"},
                    {"id": "v2-right", "physical_network": "front"},
                ]
            },
        ),
    ),
    "a network that was made alone shares a physical network": (
        "I-10 apart",
        lambda e: with_(
            e,
            entry(0.0, Kind.BELIEVED, "apart", "links", scope="physical-network", members=["l1", "v1-left"]),
            entry(
30.0, Kind.SEEN, "network.created", "network:l1", VIM, id="l1", physical_network="front"),
        ),
    ),
    "a VNF stands where it may not": (
        "I-10 apart",
        lambda e: changed(e, "stays", "v1", {"vims": ["elsewhere"]}),
    ),
    "more is healed than the budget allows": (
        "I-11 budgets",
        lambda e: changed(e, "policy", "v1", {"per_vnf": 1}),
    ),
    "a VNF is healed twice at once": (
        "I-11 one_recoverer",
        lambda e: with_(
            e, entry(20.6, Kind.BELIEVED, "heal", "v1"), entry(20.7, Kind.BELIEVED, "healed", "v1")
        ),
    ),
    "a VNF is healed that heals itself": (
        "I-11 one_recoverer",
        lambda e: changed(e, "policy", "v2", {"handled_by": "VNF"}),
    ),
    "the healed one is of another image": (
        "I-12 initial_state",
        lambda e: changed(e, "vnfc.created", "vnfc:v1/1/1", {"image": "other"}),
    ),
    "the healed one has another configuration": (
        "I-12 initial_state",
        lambda e: changed(e, "vnfc.created", "vnfc:v2/0/1", {"configuration": {}}),
    ),
    "the less urgent is healed first": (
        "I-14 priority",
        lambda e: with_(
            changed(e, "policy", "v2", {"priority": 1}),
            entry(20.1, Kind.BELIEVED, "waits", "v1"),
            entry(20.1, Kind.BELIEVED, "waits", "v2"),
        ),
    ),
    "work waits in the queue": (
        "I-20 at_rest",
        lambda e: with_(e, entry(155.0, Kind.BELIEVED, "workflow", "w", status="ENQUEUED")),
    ),
    "an operation that has ended holds its lock": (
        "I-20 at_rest",
        lambda e: with_(e, entry(155.0, Kind.BELIEVED, "lock", "v1", operation="make-v1")),
    ),
    "a lease has run out": (
        "I-20 at_rest",
        lambda e: changed(e, "lease", "a", {"left_s": -1.0}),
    ),
    "a VIM is not ACTIVE again": (
        "I-20 at_rest",
        lambda e: changed(e, "vim", VIM, {"state": "ERROR"}),
    ),
    "a notification waits": (
        "I-20 at_rest",
        lambda e: with_(e, entry(155.0, Kind.BELIEVED, "delivery", SINK, number=3, state="PENDING")),
    ),
    "rest comes late": (
        "I-20 at_rest",
        lambda e: changed(e, "rest", "", {}, later_s=100.0),
    ),
    "nobody looked at the end": (
        "I-20 at_rest",
        lambda e: without(e, "rest"),
    ),
    "another VIM is slow while one is silent": (
        "I-21 bulkhead",
        lambda e: [
            one if one.what != "request" or one.at < 75 else entry(one.at, one.kind, one.what, one.object,
            vim="vim-2", duration_s=0.9, status=200)
            for one in e
        ],
    ),
    "a process takes more memory than it may": (
        "I-22 bounded",
        lambda e: changed(e, "usage", "a", {"memory_mib": 3000}),
    ),
    "a process leaves files open": (
        "I-22 bounded",
        lambda e: changed(e, "usage", "a", {"files": 3000}),
    ),
    "a password stands in a log": (
        "I-23 no_secret",
        lambda e: with_(e, entry(60.0, Kind.SEEN, "written", "log.txt", text=f"GET ?password={SECRET}&x=1")),
    ),
    "a process that lives is declared gone when its clock is stepped": (
        "I-24 clocks",
        lambda e: with_(e, entry(112.0, Kind.BELIEVED, "declared-gone", "b")),
    ),
    "an operation runs out of time that a clock jumped over": (
        "I-24 clocks",
        lambda e: changed(e, "operation", "heal-1", {"error": "its deadline passed", "state": "FAILED_TEMP"}),
    ),
    "an operation is dated by a clock that was set": (
        "I-24 clocks",
        lambda e: changed(e, "operation", "make-v2", {"started": 3600.5}, state="COMPLETED"),
    ),
    "an operation ended before it began": (
        "I-24 clocks",
        lambda e: changed(e, "operation", "", {"entered": -3558.0}, verb="heal_vnf", instance="v2"),
    ),
    "an alarm is recorded by a clock that was set back": (
        "I-24 clocks",
        lambda e: changed(e, "alarm", VIM, {}, later_s=-3600.0, type="vim-unreachable", became="cleared"),
    ),
    "who sees nobody heals": (
        "R-26 nobody_isolated_acts",
        lambda e: changed(e, "heal", "v1", {"detail": "isolated"}),
    ),
}  # fmt: skip


def test_a_healthy_history_passes_every_checker() -> None:
    """A checker that finds something in it would be switched off soon."""
    assert wrongs(healthy(), TIGHT) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_each_checker_finds_what_was_planted_in_a_healthy_history(planted: str) -> None:
    """A checker that finds nothing where something is wrong is worse than none."""
    name, spoil = PLANTED[planted]
    spoiled = spoil(healthy())
    assert CHECKERS[name](spoiled, TIGHT), f"{name} does not find that {planted}"


def test_something_is_planted_for_every_checker() -> None:
    """One that nothing was planted for is believed, not known."""
    assert {name for name, _ in PLANTED.values()} == set(CHECKERS)


def test_we_are_excused_while_we_could_not_know() -> None:
    """What dies while we are dead is told after our return, with the same bound; later it is late."""
    dead = entry(99.5, Kind.SEEN, "vnfc.died", "vnfc:v2/1/0", VIM, resource_id="v2/1#0", reason="")
    told = alarm(99.5, "raised", "vnfc-died", "v2", "v2/1")
    checks = ("I-06 alarm_complete", "I-06 no_alarm_without_cause")
    check = {name: CHECKERS[name] for name in checks}
    lasting = [one for one in healthy() if one.what != "vim-silent" and one.get("type") != "vim-unreachable"]
    for at, is_late in ((103.5, False), (104.5, True)):
        history = with_(lasting, dead, entry(at, told.kind, told.what, told.object, **told.values))
        assert bool(wrongs(history, TIGHT, check)) == is_late, (at, wrongs(history, TIGHT, check))


def test_a_history_that_was_kept_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Histories of nights are checked again, by checkers that are written later."""
    path = tmp_path / "history.jsonl"
    written = History(path)
    written.add(*healthy())
    written.note(Kind.INJECTED, "over", "", source="lab")
    written.close()
    assert read(path) == written.entries()
    path.write_text('{"at": 1}\n')
    with pytest.raises(ValueError, match="line 1 is no entry"):
        read(path)
