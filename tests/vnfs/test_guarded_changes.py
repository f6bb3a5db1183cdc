"""What a device does by itself with a change: when it is full, killed, switched off, or given very much."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest
from bench_parts import applied, document

from farsite.model.configuration import Configuration
from farsite.model.errors import Failed, FarsiteError
from farsite.vnfs.adapter import ErrorCode, Outcome, Wanted
from farsite.vnfs.ansible_adapter import GATE
from farsite.vnfs.dictionary import read
from farsite.vnfs.new_adapter import begin
from farsite.vnfs.shell_adapter import ShellAdapter, packed
from farsite.vnfs.transports.local import LocalShell


class Device:
    """This machine, with a product whose configuration is a file of names and addresses."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "farsite.conf"
        self.kept = directory / "kept"
        self.folder = begin("names", directory / "adapters")

    def adapter(self, **parameters: str) -> ShellAdapter:
        return ShellAdapter(
            read(self.folder),
            LocalShell(),
            device="names-1",
            parameters={"config": str(self.config), **parameters},
            keep_in=str(self.kept),
        )

    def change(self, change_id: str) -> Path:
        """Where the device keeps what it knows of a change."""
        return self.kept / "names" / "changes" / change_id


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def naming(*names: str) -> Configuration:
    return document(dns={"records": [{"name": name, "value": "192.0.2.80"} for name in names]})


async def kept_one(device: Device, name: str) -> str:
    """A first configuration, confirmed; what its file says."""
    adapter = device.adapter()
    await applied(adapter, naming(name), "first")
    await adapter.confirm("first")
    return device.config.read_text()


async def test_a_guard_that_is_killed_half_way_is_undone_at_the_next_word(device: Device) -> None:
    """The file is new, the product was never told: the worst state there is, and nobody to see it."""
    before = await kept_one(device, "www.example.org")
    once = device.kept / "once"
    adapter = device.adapter(reload=f"[ -e {once} ] || {{ : >{once}; kill -9 $PPID; }}")
    with pytest.raises(FarsiteError):
        await applied(adapter, naming("other.example.org"), "second")
    assert device.config.read_text() != before

    assert await adapter.outcome("second") is Outcome.REVERTED
    assert device.config.read_text() == before


async def test_a_change_that_was_announced_and_never_begun_is_in_nobodys_way(device: Device) -> None:
    """A guard that dies between saying which change it is at and beginning it leaves just that word."""
    before = await kept_one(device, "www.example.org")
    (device.kept / "names" / "pending").write_text("second\n")
    adapter = device.adapter()

    assert await adapter.outcome("second") is Outcome.NONE
    assert device.config.read_text() == before
    await applied(adapter, naming("other.example.org"), "third")
    assert await adapter.outcome("third") is Outcome.PENDING


async def test_a_change_whose_time_ran_out_while_the_power_was_off_is_undone_at_the_next_word(
    device: Device,
) -> None:
    """The dead-man's switch died with the machine; what it guarded did not."""
    before = await kept_one(device, "www.example.org")
    adapter = device.adapter()
    await applied(adapter, naming("other.example.org"), "second", within_s=1)
    os.killpg(int((device.change("second") / "switch").read_text()), 9)
    deadline = int((device.change("second") / "deadline").read_text())
    while time.time() < deadline:
        await asyncio.sleep(0.1)

    assert await adapter.outcome("second") is Outcome.REVERTED
    assert device.config.read_text() == before


async def test_what_got_the_number_of_a_switch_that_is_gone_is_left_alone(device: Device) -> None:
    """After a restart the same number is somebody else's process."""
    adapter = device.adapter()
    somebody = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        for change_id, ends in (("kept", adapter.confirm), ("taken back", adapter.revert)):
            await applied(adapter, naming(f"{change_id[:4]}.example.org"), change_id)
            switch = device.change(change_id) / "switch"
            os.killpg(int(switch.read_text()), 9)
            switch.write_text(f"{somebody.pid}\n")
            await ends(change_id)
        assert somebody.poll() is None
    finally:
        somebody.kill()
        somebody.wait()


async def test_one_wrong_line_of_many_is_named_and_nothing_is_changed(device: Device) -> None:
    """Five thousand lines are not read by eye."""
    before = await kept_one(device, "www.example.org")
    records = [{"name": f"host-{number}.example.org", "value": "192.0.2.80"} for number in range(5000)]
    wrong = document(dns={"records": records}, native={"main": "what is this\n"})
    with pytest.raises(Failed) as refused:
        await applied(device.adapter(), wrong, "second")

    assert refused.value.about["code"] is ErrorCode.INVALID
    assert "5002:what is this" in refused.value.detail
    assert device.config.read_text() == before


@pytest.mark.slow
async def test_ten_megabytes_are_compared_changed_and_brought_back(device: Device) -> None:
    """Firewalls of large firms are of that size."""
    name = "192.0.2.80 host-{:06}.somewhere-far-away.example.org\n"
    lines = "".join(name.format(number) for number in range(200_000))
    assert len(lines) > 10_000_000
    adapter = device.adapter()
    await applied(adapter, document(native={"main": lines}), "first")
    await adapter.confirm("first")
    before = device.config.read_text()
    other = lines.replace("host-100000.", "renamed.")
    await applied(adapter, document(native={"main": other}), "second")
    assert "renamed." in device.config.read_text()
    await adapter.revert("second")

    assert device.config.read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to mount a small file system")
