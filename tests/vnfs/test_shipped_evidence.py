"""What is said to be shown of the adapters that come with Farsite, was shown of what comes with it."""

import json
import shutil
from pathlib import Path

import pytest
from bench_parts import SHIPPED

from farsite.catalogue import entries
from farsite.cli.app import main
from farsite.model.catalogue import Certification, SuiteResult
from farsite.settings import Settings
from farsite.vnfs import shipped_evidence
from farsite.vnfs.dictionary import FILE
from farsite.vnfs.registry import Adapters

NAMES = sorted(path.parent.name for path in SHIPPED.glob(f"*/{FILE}"))
EMULATED = {"f5", "fortios", "panos", "vyos"}


def test_every_shipped_adapter_was_tried_and_passed() -> None:
    """`make evidence WORDS=NAME` tries one; what it was changed to since then is said in the lists."""
    records = shipped_evidence.recorded()

    assert sorted(records) == NAMES
    assert [one.name for one in records.values() if one.result is SuiteResult.FAILED] == []
    assert {name for name, one in records.items() if one.level is Certification.EMULATED} == EMULATED


def test_a_record_says_nothing_of_an_adapter_that_was_changed_since(tmp_path: Path) -> None:
    """One line is enough to break what was proved."""
    name = next(one for one in NAMES if not _state(one, SHIPPED / one).startswith("stale"))
    copy = tmp_path / name
    shutil.copytree(SHIPPED / name, copy)
    assert _state(name, copy) == _state(name, SHIPPED / name)
    dictionary = copy / FILE
    dictionary.write_text(dictionary.read_text() + "# a word more\n")

    assert _state(name, copy).startswith("stale (")


def test_the_catalogue_certifies_what_comes_with_farsite_by_its_digest(tmp_path: Path) -> None:
    """A claim is listed as a claim; this is evidence like any other."""
    settings = Settings(data_dir=tmp_path)
    told = list(shipped_evidence.recorded().values())
    known = {one.name: entries.judged(one, told) for one in entries.adapter_entries(Adapters(), settings)}

    for name in NAMES:
        state, entry = _state(name, SHIPPED / name), known[name]
        if state.startswith("stale"):
            assert entry.certification is Certification.NONE
            assert entry.stale
        else:
            assert state.startswith(entry.certification)


def test_the_command_line_shows_what_was_shown_and_of_what(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is about to let an adapter at a device that carries traffic looks there."""
    assert main(["adapter", "list"]) == 0
    listed = capsys.readouterr().out
    assert main(["adapter", "show", "dnsmasq", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    for name in NAMES:
        line = next(one for one in listed.splitlines() if one.startswith(f"{name} "))
        assert line.endswith(_state(name, SHIPPED / name))
    record = shipped_evidence.recorded()["dnsmasq"]
    assert shown["of the digest"] == record.digest
    assert record.detail in shown["suite"]


def test_what_is_written_is_what_is_read() -> None:
    """The file is edited by a program only, and read by another."""
    records = list(shipped_evidence.recorded().values())

    assert shipped_evidence.from_json(shipped_evidence.to_json(records)) == records


def _state(name: str, directory: Path) -> str:
    return shipped_evidence.state_of(name, directory)
