"""`make evidence`: tries the adapters that come with Farsite by the conformance kit, and records the result.

Each is tried on the bench of the tests: the real product, or the emulator that was built from its documents.
What is recorded (src/farsite/vnfs/evidence.json) is of the folder's digest, so it is to be run after an
adapter's folder has changed; lists call its record stale until then. NAMES choose adapters, and `--stale`
those whose record is none of what is there.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT / "tests" / "vnfs"), str(CHECKOUT / "tests"), str(CHECKOUT)]

from bench_emulated import EMULATED  # noqa: E402  # pyright: ignore
from benches import BENCHES  # noqa: E402  # pyright: ignore

from farsite import __version__  # noqa: E402
from farsite.model.catalogue import Certification, EntryKind, Evidence, SuiteResult  # noqa: E402
from farsite.vnfs.conformance import CHECKS, Subject, Verdict, verify  # noqa: E402
from farsite.vnfs.dictionary import read  # noqa: E402
from farsite.vnfs.folder_contents import contents, digest_of  # noqa: E402
from farsite.vnfs.registry import SHIPPED  # noqa: E402
from farsite.vnfs.shipped_evidence import FILE, STATED_BY, from_json, state_of, to_json  # noqa: E402

RECORD = CHECKOUT / "src" / "farsite" / "vnfs" / FILE
Start = Callable[[Path], AbstractAsyncContextManager[Subject]]


def started_by(name: str) -> tuple[Start, str]:
    """What starts an adapter's bench, and what keeps it from being started here."""
    if name in EMULATED:
        return EMULATED[name], ""
    bench = BENCHES[name]
    lacking = [one for one in bench.programs if shutil.which(one) is None]
    if lacking:
        return bench.start, f"{lacking[0]} is not there"
    return bench.start, "root is needed" if bench.is_for_root and os.geteuid() != 0 else ""


async def tried(name: str, start: Start) -> Evidence:
    """What the whole kit finds of an adapter as it is now."""
    folder, directory = read(SHIPPED / name), SHIPPED / name
    # Of what is tried, though somebody may change the folder meanwhile.
    digest = digest_of(contents(directory))
    counts: Counter[Verdict] = Counter()
    with tempfile.TemporaryDirectory(prefix=f"evidence-{name}-") as place:
        async with start(Path(place)) as subject:
            for check in CHECKS:
                checked = await verify(subject, check)
                counts[checked.verdict] += 1
                print(
                    f"{name}: {checked.verdict} {checked.took_s:6.1f} s  {checked.name}  {checked.said}",
                    flush=True,
                )
            adapter = await subject.open()
            try:
                running = (await adapter.fetch()).version
            finally:
                await adapter.close()
    is_emulated = name in EMULATED
    on = (
        f"an emulator of {folder.about.product}"
        if is_emulated
        else f"{folder.about.product} {running}".strip()
    )
    return Evidence(
        kind=EntryKind.ADAPTER,
        vendor=folder.dictionary.vendor,
        name=name,
        version=folder.dictionary.release,
        digest=digest,
        suite=f"conformance kit of Farsite {__version__}",
        level=Certification.EMULATED if is_emulated else Certification.PROVED,
        result=SuiteResult.FAILED if counts[Verdict.FAILED] else SuiteResult.PASSED,
        at=datetime.now(UTC).replace(microsecond=0),
        stated_by=STATED_BY,
        detail=f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}, on {on}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="adapters to be tried; all without any")
    parser.add_argument(
        "--stale", action="store_true", help="those alone whose record is none of what is there"
    )
    asked = parser.parse_args()
    names = asked.names or sorted({**BENCHES, **EMULATED})
    has_failed = False
    for name in names:
        state = state_of(name, SHIPPED / name)
        if asked.stale and not state.startswith(("stale", "untried", "failed")):
            continue
        start, lacking = started_by(name)
        if lacking:
            print(f"{name}: its record is left as it is ({state}): {lacking}")
            continue
        found = asyncio.run(tried(name, start))
        has_failed |= found.result is SuiteResult.FAILED
        # After each, so that an end in the middle loses nothing; read anew, for others may run beside this.
        kept = [one for one in from_json(RECORD.read_text()) if one.name != name]
        RECORD.write_text(to_json([*kept, found]))
        print(f"{name}: {found.result}, {found.detail}")
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
