"""`make test-openstack`: the tests that need real OpenStack, on a laboratory made for them.

Installs what is missing, brings the laboratory up, runs the tests, and takes it down whatever happens. Tests
that only use the sites run side by side; after them, one by one, those that break services; then a second
region, with two zones, is added to the first site's Keystone, for the tests of regions. With FARSITE_LAB_DIR
the tests run against a laboratory that is up already, and nothing is started or stopped; those that break
services only with FARSITE_LAB_MAY_BREAK=1, those of regions only if it has a second one.
"""

import argparse
import datetime as dt
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.openstack.installation import install
from lab.openstack.layout import BUILD, LAYOUT_FILE, RELEASES, LaboratoryFault, Layout
from lab.openstack.raising import Laboratory, existing

CHECKOUT = Path(__file__).parent.parent
DIRECTORY = "FARSITE_LAB_DIR"
MAY_BREAK = "FARSITE_LAB_MAY_BREAK"
PYTEST = CHECKOUT / ".venv" / "bin" / "pytest"
GOAL_S = 720.0
# Ports of laboratories that people run beside: by hundreds above the documented ones.
OFFSETS = (0, *range(1000, 2700, 100))


@dataclass(slots=True)
class Report:
    """How long each part took, and what pytest counted."""

    release: str
    parts: list[tuple[str, float]] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("passed", "failed", "unsteady", "skipped"), 0)
    )
    is_well: bool = True

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        print(f"--- {self.release}: {what}", flush=True)
        try:
            yield
        finally:
            self.parts.append((what, time.monotonic() - began))

    @property
    def took_s(self) -> float:
        return sum(took_s for _, took_s in self.parts)

    def show(self) -> None:
        print(f"\nOpenStack {self.release}:")
        for what, took_s in self.parts:
            print(f"  {what:<28} {took_s:6.1f} s")
        print(f"  {'in all':<28} {self.took_s:6.1f} s")
        told = ", ".join(f"{number} {word}" for word, number in self.counts.items())
        print(f"  {told}; {'passed' if self.is_well else 'FAILED'}", flush=True)


def run_tests(report: Report, what: str, directory: Path, arguments: list[str], *, may_break: bool) -> None:
    """Run pytest, and add what it counted.

    Side by side, the real services of two sites want more than two cores for moments, and then limits of
    time are missed that hold otherwise. So what failed is repeated once, by itself: what passes then is
    counted and named as unsteady, to be looked into, and does not fail the run.
    """
    counted = BUILD / f"openstack-{report.release}-{re.sub(r'[^a-z]+', '-', what)}.xml"
    repeated = counted.with_suffix(".again.xml")
    cache = counted.with_suffix(".cache")
    shutil.rmtree(cache, ignore_errors=True)
    environment = os.environ | {DIRECTORY: str(directory)} | ({MAY_BREAK: "1"} if may_break else {})

    def run(results: Path, *more: str) -> int:
        results.unlink(missing_ok=True)
        command = [
            *(
                str(PYTEST),
                "-q",
                "--strict-skips",
                "--durations=15",
                "--durations-min=5",
                "-o",
                f"cache_dir={cache}",
            ),
            *(f"--junitxml={results}", *more),
        ]
        return subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, check=False
        ).returncode

    with report.part(what):
        status = run(counted, *arguments)
    first = _counts(counted)
    # 5: nothing of that kind was found; the list of tests is the tests' affair.
    if status == 1 and first.get("failed"):
        with report.part(f"{what}, again"):
            status = run(
                repeated, "-p", "no:xdist", "--last-failed", "--last-failed-no-failures=none",
                *_without_workers(arguments),
            )  # fmt: skip
        still = _counts(repeated).get("failed", first["failed"])
        first["unsteady"], first["failed"] = first["failed"] - still, still
        if first["unsteady"]:
            print(f"--- unsteady: {first['unsteady']} failed and passed when repeated by itself", flush=True)
    if status not in (0, 5):
        report.is_well = False
    for word, number in first.items():
        report.counts[word] += number


def _without_workers(arguments: list[str]) -> list[str]:
    """The arguments less those of xdist, which come first."""
    return arguments[2:] if arguments[:1] == ["-n"] or arguments[:2] == ["-p", "no:xdist"] else arguments


