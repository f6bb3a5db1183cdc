"""`python -m bench [NAME...] [--quick] [--markdown FILE]`: measure, and print one table.

Returns 0 when everything asked for was measured, whether or not it reached its bound: the table says that.
"""

import argparse
import datetime as dt
import functools
import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench import (
    alarm_history,
    demonstration,
    devices,
    fault_management,
    fault_schedules,
    footprint,
    heartbeats,
    injected,
    instantiation,
    intake,
    jitter,
    linux_sites,
    lists,
    peers,
    takeover,
    told,
)
from bench.devices import fleet, overhead, reversal, rules
from bench.figures import Figure, NotMeasured, as_markdown, as_text, row
from farsite.model.errors import FarsiteError

PARTS = {
    "instantiation": instantiation.measure,
    "demo": demonstration.measure,
    "linux": linux_sites.measure,
    "footprint": footprint.measure,
    "lists": lists.measure,
    "takeover": takeover.measure,
    "peers": peers.measure,
    "told": told.measure,
    "injected": injected.measure,
    "heartbeats": heartbeats.measure,
    "jitter": jitter.measure,
    "intake": intake.measure,
    "alarm-history": alarm_history.measure,
    "histories": fault_schedules.measure,
    "device-rules": rules.measure,
    "device-fleet": fleet.measure,
    "device-reversal": reversal.measure,
    "device-broker": overhead.measure,
}
GROUPS = {fault_management.NAME: fault_management.PARTS, devices.NAME: devices.PARTS}
"""Parts that are measured together, by the name of the group; of them, those named beside it alone."""
MEASURED = "<!-- What stands below was measured and written by `python -m bench`. -->"
"""In a file of --markdown: what stands above this line is kept."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the design promises.")
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="NAME",
        help=f"what to measure: {', '.join(PARTS)} (all); {fault_management.NAME}: those of fault "
        f"management, or of them the ones named beside it, in a table with floors and goals; {devices.NAME}: "
        "those of devices, or of them the ones named beside it",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small counts: shows that it works, not how fast"
    )
    parser.add_argument(
        "--kills", type=int, metavar="N", help="how often takeover kills a process (10; 1,000 take an hour)"
    )
    parser.add_argument(
        "--vims",
        type=int,
        metavar="N",
        help="how many VIMs heartbeats watches (1,000 and 5,000), and jitter (200)",
    )
    parser.add_argument(
        "--devices", type=int, metavar="N", help="how many devices device-fleet configures at once (500)"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="how long jitter lasts (60), and peers (3)"
    )
    parser.add_argument(
        "--in-flight",
        type=int,
        metavar="N",
        default=takeover.IN_FLIGHT,
        help="operations at each strike (50)",
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="how many schedules of faults histories runs (3)"
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="also write the table there; figures are kept beside it (.json), so that parts which were "
        "measured at another time stay in it",
    )
    for kind in ("freezes", "cuts"):
        parser.add_argument(f"--{kind}", type=int, metavar="N", help=f"the same for {kind}")
    parser.add_argument(
        "--continue",
        dest="results",
        type=Path,
        metavar="FILE",
        help="takeover keeps its results there, and goes on from those that are there",
    )
    given = parser.parse_args()
    # Ended so, what was started for a part is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wanted = takeover.Wanted(
        kills=given.kills,
        freezes=given.freezes,
        cuts=given.cuts,
        in_flight=given.in_flight,
        results=given.results,
    )
    unknown = set(given.parts) - set(PARTS) - set(GROUPS)
    if unknown:
        known = ", ".join((*PARTS, *GROUPS))
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {known}")
    is_of_faults = fault_management.NAME in given.parts
    names = wanted_parts(given.parts)
    counts = (given.vims,) if given.vims else ()
    parts = PARTS | {
        "takeover": functools.partial(takeover.measure, wanted=wanted),
        "heartbeats": functools.partial(heartbeats.measure, counts=counts),
        "jitter": functools.partial(jitter.measure, minutes=given.minutes, count=given.vims),
        "device-fleet": functools.partial(fleet.measure, count=given.devices),
        "peers": functools.partial(peers.measure, minutes=given.minutes),
        "histories": functools.partial(fault_schedules.measure, seeds=given.seeds),
    }
    # Parts take hours together, and one on its own is measured anew after a change.
    table = Measured(given.markdown) if given.markdown else None
    measured: dict[str, list[Figure]] = {}
    is_whole = True
    for name in names:
        figures = measured[name] = []
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for figure in parts[name](is_quick=given.quick):
                figures.append(figure := _with_load(figure))
                print("    " + "  ".join(row(figure)[:4]), file=sys.stderr, flush=True)
        except (NotMeasured, FarsiteError, OSError, EOFError) as reason:
            is_whole = False
            figures.append(Figure(what=name, value=None, unit="", note=" ".join(str(reason).split())))
            print(f"    {reason}", file=sys.stderr, flush=True)
        print(f"    {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if table is not None:
            table.keep(name, figures)
            write(table.page, _page(table, is_of_faults=is_of_faults))
    figures = [one for found in measured.values() for one in found]
    print(f"\n{machine()}\n\n{as_text(figures)}")
    missed = sum(figure.is_missed for figure in figures)
    bound = sum(figure.to_reach is not None and figure.value is not None for figure in figures)
    print(f"\n{bound - missed} of {bound} figures with a bound reach it.")
    if is_of_faults:
        print(f"\n{fault_management.as_table(measured)}")
    return 0 if is_whole else 1


def wanted_parts(named: Sequence[str]) -> list[str]:
    """The parts to measure, by names of parts and of groups: all where there are none."""
    parts = [one for one in named if one not in GROUPS]
    for group in (one for one in named if one in GROUPS):
        if not set(parts) & set(GROUPS[group]):
            parts += GROUPS[group]
    return parts or list(PARTS)


def write(file: Path, page: str) -> None:
    """What was measured, below what people wrote above it."""
    before, is_there, _ = (file.read_text() if file.exists() else "").partition(MEASURED)
    file.write_text(f"{before}{MEASURED}\n\n{page}" if is_there else page)


def _with_load(figure: Figure) -> Figure:
    """The figure with what else the machine did, where it does not say so itself."""
    if re.search(r"\bload \d", figure.note):
        return figure
    load = f"load {os.getloadavg()[0]:.1f}"
    return replace(figure, note=f"{figure.note}; {load}" if figure.note else load)


class Measured:
    """What a page shows: the figures of every part as it was measured last, kept beside the page as JSON."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self._file = page.with_suffix(".json")
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.where: dict[str, str] = {part: found["where"] for part, found in known.items()}
        self.figures: dict[str, list[Figure]] = {
            part: [Figure(**one) for one in found["figures"]] for part, found in known.items()
        }

    def keep(self, part: str, figures: Sequence[Figure]) -> None:
        """A part was measured, or some of its figures, which stand for what was known of the same."""
        fresh = {one.what for one in figures}
        before = [
            one for one in self.figures.get(part, ()) if one.what not in fresh and one.value is not None
        ]
        self.where[part], self.figures[part] = machine(), [*before, *figures]
        kept = {
            name: {"where": self.where[name], "figures": [asdict(one) for one in self.figures[name]]}
            for name in PARTS
            if name in self.figures
        }
        self._file.write_text(json.dumps(kept, indent=1) + "\n")


def _page(table: Measured, *, is_of_faults: bool) -> str:
    """What was measured so far as Markdown."""
    parts = [name for name in PARTS if name in table.figures]
    when = "".join(f"| `{part}` | {table.where[part]} |\n" for part in parts)
    figures = as_markdown([one for part in parts for one in table.figures[part]])
    promised = ""
    if is_of_faults:
        promised = f"{fault_management.as_table(table.figures)}\nAll figures of these parts:\n\n"
    return f"| part | when and on what |\n|---|---|\n{when}\n{promised}{figures}"


def machine() -> str:
    """Date and shape of the machine: figures mean nothing without them."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} CPUs ({_cpu_name()}), "
        f"{memory_gib:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the end"
    )


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