async def test_a_full_device_refuses_and_changes_nothing(device: Device) -> None:
    """Half a file is worse than none, and what is needed is room, not another try."""
    before = await kept_one(device, "www.example.org")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(device.kept)], check=True)
    try:
        many = naming(*(f"host-{number}.example.org" for number in range(5000)))
        with pytest.raises(Failed) as refused:
            await applied(device.adapter(), many, "second")
    finally:
        subprocess.run(["umount", str(device.kept)], check=True)

    assert refused.value.about["code"] is ErrorCode.FULL
    assert device.config.read_text() == before


async def test_a_device_that_cannot_say_what_it_runs_any_more_is_left_as_it_is(tmp_path: Path) -> None:
    """Between plan and change its daemon died; "somebody else changed it" would send people looking."""
    device = Device(tmp_path)
    place = device.folder / "adapter.yaml"
    running = tmp_path / "running"
    running.write_text("")
    place.write_text(place.read_text().replace('mode: "0644"', f'mode: "0644", fetch: "cat {running}"'))
    adapter = device.adapter()
    wanted = Wanted(document=naming("www.example.org"))
    plan = await adapter.plan(wanted, await adapter.fetch())
    running.unlink()
    with pytest.raises(Failed, match=r"cannot say what it runs.*No such file"):
        await adapter.apply(wanted, plan, change_id="first", confirm_within_s=60)

    assert await adapter.outcome("first") is Outcome.NONE
    assert not device.config.exists()


class Holding:
    """A change that the device holds for programs that come through its gate, as those of a playbook do."""

    def __init__(self, device: Device, change_id: str) -> None:
        self.device = device
        self.gate = device.change(change_id) / "gate"
        self._change_id = change_id

    async def begun(self) -> "Holding":
        adapter = self.device.adapter()
        running = await adapter.fetch()
        assert await adapter.outcome(self._change_id) is Outcome.NONE
        places = read(self.device.folder).places_of(naming("any"))
        archive = packed({**adapter._change(places, {}), "check": "true\n", "gate": GATE})
        kept = str(self.device.kept / "names")
        words = [f"{kept}/guard", kept, "hold", self._change_id, "60", running.digest, str(len(archive))]
        self.session = await asyncio.create_subprocess_exec(
            "sh", *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self.session.stdin is not None
        assert self.session.stdout is not None
        self.session.stdin.write(archive)
        assert await self.session.stdout.readline() == b"open\n"
        return self

    async def ends(self, last_word: str = "") -> int:
        """The session ends, by a word or without; the status of the guard."""
        assert self.session.stdin is not None
        self.session.stdin.write(last_word.encode())
        self.session.stdin.close()
        return await asyncio.wait_for(self.session.wait(), 30)

    def enter(self, command: str) -> subprocess.Popen[bytes]:
        """Run something through the gate, in a session of its own as sshd does."""
        return subprocess.Popen([str(self.gate), "-c", command], start_new_session=True)


async def test_who_is_behind_the_gate_when_the_session_breaks_off_is_ended_and_nobody_follows(
    device: Device,
) -> None:
    """A task that goes on would write after everything was brought back; one that comes late too."""
    before = await kept_one(device, "www.example.org")
    holding = await Holding(device, "second").begun()
    at_work = holding.enter(f"echo half >{device.config}; sleep 600; echo whole >{device.config}")
    deadline = time.monotonic() + 30
    while device.config.read_text() != "half\n":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)

    assert await holding.ends() == 66
    assert at_work.wait(timeout=10) < 0
    assert holding.enter(f"echo late >{device.config}").wait(timeout=10) == 75
    assert device.config.read_text() == before
    assert await device.adapter().outcome("second") is Outcome.REVERTED


async def test_a_change_that_was_made_through_the_gate_stands_unconfirmed_like_any_other(
    device: Device,
) -> None:
    """From "done" on it is a change like those that the device made alone."""
    before = await kept_one(device, "www.example.org")
    holding = await Holding(device, "second").begun()
    assert holding.enter(f"echo '192.0.2.9 new' >{device.config}").wait(timeout=10) == 0
    assert await holding.ends("done\n") == 0
    adapter = device.adapter()

    assert await adapter.outcome("second") is Outcome.PENDING
    assert holding.enter("true").wait(timeout=10) == 75
    await adapter.revert("second")
    assert device.config.read_text() == before


async def test_a_device_whose_power_failed_while_it_held_a_change_brings_back_what_was_before(
    device: Device,
) -> None:
    """Holder and switch died with it; who speaks to it next finds the change half made."""
    before = await kept_one(device, "www.example.org")
    holding = await Holding(device, "second").begun()
    assert holding.enter(f"echo half >{device.config}").wait(timeout=10) == 0
    os.killpg(int((device.change("second") / "switch").read_text()), 9)
    holding.session.kill()
    await holding.session.wait()
    assert device.config.read_text() != before

    assert await device.adapter().outcome("second") is Outcome.REVERTED
    assert device.config.read_text() == before
