"""`farsite adapter`: what manages the inside of functions. Works without the service, but for `--record`."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite import __version__
from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Output
from farsite.client import Client
from farsite.model.errors import Conflict, Invalid
from farsite.vnfs import adapters, shipped_evidence
from farsite.vnfs.adapter import Evidence
from farsite.vnfs.conformance import CHECKS, Checked, Subject, Verdict, verify
from farsite.vnfs.dictionary import FILE, Folder, read
from farsite.vnfs.folder_contents import contents, digest_of
from farsite.vnfs.new_adapter import begin
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transcripts import Transcript, is_transcript, read_transcript, replay
from farsite.vnfs.transcripts import record as record_transcript
from farsite.vnfs.trial import read_trial

app = App(name="adapter", help="Adapters: what manages the inside of functions.", help_epilogue="")

SHIPPED = Path(adapters.__file__).parent


@app.command(name="list")
def list_(*, output: Output = "table") -> None:
    """List the adapters that come with Farsite, and what the conformance kit has shown of each."""
    found = [read(path.parent).about for path in sorted(SHIPPED.glob(f"*/{FILE}"))]
    shown = {one.name: shipped_evidence.state_of(one.name, SHIPPED / one.name) for one in found}
    rows = [
        {
            "name": one.name,
            "vendor": one.vendor,
            "product": one.product,
            "versions": one.versions,
            "method": one.method,
            "services": sorted(one.services),
            "evidence": one.evidence.value,
            "shown": shown[one.name],
        }
        for one in found
    ]
    if output == "table":
        headings = ["name", "product", "versions", "services", "shown"]
        cells = [
            [one.name, one.product, one.versions, ", ".join(sorted(one.services)), shown[one.name]]
            for one in found
        ]
        printing.write("\n".join(printing.aligned(headings, cells)))
    else:
        printing.document(rows, output)


@app.command(name="show")
def show_(
    name: Annotated[str, Parameter(help="Of an adapter that comes with Farsite.")],
    /,
    *,
    output: Output = "table",
) -> None:
    """Show an adapter that comes with Farsite: what it is for, and what shows that it works."""
    folder = Adapters().get(name)
    about, record = folder.about, shipped_evidence.recorded().get(name)
    rows = {
        "name": about.name,
        "vendor": about.vendor,
        "product": about.product,
        "versions": about.versions,
        "method": about.method,
        "services": ", ".join(sorted(about.services)),
        "parameters": ", ".join(folder.dictionary.parameters),
        "shown": shipped_evidence.state_of(name, Path(folder.where)),
        "suite": f"{record.suite}, {record.at:%Y-%m-%d %H:%M} UTC: {record.detail}" if record else "",
        "of the digest": record.digest if record else "",
        "digest": digest_of(contents(Path(folder.where))),
        "description": about.description,
    }
    printing.facts(rows, list(rows.items()), output)


@app.command(name="new")
def new_(
    name: Annotated[str, Parameter(help="Of the adapter: small letters, digits and dashes.")],
    /,
    *,
    directory: Annotated[Path, Parameter(help="Where its folder goes.")] = Path(),
) -> None:
    """Begin an adapter: write a folder that passes the conformance kit as it stands, to be changed."""
    folder = begin(name, directory)
    printing.write(f"{folder} written. Next: docs/guide/write-an-adapter.md")


@app.command(name="verify")
def verify_(
    folder: Annotated[Path, Parameter(help="Directory of the adapter: adapter.yaml and its templates.")],
    trial: Annotated[
        Path,
        Parameter(help="YAML file that names a device and documents to try on it, or a transcript of that."),
    ],
    /,
    *,
    transcript: Annotated[
        Path | None, Parameter(help="Write there what was exchanged, to be replayed without the device.")
    ] = None,
    record: Annotated[
        bool, Parameter(help="Record what came of it in the service's catalogue, as evidence.")
    ] = False,
    output: Output = "table",
) -> int:
    """Try an adapter on a device by the conformance kit. The device is left with what it ran before.

    Where TRIAL is a transcript, what was recorded stands in the device's place: that shows whether the
    adapter still asks the same and reads the answers as before, and nothing of a device.

    The exit code is 1 when the adapter does not keep what every adapter must.
    """
    adapter = read(folder)
    # Of what is tried, though somebody may change the folder meanwhile.
    digest = digest_of(contents(folder))
    if is_transcript(trial):
        checked = _replayed(adapter, digest, trial, is_recorded=record, into=transcript)
    elif transcript is not None:
        checked = _transcribed(adapter, read_trial(trial, adapter), transcript, folder)
    else:
        checked = asyncio.run(_verified(read_trial(trial, adapter)))
    if output == "table":
        rows = [[one.verdict, f"{one.took_s:.1f} s", one.name, one.said] for one in checked]
        printing.write("\n".join(printing.aligned(["", "took", "check", "said"], rows)))
    else:
        printing.document([asdict(one) for one in checked], output)
    if record:
        _record(adapter, digest, checked)
    return Exit.REFUSED if any(one.verdict is Verdict.FAILED for one in checked) else Exit.DONE


def _replayed(
    adapter: Folder, digest: str, path: Path, *, is_recorded: bool, into: Path | None
) -> list[Checked]:
    if is_recorded:
        raise Invalid(
            f"{path} is a transcript, and a replay shows nothing of a device, so it is no evidence. Leave "
            f"--record out, or name a trial file with a device."
        )
    if into is not None:
        raise Invalid(f"{path} is a transcript already. Leave --transcript out, or name a trial file.")
    known = read_transcript(path, adapter)
    checked = asyncio.run(replay(known, adapter))
    folder = "this folder" if known.digest == digest else "another state of this folder"
    printing.note(
        f"Replayed what was recorded of {folder} on {known.at:%Y-%m-%d %H:%M} UTC (product version "
        f"{known.product or 'not told'}, Farsite {known.farsite}). Nothing was tried on a device."
    )
    return checked


def _transcribed(adapter: Folder, subject: Subject, path: Path, folder: Path) -> list[Checked]:
    # Before an hour on a device goes by for nothing.
    if path.exists() and not is_transcript(path):
        raise Conflict(f"{path} is there, and is no transcript. Choose another name.")
    if path.resolve().is_relative_to(folder.resolve()):
        raise Invalid(
            f"{path} would be within the adapter's folder {folder}, and all that is there is part of the "
            f"adapter: its digest, and with it its evidence, would be another. Name a file elsewhere."
        )
    if not path.parent.is_dir():
        raise Invalid(f"{path} cannot be written: there is no directory {path.parent}.")
    checked, known = asyncio.run(record_transcript(subject, adapter))
    try:
        path.write_text(known.text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}.") from error
    _tell_what_is_left_out(path, known)
    return checked


def _tell_what_is_left_out(path: Path, known: Transcript) -> None:
    left_out = [one for one in known.checks if one.left_out]
    printing.note(f"{path} written: {len(known.checks) - len(left_out)} of {len(known.checks)} checks.")
    for one in left_out:
        printing.note(f'Not in it: "{one.name}": {one.left_out}')
    printing.note("What the device answered is in it; read it before you hand it on.")


def _record(adapter: Folder, digest: str, checked: Sequence[Checked]) -> None:
    counts = Counter(one.verdict for one in checked)
    body = {
        "suite": f"farsite adapter verify, Farsite {__version__}",
        "level": "proved" if adapter.about.evidence is Evidence.REAL else "emulated",
        "result": "failed" if counts[Verdict.FAILED] else "passed",
        "digest": digest,
        "detail": ", ".join(f"{count} {verdict}" for verdict, count in counts.items()),
    }
    with Client() as client:
        entry = client.record_evidence(f"adapter:{adapter.dictionary.name}", body)
    is_of_it = entry["digest"] == digest
    printing.note(
        f"Recorded. Certification of {entry['id']}: {entry['certification']}."
        if is_of_it
        else f"Recorded, and does not count: the service has adapter {entry['name']} with other content."
    )


async def _verified(subject: Subject) -> list[Checked]:
    return [await verify(subject, check) for check in CHECKS]
