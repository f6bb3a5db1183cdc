"""What passed between an adapter and its device is written down, and replayed without the device."""

import asyncio
import base64
import hashlib
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from bench_emulated import EMULATED, SECRET
from bench_parts import SHIPPED, document
from benches import BENCHES
from planted_product import Page, folder, page
from test_new_adapter import subject as new_subject

from farsite.cli.app import main
from farsite.model.errors import Invalid, NotSupported
from farsite.vnfs import conformance as kit
from farsite.vnfs.between import InterposedShell
from farsite.vnfs.conformance import Checked, Opened, Subject, Verdict
from farsite.vnfs.dictionary import read
from farsite.vnfs.new_adapter import begin
from farsite.vnfs.shell import Ran
from farsite.vnfs.transcripts import LEFT_OUT, Recorder, Transcript, read_transcript, record, replay
from ssh_device import SSHD, Device

RECORDED = [one for one in kit.CHECKS if one not in LEFT_OUT]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A new adapter, as it was tried on this machine, and the file that came of it."""

    folder: Path
    file: Path
    device: Path
    checked: Sequence[Checked]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    place = tmp_path_factory.mktemp("recording")
    made, device = begin("mine", place), place / "device"
    device.mkdir()
    checked, known = asyncio.run(record(new_subject(made, device), read(made)))
    (place / "mine.json").write_text(known.text)
    shutil.rmtree(device)
    return Recording(folder=made, file=place / "mine.json", device=device, checked=checked)


@pytest.fixture
def adapter(recording: Recording, tmp_path: Path) -> Path:
    """The same adapter, to be changed."""
    return Path(shutil.copytree(recording.folder, tmp_path / "mine"))


def verdicts(checked: Sequence[Checked]) -> dict[str, Verdict]:
    return {one.name: one.verdict for one in checked}


async def replayed(transcript: Transcript, of: Path) -> list[Checked]:
    """What a replay finds, of what is written in a file."""
    file = of.parent / f"{of.name}.json"
    file.write_text(transcript.text)
    known = read(of)
    return await replay(read_transcript(file, known), known)


def failed(checked: Sequence[Checked]) -> list[Checked]:
    return [one for one in checked if one.verdict is Verdict.FAILED]


async def test_what_was_recorded_is_replayed_without_the_device(recording: Recording) -> None:
    """A build server has no firewall of that vendor, and should still see what a changed line breaks."""
    assert set(verdicts(recording.checked).values()) == {Verdict.PASSED}

    known = read(recording.folder)
    checked = await replay(read_transcript(recording.file, known), known)

    left_out = {kit.name_of(one) for one in LEFT_OUT}
    assert {one.name for one in checked if one.verdict is Verdict.LEFT_OUT} == left_out
    assert verdicts(checked) == {
        one.name: Verdict.LEFT_OUT if one.name in left_out else Verdict.PASSED for one in recording.checked
    }
    assert not recording.device.exists()


async def test_a_replay_takes_no_time_of_the_device(recording: Recording) -> None:
    """Of a device that needs a minute for a commit it would take an hour, again and again."""
    known = read(recording.folder)
    checked = await replay(read_transcript(recording.file, known), known)

    stays, was = (
        next(one.took_s for one in told if one.name == "a confirmed change stays")
        for told in (checked, recording.checked)
    )
    assert was > 2
    assert stays < was / 4


async def test_a_line_of_a_template_that_is_changed_is_found(recording: Recording, adapter: Path) -> None:
    """It asks for something else of the device, and nobody knows what that would answer."""
    template = adapter / "main.conf.j2"
    template.write_text(template.read_text().replace("plain }} ", "plain }}\t"))

    known = read(adapter)
    wrong = failed(await replay(read_transcript(recording.file, known), known))

    assert "what was applied is what runs" in {one.name for one in wrong}
    assert all("differs from what was recorded" in one.said for one in wrong)
    assert "SHA-256" in wrong[0].said


async def test_a_command_that_is_changed_is_named_from_where_it_differs(
    recording: Recording, adapter: Path
) -> None:
    """Whoever reads it finds the line without comparing scripts of a hundred lines."""
    dictionary = adapter / "adapter.yaml"
    dictionary.write_text(dictionary.read_text().replace("version: echo 1", "version: echo 2"))

    known = read(adapter)
    wrong = failed(await replay(read_transcript(recording.file, known), known))

    assert len(wrong) == len(RECORDED)
    assert "Expected: the command echo 1. Found: echo 2" in wrong[0].said


async def test_answers_that_are_read_in_another_way_are_found(recording: Recording, adapter: Path) -> None:
    """The device says the same as before, and the adapter understands something else."""
    dictionary = adapter / "adapter.yaml"
    dictionary.write_text(dictionary.read_text().replace("code: VNF_INVALID", "code: VNF_BUSY"))

    known = read(adapter)
    wrong = failed(await replay(read_transcript(recording.file, known), known))

    assert [one.name for one in wrong] == ["what is wrong is refused in the devices words"]
    assert "VNF_BUSY" in wrong[0].said


async def test_an_adapter_that_asks_less_or_more_than_before_is_found(recording: Recording) -> None:
    """A request that is missing may be the one that kept what was there before."""
    known = read(recording.folder)
    whole = read_transcript(recording.file, known)
    first = whole.checks[0]

    for events, words in (
        (first.events[:-1], "nothing more"),
        ((*first.events, first.events[-1]), "ended here"),
    ):
        changed = whole.model_copy(update={"checks": (first.model_copy(update={"events": events}),)})
        wrong = failed(await replay(changed, known))
        assert [one.name for one in wrong] == [first.name]
        assert words in wrong[0].said


def test_the_command_line_replays_and_says_what_that_shows(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is what a build looks at, and its words are for whoever takes it for more than it is."""
    assert main(["adapter", "verify", str(recording.folder), str(recording.file)]) == 0
    told = capsys.readouterr()

    assert "a plan tells the truth" in told.out
    assert "Nothing was tried on a device" in told.err


