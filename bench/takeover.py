"""How soon the work of one of our processes goes on elsewhere when it is killed, frozen or cut off.

Three processes on one PostgreSQL, struck in turn. Before a strike the two others are drained for a moment, so
that all operations are on the one that is struck: 50 that wait for their VIM, begun anew when it is done
with them, and a few that were accepted a moment ago and are in the middle of anything. Figures run from the
strike, and are looked at every few milliseconds: until the database says that every operation runs in
another's name; until others watch all VIMs that it watched; until others make its deliveries. After every
strike nobody else may have been declared gone. After every batch all operations must have completed, nothing
may have stood twice in the VIM's journal, and real consumers must have every notification, under one number,
without a gap.

`python -m bench takeover --kills 1000 --continue FILE` writes each strike to the file at once; stopped and
started again it goes on where it was. `--in-flight 1000` strikes at so many operations instead of 50.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, NotMeasured, percentile
from bench.stores import AS_IN_PRODUCTION
from bench.strikes import Book, Field, Kind, Strike

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from postgres_server import NoPostgres, PostgresServer  # pyright: ignore[reportMissingImports]

IN_FLIGHT = 50
MANY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many strikes of each kind, at how many operations, and where results are kept between two runs."""

    kills: int | None = None
    freezes: int | None = None
    cuts: int | None = None
    in_flight: int = IN_FLIGHT
    results: Path | None = None


def measure(*, is_quick: bool, wanted: Wanted | None = None) -> Iterator[Figure]:
    """Figures of kills, of freezes, of cut cables, and of one kill with 1,000 operations in flight.

    Whoever asks for a number of one kind gets that kind alone.
    """
    wanted = wanted or Wanted()
    counts = {Kind.KILL: wanted.kills, Kind.FREEZE: wanted.freezes, Kind.CUT: wanted.cuts}
    has_chosen = any(count is not None for count in counts.values())
    if not has_chosen:
        few = 2 if is_quick else 10
        counts = {Kind.KILL: few, Kind.FREEZE: few // 2, Kind.CUT: few // 2}
    book = Book(wanted.results)
    try:
        server = PostgresServer(options={**AS_IN_PRODUCTION, **Field.LISTENS})
    except NoPostgres as error:
        raise NotMeasured(str(error)) from error
    try:
        for kind, count in counts.items():
            missing = (count or 0) - len(book.strikes_of(kind, wanted.in_flight))
            if missing > 0:
                Field.strike(server, book, kind, missing, wanted.in_flight)
            if count:
                yield from _figures(book, kind, wanted.in_flight)
        if not has_chosen:
            many = 200 if is_quick else MANY
            Field.strike(server, book, Kind.KILL, 1, many)
            yield from _figures(book, Kind.KILL, many)
    finally:
        server.remove()


_WORDS = {Kind.KILL: "SIGKILL", Kind.FREEZE: "frozen", Kind.CUT: "cable cut"}


def _figures(book: Book, kind: Kind, in_flight: int) -> Iterator[Figure]:
    strikes, batches = book.strikes_of(kind, in_flight), book.batches_of(kind, in_flight)
    what = f"{_WORDS[kind]}, {in_flight:,} operations in flight"
    runs = f"{len(strikes):,} strikes"
    loads = [one.load for one in strikes]
    load = f"load {min(loads):.1f} to {max(loads):.1f}, median {percentile(loads, 50):.1f}"
    to_reach_s = 10.0 if in_flight > IN_FLIGHT else 1.5 if kind is Kind.KILL else 5.0
    for subject, values in (
        ("all go on elsewhere", [one.all_s for one in strikes]),
        ("its VIMs watched by others", [one.unwatched_s for one in strikes if one.vims]),
        ("its deliveries made by others", [one.silent_s for one in strikes if one.subscriptions]),
    ):
        if values:
            way = ""
            if subject == "all go on elsewhere":
                way = f"; the worst: {_way(max(strikes, key=lambda one: one.all_s))}"
            yield Figure(
                what=f"{what}: {subject}, p99",
                value=percentile(values, 99),
                unit="s",
                to_reach=to_reach_s,
                note=f"p50 {percentile(values, 50):.2f} s, worst {max(values):.2f} s; "
                f"{len(values):,} strikes, {load}{way}",
            )
    operations, told = sum(one.operations for one in batches), sum(one.told for one in batches)
    lost, doubled = sum(one.lost for one in batches), sum(one.doubled for one in batches)
    yield Figure(
        what=f"{what}: operations lost or doubled",
        value=lost + doubled,
        unit="",
        to_reach=0,
        note=f"{lost} of {operations:,} did not complete, {doubled} stood twice, in {runs}",
    )
    wrong = sum(one.told_lost + one.told_doubled + one.gaps for one in batches)
    yield Figure(
        what=f"{what}: notifications lost, doubled or out of number",
        value=wrong,
        unit="",
        to_reach=0,
        note=f"of {told:,}; {sum(one.told_lost for one in batches)} ends not told, "
        f"{sum(one.told_doubled for one in batches)} under two numbers, "
        f"{sum(one.gaps for one in batches)} numbers missing; "
        f"{sum(one.repeated for one in batches)} sent again under their number",
    )
    yield Figure(
        what=f"{what}: requests that ended without an answer",
        value=sum(one.broken_off for one in strikes),
        unit="",
        note="asked again of another process, as behind a load balancer",
    )
    minutes = sum(one.took_s for one in strikes) / 60
    yield Figure(
        what=f"{what}: living processes declared gone",
        value=sum(one.wrongly_gone for one in strikes),
        unit="",
        to_reach=0,
        note=f"in {minutes:.0f} minutes of this, three processes",
    )


def _way(one: Strike) -> str:
    """What the time of a strike went to."""
    return (
        f"{one.gone_s:.2f} s until declared gone, {one.queued_s - one.gone_s:.2f} until back in the queue, "
        f"{one.all_s - one.queued_s:.2f} until taken up"
    )
