"""`python -m bench.openstack [NAME...] [--quick] [--without tacker] [--markdown FILE]`: measure at a site
of a laboratory that is up, and print one table.

Returns 0 when everything asked for was measured, whether or not it reached its bound: the table says that.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lab.openstack.__main__ import VARIABLE, default_directory
from openstack.exceptions import SDKException

from bench.__main__ import machine
from bench.figures import Figure, NotMeasured, as_markdown, as_text, row
from bench.openstack import counting, evacuation, heartbeats, overhead, times
from bench.openstack.peers.installation import TackerPeer
from bench.openstack.site import Site
from bench.openstack.stage import Stage
from bench.orchestrator import data_directory, service
from farsite.model.errors import FarsiteError

PARTS = {
    "alone": times.alone,
    "together": times.together,
    "memory": times.memory,
    "requests": counting.measure,
    "added": overhead.measure,
    "heartbeats": heartbeats.measure,
    "evacuation": evacuation.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.openstack",
        description="Farsite beside plain Heat and Tacker on one site.",
    )
    parser.add_argument("parts", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(PARTS)} (all)")
    parser.add_argument(
        "--quick", action="store_true", help="small counts: shows that it works, not how fast"
    )
    parser.add_argument("--without", action="append", default=[], choices=["tacker"], help="leave a peer out")
    parser.add_argument(
        "--lab",
        type=Path,
        default=default_directory(),
        help=f"the laboratory's directory (default: ${VARIABLE}, else the one of `make lab`)",
    )
    parser.add_argument("--site", default="site1", help="name of the site (site1)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    # Whoever ends it gets the laboratory back as it was.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    figures: list[Figure] = []
    is_whole = True
    for figure in _figures(given):
        figures.append(figure)
        is_whole &= figure.value is not None
        print("    " + "  ".join(row(figure)), file=sys.stderr, flush=True)
    print(f"\n{machine()}\n\n{as_text(figures)}")
    if given.markdown:
        given.markdown.write_text(f"{machine()}\n\n{as_markdown(figures)}")
    return 0 if is_whole else 1


def _figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Set the stage, then part after part. A part that cannot be measured is a figure without a value."""
    names = given.parts or list(PARTS)
    try:
        site = Site.of(given.lab, given.site)
        with ExitStack() as held:
            account = held.enter_context(site.project())
            directory = held.enter_context(data_directory())
            running = held.enter_context(service(directory))
            peer = None
            if "tacker" not in given.without and set(names) - {"heartbeats", "evacuation"}:
                print("Tacker ...", file=sys.stderr, flush=True)
                peer = held.enter_context(TackerPeer(site).running())
            stage = Stage(site=site, account=account, running=running, peer=peer)
            for name in names:
                yield from _part(name, stage, is_quick=given.quick)
    except (NotMeasured, FarsiteError, SDKException, OSError) as reason:
        yield _unmeasured("the site", reason)


def _part(name: str, stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    started = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        yield from PARTS[name](stage, is_quick=is_quick)
    except (NotMeasured, FarsiteError, SDKException, OSError) as reason:
        yield _unmeasured(name, reason)
    print(f"    {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _unmeasured(what: str, reason: Exception) -> Figure:
    return Figure(what=what, value=None, unit="", note=" ".join(str(reason).split()))


if __name__ == "__main__":
    sys.exit(main())