def _counts(results: Path) -> dict[str, int]:
    """What pytest wrote down: how many passed, failed, were skipped."""
    if not results.exists():
        return {}
    suite = next(ElementTree.parse(results).iter("testsuite"))
    numbers = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = numbers["failures"] + numbers["errors"]
    passed = numbers["tests"] - failed - numbers["skipped"]
    return {"passed": passed, "failed": failed, "unsteady": 0, "skipped": numbers["skipped"]}


def run_phases(report: Report, directory: Path, given: argparse.Namespace, *, may_break: bool) -> None:
    """First what can run side by side, then what breaks services."""
    kinds = {"tests, side by side": "not alone and not regions"}
    if may_break:
        kinds["tests that break services"] = "alone and not regions"
    for what, kind in kinds.items():
        run_kind(report, what, directory, kind, given, may_break=may_break)


def run_kind(
    report: Report,
    what: str,
    directory: Path,
    kind: str,
    given: argparse.Namespace,
    *,
    may_break: bool = False,
) -> None:
    """Run the tests with these marks, side by side where they break nothing."""
    is_alone = not kind.startswith("not alone")
    run_tests(
        report,
        what,
        directory,
        [
            *(["-p", "no:xdist"] if is_alone else ["-n", str(given.workers)]),
            *("-m", f"openstack and {kind}" + ("" if given.full else " and not slow")),
            *(given.tests or ["tests/openstack", "tests/conformance"]),
        ],
        may_break=may_break and is_alone,
    )


def free_offset(layout_of: type[Layout], directory: Path) -> int:
    """The first offset of ports at which nobody listens.

    Raises:
        LaboratoryFault: there are laboratories everywhere.
    """
    for offset in OFFSETS:
        layout = layout_of(directory=directory, port_offset=offset)
        ports = {layout.database_port, layout.bus_port, layout.epmd_port, layout.erlang_port}
        ports |= {site.port(service) for site in layout.sites for service in layout.projects}
        if not any(_is_taken(port) for port in ports):
            return offset
    raise LaboratoryFault("every range of ports is taken by another laboratory")


def _is_taken(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def try_release(release: str, given: argparse.Namespace) -> Report:
    """Install, bring up, test and take down one release."""
    report = Report(release)
    directory = BUILD / f"test-lab-{release}"
    if (directory / LAYOUT_FILE).exists():
        existing(directory).wipe()
    layout = Layout(
        directory=directory,
        release=release,
        isolated=not given.together,
        port_offset=free_offset(Layout, directory),
    )
    laboratory = Laboratory(layout, tell)
    try:
        with report.part("installation"):
            install(layout, directory / "log" / "install.log")
        with report.part("up"):
            laboratory.up()
        run_phases(report, directory, given, may_break=True)
        if not given.one_region:
            with report.part("a second region"):
                for site in layout.sites:
                    (layout.state(site) / "zones.done").touch()
                Laboratory(replace(layout, regions=1, zones=2), tell).up()
            run_kind(report, "tests of regions", directory, "regions", given)
    except LaboratoryFault as fault:
        print(f"laboratory: {fault}", flush=True)
        report.is_well = False
    finally:
        # A second signal must not leave five gigabytes of processes behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with report.part("down"):
            # The data and the logs stay until the next run, for whoever looks for a cause.
            if (directory / LAYOUT_FILE).exists():
                existing(directory, tell).down()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return report


def tell(text: str) -> None:
    print(text, flush=True)


def versions(release: str) -> str:
    """What the tests ran against, in a line."""
    layout = Layout(directory=BUILD, release=release)
    wanted = ("keystone", "nova", "neutron", "heat", "glance", "placement", "cinder")
    if layout.is_packaged:
        names = [f"python3-{name}" for name in wanted]
        shown = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *names],
            capture_output=True,
            text=True,
            check=True,
        )
        return ", ".join(line.removeprefix("python3-") for line in shown.stdout.splitlines())
    pins = {
        name: version
        for name, _, version in (line.partition("==") for line in layout.pins.read_text().split())
    }
    return ", ".join(
        f"{name} {next(version for pin, version in pins.items() if pin in (name, f'openstack-{name}'))}"
        for name in wanted
    )