def test_a_replay_is_no_evidence(recording: Recording, capsys: pytest.CaptureFixture[str]) -> None:
    """The catalogue says of an adapter what a device has shown."""
    assert main(["adapter", "verify", str(recording.folder), str(recording.file), "--record"]) != 0
    assert "shows nothing of a device" in capsys.readouterr().err


def test_a_file_that_is_no_transcript_is_not_written_over(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial file lies right beside it, with documents that took an afternoon."""
    trial = recording.folder / "trial.yaml"
    before = trial.read_text()
    # What keeps it from being read is no matter here.
    trial.write_text(before.replace("private_key_file: id_ed25519", "private_key_file: ''"))
    try:
        words = ["adapter", "verify", str(recording.folder), str(trial), "--transcript", str(trial)]
        assert main(words) != 0
        assert "is no transcript" in capsys.readouterr().err
        # What lies in the folder is part of the adapter, and would make its evidence stale.
        within = str(recording.folder / "mine.json")
        assert main([*words[:-1], within]) != 0
        assert "would be within the adapter's folder" in capsys.readouterr().err
        assert not Path(within).exists()
    finally:
        trial.write_text(before)


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut, "is not whole"),
        (lambda text: text.replace("farsite-transcript/1", "farsite-transcript/2"), "farsite-transcript/2"),
        (lambda text: text.replace('"adapter": "mine"', '"adapter": "yours"'), "of the adapter yours"),
        (lambda text: text.replace("a plan tells the truth", "a plan is short"), "a plan is short"),
        (lambda text: text.replace('"meddles": true,', "", 1), "meddles"),
    ],
    ids=["cut", "of another format", "of another adapter", "with an unknown check", "without a word"],
)
def test_a_file_that_cannot_be_replayed_says_why(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil, words: str
) -> None:
    """A transcript is kept for years, and edited by hand."""
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(spoil(recording.file.read_text()))

    assert main(["adapter", "verify", str(recording.folder), str(spoilt)]) != 0
    assert words in capsys.readouterr().err


# What is secret.

VALUE, TOKEN = 'correct "horse" & battery', "token-of-the-device"


def with_secrets(directory: Path, device: Page, fault: str = "none") -> Subject:
    """A page whose documents have a password, reached by a token."""
    known = page(directory, device=device, fault=fault)
    users = [{"name": "alice", "password": "secret:alice"}]

    def with_users(one: kit.Configuration, **more: object) -> kit.Configuration:
        return replace(one, users=document(users=[{**users[0], **more}]).users)

    return replace(
        known,
        good=with_users(known.good),
        other=with_users(known.other, ssh_keys=["ssh-ed25519 AAAA"]),
        secrets={"alice": VALUE},
        opened=Opened(device="page-1", user="farsite", password=TOKEN, parameters={"fault": fault}),
    )


async def test_values_of_secrets_are_not_in_the_file_in_any_form(tmp_path: Path) -> None:
    """It is checked in, and handed on."""
    device = Page()

    checked, known = await record(with_secrets(tmp_path / "page", device), folder(tmp_path / "page"))

    assert Verdict.FAILED not in verdicts(checked).values()
    assert json.loads(device.state["texts"]["users"])[0]["password"].startswith(VALUE)
    for one in (VALUE, json.dumps(VALUE)[1:-1], TOKEN, "horse"):
        assert one not in known.text
    assert "secret:alice" in known.text
    assert "Bearer secret:access.password" in known.text
    again = await replayed(known, tmp_path / "page")
    assert not failed(again), failed(again)[0].said


NASTY = """p\u00e4ss 'w"o<r>d' & \\ +/\U0001f511"""
IN_FORMS = [
    NASTY,
    json.dumps(NASTY),
    json.dumps(json.dumps({"a": json.dumps(NASTY, ensure_ascii=False)})),
    escape(NASTY),
    json.dumps(escape(escape(NASTY, {"'": "&apos;", '"': "&quot;"}))),
    html.escape(NASTY),
    quote(NASTY),
    quote_plus(NASTY),
    quote(NASTY, safe="").lower(),
    shlex.quote(NASTY),
    base64.b64encode(NASTY.encode()).decode(),
    hashlib.sha256(NASTY.encode()).hexdigest().upper(),
]


@pytest.mark.parametrize("told", IN_FORMS)
async def test_a_secret_is_found_in_an_answer_however_it_is_escaped_there(told: str) -> None:
    """Devices tell configurations in JSON, in XML, in text within JSON, and in addresses."""
    recorder = Recorder({"key": NASTY})

    await InterposedShell(Says(f"before {told} after"), recorder).run("show")

    heard = recorder.events[0].told
    assert heard is not None
    # What stands around it are quotes, or the words of the JSON that it is in.
    assert re.fullmatch(r'before [\\{"a: \']*secret:key[\\}" \']* after', heard.output)


class Says:
    """A shell that answers the same to everything."""

    def __init__(self, told: str) -> None:
        self._told = told

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        return Ran(status=0, output=self._told, errors="")

    async def close(self) -> None:
        pass


async def test_a_digest_of_what_is_secret_is_that_of_something_else(tmp_path: Path) -> None:
    """Passwords are found by their digests. A shell is told the digest of all that runs."""
    made, device = begin("mine", tmp_path), tmp_path / "device"
    device.mkdir()
    template = made / "main.conf.j2"
    template.write_text(f'# key {{{{ secret("secret:key") }}}}\n{template.read_text()}')
    subject = replace(new_subject(made, device), secrets={"key": VALUE}, cut=None)

    checks = (
        kit.what_was_applied_is_what_runs,
        kit.a_plan_tells_the_truth,
        kit.a_backup_brings_back_what_ran,
    )
    checked, known = await record(subject, read(made), checks=checks)

    assert set(verdicts(checked).values()) == {Verdict.PASSED}
    assert VALUE in (device / "farsite.conf").read_text()
    assert "horse" not in known.text
    assert [one.left_out for one in known.checks] == ["", "", ""]
    again = await replayed(known, made)
    assert [one.verdict for one in again].count(Verdict.PASSED) == 3


async def test_a_form_of_a_secret_that_nobody_knows_leaves_the_check_out(tmp_path: Path) -> None:
    """A device that tells a digest of a password tells it of no placeholder."""
    subject = with_secrets(tmp_path / "page", Page(), fault="stores digests")

    checks = (kit.what_was_applied_is_what_runs, kit.a_change_is_taken_back_when_asked)
    checked, known = await record(subject, folder(tmp_path / "page"), checks=checks)

    assert set(verdicts(checked).values()) == {Verdict.PASSED}
    assert "does not follow" in known.checks[0].left_out
    assert hashlib.sha256(VALUE.encode()).hexdigest() not in known.text


async def test_a_secret_too_short_to_be_hidden_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    """Every other word of an answer would be taken for it."""
    device = Page()
    subject = replace(with_secrets(tmp_path / "page", device), secrets={"alice": "abc"})

    with pytest.raises(Invalid, match="less than 6 characters"):
        await record(subject, folder(tmp_path / "page"))
    assert device.asked == []


async def test_a_secret_that_stands_in_a_document_is_not_written_down(tmp_path: Path) -> None:
    """The documents are in the file as they are."""
    subject = with_secrets(tmp_path / "page", Page())
    subject = replace(subject, good=document(system={"host_name": "h", "banner": VALUE}))

    with pytest.raises(Invalid, match="secret alice stands in a document"):
        await record(subject, folder(tmp_path / "page"), checks=(kit.health_can_be_asked,))


async def test_an_adapter_by_playbooks_has_no_transcripts(tmp_path: Path) -> None:
    """What Ansible says to a device is not ours to see."""
    with pytest.raises(NotSupported, match="playbook"):
        await record(page(tmp_path), read(SHIPPED / "unbound"))


# Other ways to devices.


@pytest.mark.slow
async def test_requests_to_a_device_over_https_are_replayed_by_another_process(tmp_path: Path) -> None:
    """It orders what has no order in another way, and knows nothing of the device."""
    async with EMULATED["f5"](tmp_path) as device:
        opened = Opened(device="f5-1", user="admin", password=SECRET, parameters={"tenant": "Edge"})
        checked, known = await record(replace(device, opened=opened, cut=None), read(SHIPPED / "f5"))
    assert Verdict.FAILED not in verdicts(checked).values()
    assert {one.name for one in known.checks if one.left_out} == {kit.name_of(one) for one in LEFT_OUT}
    assert SECRET not in known.text
    file = tmp_path / "f5.json"
    file.write_text(known.text)

    done = subprocess.run(
        [Path(sys.executable).parent / "farsite", "adapter", "verify", str(SHIPPED / "f5"), str(file)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == len(RECORDED)


@pytest.mark.slow
@pytest.mark.skipif(not Path(SSHD).exists() or os.geteuid() != 0, reason="sshd is not there, or no root")
def test_the_command_line_records_what_it_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is all that the author of an adapter needs."""
    ssh, made = Device(tmp_path), begin("mine", tmp_path)
    config, trial, file = tmp_path / "farsite.conf", made / "trial.yaml", tmp_path / "mine.json"
    shutil.copy(tmp_path / "user", made / "id_ed25519")
    told = (
        trial.read_text()
        .replace("/etc/mine/farsite.conf", str(config))
        .replace("/var/lib/farsite", str(tmp_path / "kept"))
        .replace("  host: 192.0.2.10", f"  host: 127.0.0.1\n  port: {ssh.port}")
        .replace("ssh-ed25519 AAAA...", ssh.key("host"))
    )
    trial.write_text(told)
    ssh.start()
    try:
        assert main(["adapter", "verify", str(made), str(trial), "--transcript", str(file)]) == 0
        recorded = capsys.readouterr()
    finally:
        ssh.stop()

    assert f"{file} written: {len(RECORDED)} of {len(kit.CHECKS)} checks" in recorded.err
    assert "PRIVATE KEY" not in file.read_text()
    trial.unlink()
    assert main(["adapter", "verify", str(made), str(file)]) == 0
    assert capsys.readouterr().out.count("passed") == len(RECORDED)


@pytest.fixture
def netconf(tmp_path: Path) -> Path:
    bench = BENCHES["ietf"]
    if os.geteuid() != 0 or any(shutil.which(one) is None for one in bench.programs):
        pytest.skip("netconfd needs root")
    return tmp_path


@pytest.mark.slow
async def test_a_session_of_netconf_is_replayed_and_new_hashes_are_left_out(netconf: Path) -> None:
    """A hash of a password has a salt of its own each time, so what is asked cannot be known before."""
    checks = (kit.a_change_is_taken_back_when_asked, kit.somebody_elses_change_is_not_overwritten)
    async with BENCHES["ietf"].start(netconf) as device:
        subject = replace(device, cut=None, opened=Opened(device="edge-1"))
        plain = replace(
            subject, good=replace(device.good, users=None), other=replace(device.other, users=None)
        )
        checked, known = await record(plain, read(SHIPPED / "ietf"), checks=checks)
        _, with_users = await record(subject, read(SHIPPED / "ietf"), checks=checks[:1])

    assert set(verdicts(checked).values()) == {Verdict.PASSED}
    assert [one.left_out for one in known.checks] == ["", ""]
    (netconf / "ietf.json").write_text(known.text)
    adapter = read(SHIPPED / "ietf")
    again = verdicts(await replay(read_transcript(netconf / "ietf.json", adapter), adapter))
    assert [again[kit.name_of(one)] for one in checks] == [Verdict.PASSED, Verdict.PASSED]
    assert "does not follow" in with_users.checks[0].left_out
    assert "$6$" not in with_users.text
