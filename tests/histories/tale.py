"""A history written by hand in which everything is as it should be, and the means to spoil it in one place.

Two VNFs of two VNFCs each on one VIM of three hosts. One VNFC hangs and is healed with a fence; a host dies
with a VNFC of each, and both are healed elsewhere; the VIM is silent for a while. All of it is told.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from histories import Entry, Kind, in_order
from histories.limits import credential

VIM = "vim-1"
SECRET = "xK9-never-told-abc"
SINK = "http://consumer"


class Tale:
    """Writes a history; times are seconds from its beginning."""

    def __init__(self) -> None:
        self.entries: list[Entry] = [credential("password", SECRET, at=0.0)]
        self._effects = 0
        self._alarms = 0
        self._numbers = 0

    def note(self, at: float, kind: Kind, what: str, about: str, source: str = "x", **values: Any) -> None:
        self.entries.append(Entry(at=at, source=source, kind=kind, what=what, object=about, values=values))

    def effect(self, at: float, what: str, key: str, **body: Any) -> None:
        self._effects += 1
        self.note(at, Kind.SEEN, what, key, VIM, sequence=self._effects, **body)

    def operation(self, at: float, ended: float, name: str, verb: str, vnf: str) -> None:
        is_heal = verb == "heal_vnf"
        if is_heal:
            self.note(at, Kind.BELIEVED, "heal", vnf, actor="a")
            self.note(ended, Kind.BELIEVED, "healed", vnf)
        else:
            self.note(at, Kind.ASKED, "operation", name, verb=verb, instance=vnf, status=202)
        self.note(
            200.0,
            Kind.BELIEVED,
            "operation",
            name,
            verb=verb,
            instance=vnf,
            state="COMPLETED",
            error="",
            is_automatic=is_heal,
            started=at,
            entered=ended,
        )

    def created(self, at: float, vnfc: str, epoch: int, host: str, *, ready_s: float = 0.1) -> None:
        vnf = vnfc.partition("/")[0]
        self.effect(
            at,
            "vnfc.created",
            f"vnfc:{vnfc}/{epoch}",
            resource_id=f"{vnfc}#{epoch}",
            deployment=vnf,
            vnf_id=vnf,
            vnfc_id=vnfc,
            vdu="worker",
            incarnation=epoch,
            image="builtin:inspector",
            region="r",
            zone="z",
            host=host,
            vcpus=1,
            memory_mib=64,
            disk_gib=0,
            group=f"{vnf}:apart",
            ports=[["ingress", "02:00", ["10.0.0.1"], "net"]],
            volumes={"data": 1.0},
            back_ends={"data": f"ssd-{vnfc.partition('/')[2]}"},
            is_stopped=False,
            configuration={"patterns": ["eicar"]},
            ready_at=at + ready_s,
            fails="",
            fails_resource="",
        )
        self.effect(at + ready_s, "vnfc.started", f"vnfc:{vnfc}/{epoch}", resource_id=f"{vnfc}#{epoch}")

    def of(self, at: float, what: str, vnfc: str, epoch: int, **body: Any) -> None:
        self.effect(at, what, f"vnfc:{vnfc}/{epoch}", resource_id=f"{vnfc}#{epoch}", **body)

    def alarm(
        self,
        raised: float,
        cleared: float,
        type_: str,
        about: str,
        part: str = "",
        *,
        kind: str = "vnf",
        is_root_cause: bool = True,
        correlated: tuple[str, ...] = (),
    ) -> None:
        self._alarms += 1
        name = f"alarm-{self._alarms}"
        for number, (at, what) in enumerate(((raised, "raised"), (cleared, "cleared"))):
            self.note(
                at + 0.05,
                Kind.BELIEVED,
                "alarm",
                about,
                became=what,
                alarm=name,
                type=type_,
                problem=f"{type_}/{part}",
                part=part,
                severity="MAJOR",
                event_type="EQUIPMENT_ALARM",
                location="site/vim",
                object_kind=kind,
                happened=at,
                sequence=2 * self._alarms + number,
            )
            if kind == "vnf":
                self._numbers += 1
                self.note(
                    at + 0.1,
                    Kind.TOLD,
                    "notification",
                    about,
                    consumer=SINK,
                    number=self._numbers,
                    id=f"told-{self._numbers}",
                    type="AlarmNotification" if what == "raised" else "AlarmClearedNotification",
                    alarm=name,
                    is_replay=False,
                )
        self.note(
            200.0,
            Kind.BELIEVED,
            "alarm-stands",
            name,
            is_root_cause=is_root_cause,
            correlated=list(correlated),
        )

    def fault(self, began: float, ended: float, what: str, about: str) -> None:
        self.note(began, Kind.INJECTED, what, about, "lab", phase="begins")
        self.note(ended, Kind.INJECTED, what, about, "lab", phase="ends")


def healthy() -> list[Entry]:
    """A history with which nothing is wrong."""
    tale = Tale()
    tale.note(0.0, Kind.ASKED, "subscription", SINK)
    for vnf, hosts in (("v1", "AB"), ("v2", "AC")):
        tale.note(
            0.0, Kind.BELIEVED, "policy", vnf, per_vnf=2, window_s=600, handled_by="farsite", priority=2
        )
        tale.note(0.0, Kind.BELIEVED, "stays", vnf, vims=[VIM])
        lines = {f"{vnf}-left": "front", f"{vnf}-right": "back"}
        tale.note(0.0, Kind.BELIEVED, "apart", f"lines of {vnf}", scope="physical-network", members=[*lines])
        networks = [{"id": line, "physical_network": place} for line, place in lines.items()]
        wanted = [[f"{vnf}/0", 0], [f"{vnf}/1", 0]]
        tale.effect(1.0, "deployment.created", f"deployment:{vnf}", name=vnf, vnf_id=vnf, revision="1",
                    region="r", wanted=wanted, networks=networks)  # fmt: skip
        for number, host in enumerate(hosts):
            tale.created(1.0, f"{vnf}/{number}", 0, host)
        tale.operation(0.5, 1.5, f"make-{vnf}", "instantiate_vnf", vnf)
    tale.note(0.0, Kind.BELIEVED, "apart", "disks", scope="back-end", members=["v1", "v2"], volumes=["data"])
    for number in range(200):
        tale.note(
            10 + number / 20, Kind.ASKED, "request", f"GET {number}", vim="vim-2", duration_s=0.02, status=200
        )
        tale.note(
            70 + number / 20, Kind.ASKED, "request", f"GET {number}", vim="vim-2", duration_s=0.02, status=200
        )
    # One hangs.
    tale.of(20.0, "vnfc.hung", "v1/1", 0, cured_by="respawn")
    tale.alarm(20.0, 22.2, "vnfc-datapath-lost", "v1", "v1/1")
    tale.operation(20.5, 22.2, "heal-1", "heal_vnf", "v1")
    tale.of(21.0, "vnfc.fenced", "v1/1", 0)
    tale.of(22.0, "vnfc.removed", "v1/1", 0)
    tale.created(22.0, "v1/1", 1, "B")
    # A host dies with one of each.
    tale.fault(40.0, 55.0, "host-dead", f"{VIM}/A")
    for vnf in ("v1", "v2"):
        tale.of(40.0, "vnfc.died", f"{vnf}/0", 0, reason="host A is down")
    tale.alarm(40.0, 58.0, "host-down", f"{VIM}/A", kind="host", correlated=("alarm-3", "alarm-4"))
    tale._alarms = 2
    for vnf, host in (("v1", "C"), ("v2", "B")):
        tale.alarm(40.0, 42.2, "vnfc-died", vnf, f"{vnf}/0", is_root_cause=False, correlated=("alarm-2",))
        tale.operation(40.5, 42.2, f"heal-{vnf}", "heal_vnf", vnf)
        tale.of(41.0, "vnfc.fenced", f"{vnf}/0", 0)
        tale.of(42.0, "vnfc.removed", f"{vnf}/0", 0)
        tale.created(42.0, f"{vnf}/0", 1, host)
    # The VIM falls silent for a while, and one of our processes is killed.
    tale.fault(70.0, 90.0, "vim-silent", VIM)
    tale.alarm(73.0, 90.5, "vim-unreachable", VIM, kind="vim")
    tale.fault(100.0, 102.0, "service-killed", "a")
    tale.fault(110.0, 120.0, "clock-stepped", "a")
    tale.note(115.0, Kind.SEEN, "usage", "a", "lab", memory_mib=200, threads=20, files=60, disk_mib=10)
    tale.note(103.0, Kind.BELIEVED, "declared-gone", "a")
    tale.note(150.0, Kind.INJECTED, "over", "", "lab")
    tale.note(155.0, Kind.BELIEVED, "rest", "")
    tale.note(155.0, Kind.BELIEVED, "lease", "a", state="active", left_s=1.5)
    tale.note(155.0, Kind.BELIEVED, "vim", VIM, state="ACTIVE", site="north")
    return numbered(tale.entries)


def numbered(entries: Iterable[Entry]) -> list[Entry]:
    """In order, and so numbered in the journal."""
    return [
        replace(one, values={**one.values, "sequence": number}) if one.source == VIM else one
        for number, one in enumerate(in_order(entries))
    ]


# -- spoiling


def without(entries: list[Entry], what: str, about: str = "", **values: Any) -> list[Entry]:
    """All but those of that word, object and values.

    Raises:
        AssertionError: there is none.
    """
    found = list(matching(entries, what, about, **values))
    assert found, f"nothing to leave out: {what} {about} {values}"
    return [one for one in entries if one not in found]


def matching(entries: list[Entry], what: str, about: str = "", **values: Any) -> Iterator[Entry]:
    for one in entries:
        is_meant = one.what == what and about in ("", one.object)
        if is_meant and all(one.get(name) == value for name, value in values.items()):
            yield one


def changed(
    entries: list[Entry], what: str, about: str, values: Mapping[str, Any], *, later_s: float = 0.0, **of: Any
) -> list[Entry]:
    """Those of that word, object and values `of` with other values, or later.

    Raises:
        AssertionError: there is none.
    """
    found = list(matching(entries, what, about, **of))
    assert found, f"nothing to change: {what} {about} {of}"
    return numbered(
        replace(one, at=one.at + later_s, values={**one.values, **values}) if one in found else one
        for one in entries
    )


def with_(entries: list[Entry], *more: Entry) -> list[Entry]:
    return numbered([*entries, *more])