HEAD = """# Tests against real OpenStack

`make test-openstack-full`: every test of `tests/openstack`, the slow ones too (50 SIGKILLs over all verbs,
the packages of others with every verb), and the conformance suite of drivers, against the current release
and against Debian 12's. A release that was run by itself
(`.venv/bin/python -m tools.test_openstack --full --release R --report PAGE`) replaces its own row only. What
the sites are and what they cannot do: [laboratory.md](../laboratory.md). Skipped is what
`tests/skips.txt` names with its reason; unsteady what failed beside others and passed when it was repeated
by itself, which the run names.

| release | date | cores | passed | failed | unsteady | skipped | installation | up | tests | down |
|---|---|---|---|---|---|---|---|---|---|---|
"""
ROW = re.compile(r"^\| (?P<release>\S+) \| .*\|$|^- (?P<named>\S+): .*$")


def write_report(path: Path, reports: list[Report]) -> None:
    """Write the page that is checked in; what it says of releases that were not run stays, and so does what
    people wrote under headings of their own.
    """
    rows: dict[str, str] = {}
    notes: dict[str, str] = {}
    known, heading, written = (path.read_text() if path.exists() else "").partition("\n## ")
    for line in known.splitlines():
        if (said := ROW.match(line)) and (release := said["release"] or said["named"]) in RELEASES:
            (rows if said["release"] else notes)[release] = line
    for report in reports:
        rows[report.release] = _row(report)
        notes[report.release] = f"- {report.release}: {versions(report.release)}"
    shown = [release for release in RELEASES if release in rows]
    table = "\n".join(rows[release] for release in shown)
    listed = "\n".join(notes[release] for release in shown)
    path.write_text(f"{HEAD}{table}\n\n{listed}\n{heading}{written}")


def _row(report: Report) -> str:
    took = dict(report.parts)
    tests_s = sum(took_s for what, took_s in report.parts if what.startswith("tests"))
    times = [took.get("installation", 0), took.get("up", 0), tests_s, took.get("down", 0)]
    date = dt.datetime.now(dt.UTC).strftime("%d %B %Y")
    figures = [str(number) for number in report.counts.values()] + [f"{one:.0f} s" for one in times]
    return f"| {report.release} | {date} | {os.cpu_count()} | {' | '.join(figures)} |"


def stop(number: int, _frame: object) -> None:
    """End as after Ctrl-C, so that the laboratory is taken down."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.test_openstack", description="Test against real OpenStack sites."
    )
    parser.add_argument("tests", nargs="*", help="what to run (tests/openstack, tests/conformance)")
    parser.add_argument("--full", action="store_true", help="slow tests too, on both releases")
    parser.add_argument("--release", choices=RELEASES, action="append", help="of OpenStack; may be repeated")
    parser.add_argument("--workers", type=int, default=2, help="tests side by side (2)")
    parser.add_argument("--one-region", action="store_true", help="no second region, and no tests of it")
    parser.add_argument("--together", action="store_true", help="no network namespace per site")
    parser.add_argument("--report", type=Path, help="write a page about the run there")
    return parser.parse_args()


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    given = arguments()
    BUILD.mkdir(exist_ok=True)
    if named := os.environ.get(DIRECTORY):
        report = Report("as it is")
        run_phases(report, Path(named), given, may_break=bool(os.environ.get(MAY_BREAK)))
        if (Path(named) / LAYOUT_FILE).exists() and Layout.load(Path(named)).regions:
            run_kind(report, "tests of regions", Path(named), "regions", given)
        report.show()
        return 0 if report.is_well else 1
    releases = given.release or (RELEASES if given.full else RELEASES[:1])
    reports: list[Report] = []
    for release in releases:
        reports.append(try_release(release, given))
        reports[-1].show()
        # At once: whoever stops the next release after an hour keeps what this one took.
        if given.report:
            write_report(given.report, reports)
    if not given.full and reports[0].took_s > GOAL_S:
        print(f"longer than the {GOAL_S / 60:.0f} minutes that it may take", flush=True)
    return 0 if all(report.is_well for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
