"""What the conformance kit showed of the adapters that come with Farsite: `evidence.json` beside this module,
which `make evidence` writes and people check in.

A record is of one digest, that of the adapter's folder as it was tried. When a line of the folder has changed
since, it shows nothing of what is there now and is called stale until the kit was run again. Nothing fails
for that, since whoever corrects a description has not always the product at hand.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path

from farsite.model.catalogue import Certification, EntryKind, Evidence, SuiteResult
from farsite.vnfs.folder_contents import contents, digest_of

FILE = "evidence.json"
STATED_BY = "the tests of Farsite"


@cache
def recorded() -> Mapping[str, Evidence]:
    """The record of each adapter that has one, by its name."""
    text = resources.files("farsite.vnfs").joinpath(FILE).read_text(encoding="utf-8")
    return {one.name: one for one in from_json(text)}


def state_of(name: str, directory: Path) -> str:
    """In the words of lists, what is shown of an adapter whose folder lies there."""
    record = recorded().get(name)
    if record is None:
        return "untried"
    shown = "failed" if record.result is SuiteResult.FAILED else record.level
    if record.digest != digest_of(contents(directory)):
        return f"stale ({shown} {record.at:%Y-%m-%d}, changed since)"
    return f"{shown} {record.at:%Y-%m-%d}"


def to_json(records: Sequence[Evidence]) -> str:
    """The text of the file."""
    rows = [
        {
            "name": one.name,
            "vendor": one.vendor,
            "version": one.version,
            "digest": one.digest,
            "suite": one.suite,
            "level": one.level,
            "result": one.result,
            "at": one.at.isoformat(),
            "detail": one.detail,
        }
        for one in sorted(records, key=lambda one: one.name)
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[Evidence]:
    """The records of the file."""
    return [
        Evidence(
            kind=EntryKind.ADAPTER,
            name=one["name"],
            vendor=one["vendor"],
            version=one["version"],
            digest=one["digest"],
            suite=one["suite"],
            level=Certification(one["level"]),
            result=SuiteResult(one["result"]),
            at=datetime.fromisoformat(one["at"]),
            stated_by=STATED_BY,
            detail=one["detail"],
        )
        for one in json.loads(text)
    ]
