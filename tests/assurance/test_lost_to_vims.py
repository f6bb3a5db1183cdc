"""What functions lost to failures of the VIM they stood on, and what they lost by their own doing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance import alarms as catalogue
from farsite.assurance.alarms import AlarmType
from farsite.assurance.lost_to_vims import LEAST_PER_DEATH, Stood, functions_availability
from farsite.assurance.vim_availability import VimAvailability
from farsite.model.alarm import Alarm, HistoryEntry, Transition
from farsite.model.clock import SystemClock
from farsite.model.ids import (
    DEFAULT_PROJECT,
    AlarmId,
    ProjectId,
    VimId,
    VnfdId,
    VnfInstanceId,
    VnfPackageId,
    new_id,
)
from farsite.model.package import VnfPackage
from farsite.model.vim import Vim
from farsite.model.vnf import VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, correlations, instances, packages, vims
from farsite.store.correlations import Tie
from farsite.store.database import Database

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 10.0
UNTIL = SINCE + timedelta(days=DAYS)
DAY_S = 86_400.0


def told(what: Transition, at: datetime, *, alarm: str, vnfc: str) -> HistoryEntry:
    kind = catalogue.VNFC_DIED
    return HistoryEntry(
        project_id=DEFAULT_PROJECT, at=at, recorded_at=at, alarm_id=AlarmId(alarm), object_id="fw",
        object_kind="vnf", location="turin/alder/nova", event_type=kind.event_type, type=kind.name,
        specific_problem=catalogue.problem_of(kind, vnfc), severity=kind.severity, what=what, who="farsite",
    )  # fmt: skip


def away(vnfc: str, from_day: float, *, for_s: float) -> tuple[HistoryEntry, HistoryEntry]:
    """A VNFC that was dead for a while."""
    began = SINCE + timedelta(days=from_day)
    alarm = f"{vnfc}-{from_day}"
    return (
        told(Transition.RAISED, began, alarm=alarm, vnfc=vnfc),
        told(Transition.CLEARED, began + timedelta(seconds=for_s), alarm=alarm, vnfc=vnfc),
    )


def kept(*stood: Stood) -> float | None:
    return functions_availability(stood, since=SINCE, until=UNTIL)


WELL = Stood(since=SINCE)


def test_a_vnfc_that_was_away_takes_its_share_of_its_function_along() -> None:
    """One of two workers lost for a day is half a day of one of two functions."""
    hit = Stood(since=SINCE, parts=2, entries=away("fw-1", 3, for_s=DAY_S))
    assert kept(hit, WELL) == pytest.approx(1 - 0.5 / (2 * DAYS), abs=1e-6)


def test_a_death_that_was_healed_at_once_counts_all_the_same() -> None:
    """Ten a day that are each healed within a second are no sign of a place where a promise is kept."""
    entries = [entry for at in range(100) for entry in away("fw-1", at / 10, for_s=1)]
    lost_s = 100 * LEAST_PER_DEATH.total_seconds()
    assert kept(Stood(since=SINCE, entries=entries)) == pytest.approx(1 - lost_s / (DAYS * DAY_S), abs=1e-6)


def test_of_functions_that_have_just_come_none_says_much() -> None:
    """One of an hour that lost half of it has seen nothing of the VIM; nor do a hundred new ones make what
    was lost forgotten."""
    young = Stood(since=UNTIL - timedelta(hours=1), entries=away("fw-1", DAYS - 1 / 48, for_s=1800))
    assert kept(young) == pytest.approx(1 - 1800 / (DAYS * DAY_S), abs=1e-6)
    hit = Stood(since=SINCE, entries=away("fw-1", 3, for_s=DAY_S))
    many = [Stood(since=UNTIL)] * 100
    assert kept(hit, *many) == kept(hit)
    assert kept() is None


@given(
    st.lists(st.tuples(st.floats(0, DAYS), st.floats(0, 20 * DAY_S)), max_size=30),
    st.integers(1, 4),
    st.integers(0, 20),
)
def test_no_function_weighs_more_than_its_own_time(
    outages: Sequence[tuple[float, float]], parts: int, others: int
) -> None:
    """Whatever one function suffered, told however often and in whatever order, its VIM loses its share."""
    entries = [
        entry
        for number, (day, for_s) in enumerate(outages)
        for entry in away(f"fw-{number % parts}", day, for_s=for_s)
    ]
    found = kept(Stood(since=SINCE, parts=parts, entries=entries[::-1]), *[WELL] * others)
    assert found is not None
    assert 1 - 1 / (1 + others) - 1e-6 <= found <= 1


@dataclass(frozen=True, slots=True)
class Past:
    """Two VIMs that are known for a month, with functions, in a real store."""

    database: Database
    clock: SystemClock
    days: float
    vims: dict[str, Vim]

    def function_on(self, connection: sa.Connection, vim: str) -> VnfInstance:
        now = self.clock.now()
        package = VnfPackage(
            id=VnfPackageId(new_id()), project_id=DEFAULT_PROJECT, vnfd_id=VnfdId(new_id()),
            product_name="firewall", created_at=now,
        )  # fmt: skip
        packages.put_package(connection, package)
        assert package.vnfd_id
        vnf = VnfInstance(
            id=VnfInstanceId(new_id()), project_id=DEFAULT_PROJECT, package_id=package.id,
            vnfd_id=package.vnfd_id, provider="Farsite", product_name="firewall", software_version="1",
            vnfd_version="1", vim_id=self.vims[vim].id, created_at=now - timedelta(days=30),
        )  # fmt: skip
        instances.insert_vnf(connection, vnf)
        return vnf

    def died(self, connection: sa.Connection, vnf: VnfInstance, vnfc: str, at: datetime) -> Alarm:
        """A VNFC that was dead for an hour."""
        alarm = catalogue.raised(
            catalogue.VNFC_DIED, project_id=vnf.project_id, object_id=vnf.id, part=vnfc, at=at,
            location=f"turin/alder/nova/{vnfc}",
        )  # fmt: skip
        alarms.raise_(connection, alarm)
        ended = at + timedelta(hours=1)
        assert alarms.clear(connection, object_id=vnf.id, specific_problem=alarm.specific_problem, at=ended)
        return alarm

    def failed(
        self,
        connection: sa.Connection,
        kind: AlarmType,
        object_id: str,
        explains: Sequence[Alarm],
        at: datetime,
        said: tuple[str, ...] = (),
    ) -> None:
        """A place that failed, tied to the deaths that this explains as correlation does it."""
        place = catalogue.raised(
            kind, project_id=DEFAULT_PROJECT, object_id=object_id, location="turin/alder", at=at, details=said
        )
        alarms.raise_(connection, place)
        ties = {one.id: Tie(is_root_cause=False, with_={place.id}) for one in explains}
        ties[place.id] = Tie(with_={one.id for one in explains})
        assert correlations.correlate(connection, ties, at=at) == len(ties)
        ended = at + timedelta(hours=1)
        assert alarms.clear(
            connection, object_id=object_id, specific_problem=place.specific_problem, at=ended
        )

    async def measured(self, settings: Settings) -> dict[str, tuple[float | None, float | None]]:
        await VimAvailability(settings, self.database, self.clock).look()
        with self.database.transaction() as connection:
            found = vims.of_project(connection, ProjectId("default"))
        return {one.name: (one.availability, one.functions_availability) for one in found}


@pytest.fixture
def past(settings: Settings) -> Past:
    database, clock = Database(settings), SystemClock()
    now = clock.now()
    known = {
        name: Vim(
            id=VimId(new_id()), name=name, type="simulated", site="turin", project_id=DEFAULT_PROJECT,
            state_since=now, created_at=now - timedelta(days=30),
        )
        for name in ("alder", "birch")
    }  # fmt: skip
    with database.transaction() as connection:
        for vim in known.values():
            vims.insert(connection, vim, None)
    return Past(database, clock, settings.placement_availability_days, known)


async def test_what_functions_lost_to_a_host_is_kept_beside_the_vim(past: Past, settings: Settings) -> None:
    """A VIM that answered all the time while its hosts died under the functions did not keep its promise."""
    at = past.clock.now() - timedelta(days=2)
    with past.database.transaction() as connection:
        hit = [past.function_on(connection, "alder") for _ in range(2)]
        for name in ("alder", "birch"):
            past.function_on(connection, name)
        deaths = [past.died(connection, one, "vnfc-1", at) for one in hit]
        past.failed(connection, catalogue.HOST_DOWN, f"{past.vims['alder'].id}/compute-1", deaths, at)
    found = await past.measured(settings)
    own, of_functions = found["alder"]
    assert own == 1.0
    assert of_functions == pytest.approx(1 - 2 / (3 * 24 * past.days), abs=1e-5)
    assert found["birch"] == (1.0, 1.0)


async def test_a_function_that_crashes_by_itself_does_not_blacken_its_vim(
    past: Past, settings: Settings
) -> None:
    """Not by dying again and again, and not by taking all of its VNFCs down at once, which looks as if what
    they stood on had failed; it is another matter when the VIM itself says that the host is gone."""
    began = past.clock.now() - timedelta(days=6)
    alder = past.vims["alder"].id
    with past.database.transaction() as connection:
        crashing = past.function_on(connection, "alder")
        for hours in range(50):
            past.died(connection, crashing, f"vnfc-{hours}", began + timedelta(hours=2 * hours))
        at = began + timedelta(hours=110)
        both = [past.died(connection, crashing, f"worker-{one}", at) for one in (1, 2)]
        past.failed(connection, catalogue.HOST_DOWN, f"{alder}/compute-1", both, at)
        at += timedelta(hours=2)
        all_of_it = [past.died(connection, crashing, f"part-{one}", at) for one in (1, 2)]
        past.failed(connection, catalogue.VIM_DOWN, alder, all_of_it, at)
    assert (await past.measured(settings))["alder"] == (1.0, 1.0)
    with past.database.transaction() as connection:
        at += timedelta(hours=2)
        death = past.died(connection, crashing, "worker-1", at)
        said = ("HOST_DOWN: its service does not report; it was forced down",)
        past.failed(connection, catalogue.HOST_DOWN, f"{alder}/compute-2", [death], at, said)
    own, of_functions = (await past.measured(settings))["alder"]
    assert own == 1.0
    assert of_functions is not None
    assert of_functions < 1


async def test_a_site_that_died_is_laid_to_the_vim_that_each_function_stood_on(
    past: Past, settings: Settings
) -> None:
    """The alarm of a site names no VIM; the others of the site were not lost to these functions."""
    at = past.clock.now() - timedelta(days=2)
    with past.database.transaction() as connection:
        deaths = [
            past.died(connection, past.function_on(connection, "alder"), "vnfc-1", at) for _ in range(2)
        ]
        past.function_on(connection, "birch")
        past.failed(connection, catalogue.SITE_DOWN, "turin", deaths, at)
    found = await past.measured(settings)
    assert found["birch"][1] == 1.0
    assert found["alder"][1] == pytest.approx(1 - 1 / (24 * past.days), abs=1e-5)


async def test_a_vim_that_is_known_for_minutes_has_no_past(past: Past, settings: Settings) -> None:
    """A figure of some minutes would decide like one of a week."""
    with past.database.transaction() as connection:
        past.function_on(connection, "alder")
        created_at = past.clock.now() - timedelta(minutes=5)
        vims.update(connection, replace(past.vims["alder"], created_at=created_at))
    assert (await past.measured(settings))["alder"] == (None, None)
