"""What becomes of an image on its way into a device, and of a device that is left alone with it."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from bench_parts import document

from appliances import ADAPTERS, Appliance, image_of, tarball
from farsite.model.errors import Conflict, Invalid, NotSupported, VnfFault, VnfUnreachable
from farsite.model.software import SoftwareImage
from farsite.vnfs.adapter import ErrorCode, Outcome, Wanted
from farsite.vnfs.dictionary import read
from farsite.vnfs.shell import Ran
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.transports.local import LocalShell


class Bytes:
    """An image in memory; `read_from` says where reading began."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.read_from: list[int] = []

    async def read(self, offset: int, most_bytes: int) -> bytes:
        self.read_from.append(offset)
        return self.content[offset : offset + most_bytes]


class Breaking(LocalShell):
    """A connection that breaks off in the middle of what is sent, a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        if len(given) > 4096 and self.left:
            self.left -= 1
            await super().run(command, given=given[: len(given) // 2], timeout_s=timeout_s)
            raise VnfUnreachable("The connection broke off.")
        return await super().run(command, given=given, timeout_s=timeout_s)


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path / "device").lay_out()


def opened(
    appliance: Appliance, shell: LocalShell | None = None, *, keep_in: Path | None = None
) -> ShellSoftware:
    return ShellSoftware(
        read(ADAPTERS / "appliance"),
        shell or LocalShell(),
        device="appliance-1",
        parameters=appliance.parameters,
        keep_in=str(keep_in or appliance.directory / "kept"),
    )


def named(content: bytes) -> SoftwareImage:
    digest = sha256(content).hexdigest()
    return SoftwareImage(sha256=digest, size_bytes=len(content), url="http://192.0.2.1/appliance-2.0.tar")


async def brought(adapter: ShellSoftware, content: bytes) -> str:
    """The version, installed from an image."""
    image = named(content)
    await adapter.receive(image, Bytes(content), change_id="1")
    return await adapter.install(image, change_id="1")


async def test_a_broken_transfer_goes_on_where_it_broke_off(appliance: Appliance) -> None:
    """Images are large and ways to devices thin: to begin anew each time may mean never to end."""
    content = image_of("2.0", padding=300_000)
    adapter, source = opened(appliance, Breaking(1)), Bytes(content)
    with pytest.raises(VnfUnreachable):
        await adapter.receive(named(content), source, change_id="1")
    await adapter.receive(named(content), source, change_id="1")

    assert source.read_from[0] == 0
    assert source.read_from[1] == len(content) // 2
    assert await adapter.install(named(content), change_id="1") == "2.0"
    assert not list((appliance.directory / "kept" / "appliance" / "incoming").iterdir())
    # Whoever asks again, because the answer was lost, hears the same.
    assert await adapter.install(named(content), change_id="1") == "2.0"
    assert appliance.running == "1.0"


async def test_a_part_that_is_of_something_else_is_thrown_away(appliance: Appliance) -> None:
    """Only the digest on the device says that what arrived is what was sent."""
    content = image_of("2.0")
    adapter = opened(appliance)
    incoming = appliance.directory / "kept" / "appliance" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / named(content).sha256).write_bytes(b"nonsense")
    assert await brought(adapter, content) == "2.0"

    other = image_of("3.0")
    with pytest.raises(VnfFault, match=r"with the digest \w{64}, not \w{64}, twice") as refused:
        await adapter.receive(named(other), Bytes(other + b"!"), change_id="2")
    assert refused.value.about["code"] == ErrorCode.INVALID
    assert not list(incoming.iterdir())


async def test_what_is_no_image_of_the_product_is_refused(appliance: Appliance) -> None:
    """The program in it is asked what it is; a name on a file says nothing."""
    adapter = opened(appliance)
    for wrong, said in (
        (tarball({"bin/other": "#!/bin/sh\n"}), "This is no image of Appliance"),
        (tarball({"bin/appliance": "#!/bin/sh\necho '../../etc'\n"}), "This is no image of Appliance"),
        (b"no archive at all", "cannot be unpacked"),
        (tarball({"bin/appliance": "#!/bin/sh\necho 1.0\n"}), "lies there already and came in another image"),
    ):
        with pytest.raises(VnfFault, match=said):
            await brought(adapter, wrong)
        assert appliance.versions == {"1.0"}
    assert appliance.running == "1.0"


@contextmanager
def small_disk(path: Path, kib: int) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to mount a small disk")
async def test_a_full_disk_is_told_by_name_with_what_was_left_in_place(
    appliance: Appliance, tmp_path: Path
) -> None:
    """Before the transfer where it can be seen, in it where somebody else was quicker."""
    content = image_of("2.0", padding=600_000)
    with small_disk(tmp_path / "small", 400) as disk:
        adapter = opened(appliance, keep_in=disk)
        room = next(one for one in await adapter.examine(named(content)) if one.name == "room for the image")
        assert not room.is_well
        assert f"{disk}/appliance/incoming has 0." in room.said
        with pytest.raises(VnfFault) as full:
            await adapter.receive(named(content), Bytes(content), change_id="1")
        assert full.value.about["code"] == ErrorCode.FULL
        assert "were removed. The version of before runs" in full.value.detail
        assert "No space left" in full.value.detail
        assert not list((disk / "appliance" / "incoming").iterdir())


async def test_a_device_goes_back_by_itself_when_nobody_confirms(appliance: Appliance) -> None:
    """Farsite may be gone, or the new version may have cut its way: nobody else could go back."""
    appliance.file.write_text("migrate\n")
    adapter = opened(appliance)
    version = await brought(adapter, image_of("2.0"))
    before = await adapter.software()
    await adapter.upgrade(version, before.against, change_id="1", confirm_within_s=2)
    assert (appliance.running, await adapter.outcome("1")) == ("2.0", Outcome.PENDING)
    assert "migrated to 2.0" in appliance.file.read_text()

    await until(lambda: appliance.running == "1.0")
    assert await adapter.outcome("1") is Outcome.REVERTED
    # The configuration too, whatever the new version has made of it.
    assert appliance.file.read_text() == "migrate\n"
    after = await adapter.software()
    assert (after.running, after.configuration) == ("1.0", before.configuration)


async def test_a_version_that_does_not_start_is_replaced_by_the_one_of_before_at_once(
    appliance: Appliance,
) -> None:
    """The device knows, so nobody has to be asked."""
    appliance.file.write_text("refuses-2.0\n")
    adapter = opened(appliance)
    version = await brought(adapter, image_of("2.0"))
    with pytest.raises(VnfFault, match=r"could not activate version 2.0.*no, not 2.0"):
        await adapter.upgrade(version, (await adapter.software()).against, change_id="1", confirm_within_s=60)
    assert appliance.running == "1.0"
    assert await adapter.outcome("1") is Outcome.REVERTED


async def test_a_version_that_was_laid_there_by_hand_can_be_gone_back_from(appliance: Appliance) -> None:
    """Nothing was ever installed there, so that nothing said which version was to run."""
    appliance.lay_beside("2.0").file.write_text("refuses-2.0\n")
    adapter = opened(appliance)
    against = (await adapter.software()).against
    with pytest.raises(VnfFault, match="version and configuration of before run again"):
        await adapter.upgrade("2.0", against, change_id="1", confirm_within_s=60)
    appliance.file.write_text("well\n")
    against = (await adapter.software()).against
    await adapter.upgrade("2.0", against, change_id="2", confirm_within_s=60)
    await adapter.revert("2")
    assert (await adapter.software()).running == appliance.running == "1.0"


async def test_a_version_that_cannot_read_the_configuration_is_never_activated(appliance: Appliance) -> None:
    """Its own check says so while the old one serves."""
    appliance.file.write_text("cannot-read-2.0\n")
    adapter = opened(appliance)
    version = await brought(adapter, image_of("2.0"))
    with pytest.raises(VnfFault, match=r"cannot run with its configuration; nothing was changed.*line 1"):
        await adapter.upgrade(version, (await adapter.software()).against, change_id="1", confirm_within_s=60)
    assert await adapter.outcome("1") is Outcome.NONE


async def test_an_upgrade_and_a_change_of_the_configuration_exclude_each_other(appliance: Appliance) -> None:
    """What is taken back must be what was there before both."""
    adapter = opened(appliance)
    version = await brought(adapter, image_of("2.0"))
    against = (await adapter.software()).against
    appliance.file.write_text("somebody else's\n")
    with pytest.raises(Conflict, match="changed by somebody else"):
        await adapter.upgrade(version, against, change_id="1", confirm_within_s=60)

    wanted = Wanted(document=document(native={"text": "new\n"}))
    plan = await adapter.plan(wanted, await adapter.fetch())
    await adapter.apply(wanted, plan, change_id="2", confirm_within_s=60)
    pending = [one.said for one in await adapter.examine(None) if not one.is_well]
    assert pending == ["change 2 is neither confirmed nor taken back"]
    with pytest.raises(Conflict, match="another change at work"):
        await adapter.upgrade(version, (await adapter.software()).against, change_id="3", confirm_within_s=60)
    await adapter.revert("2")
    await adapter.upgrade(version, (await adapter.software()).against, change_id="4", confirm_within_s=60)
    await adapter.confirm("4")
    assert ((await adapter.software()).running, (await adapter.software()).previous) == ("2.0", "1.0")


async def test_what_cannot_be_upgraded_says_why(tmp_path: Path) -> None:
    """A product without versions, and a function that was not built with them."""
    for adapter, parameters, error, said in (
        ("textfile", {"file": str(tmp_path / "text")}, NotSupported, "no section software"),
        ("appliance", {"file": str(tmp_path / "text")}, Invalid, "Set the parameter software"),
    ):
        found = ShellSoftware(
            read(ADAPTERS / adapter), LocalShell(), device="one", parameters=parameters, keep_in=str(tmp_path)
        )
        with pytest.raises(error, match=said):
            await found.software()


async def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "it never came"
        await asyncio.sleep(0.1)
