"""Steps of one piece of work share an SSH session with their device, and nothing else does. The device is a
real sshd; sessions are told apart by the connection that the device itself sees."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farsite.model.errors import FarsiteError, VnfFault, VnfUnreachable
from farsite.vnfs.transports.kept_sessions import KeptSessions
from farsite.vnfs.transports.ssh import SshAccess, SshShell
from ssh_device import NEEDED, Device

pytestmark = [*NEEDED, pytest.mark.asyncio]


@pytest.fixture
def device() -> Iterator[Device]:
    directory = Path(tempfile.mkdtemp(prefix="fss-", dir="/tmp"))
    found = Device(directory)
    found.start()
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(directory, ignore_errors=True)


def access_to(device: Device) -> SshAccess:
    return SshAccess(
        host="127.0.0.1",
        port=device.port,
        host_keys=(device.key("host"),),
        private_key=(device.directory / "user").read_text(),
    )


@asynccontextmanager
async def kept(*, kept_s: float = 5.0, most: int = 128) -> AsyncIterator[KeptSessions]:
    sessions = KeptSessions(kept_s=kept_s, most=most)
    try:
        yield sessions
    finally:
        await sessions.close()


async def connection(
    sessions: KeptSessions, access: SshAccess, whose: str = "one", *, afresh: bool = False
) -> str:
    """The connection, as the device tells it, over which a step is done."""
    shell = sessions.shell(whose, "lb-1", access, None, afresh=afresh)
    try:
        return (await shell.run('echo "$SSH_CONNECTION"')).output
    finally:
        await shell.close()


async def until_ended(directory: Path) -> None:
    async with asyncio.timeout(20):
        while directory.exists():
            await asyncio.sleep(0.05)


async def test_the_next_step_goes_over_the_session_of_the_last_and_nobody_elses_does(device: Device) -> None:
    """A handshake for each step is most of what a change costs; a session of another function is not ours."""
    access = access_to(device)
    async with kept(kept_s=30.0) as sessions:
        first = await connection(sessions, access)
        assert first.strip()
        assert await connection(sessions, access) == first
        assert await connection(sessions, access, "two") != first
        # Two at the same time have one each, and one of them is kept.
        both = await asyncio.gather(connection(sessions, access), connection(sessions, access))
        assert len(set(both)) == 2


async def test_whether_a_device_still_lets_us_in_is_seen_on_a_new_session(device: Device) -> None:
    """One that was opened before a change goes on where the change lets nobody in any more."""
    access = access_to(device)
    async with kept(kept_s=30.0) as sessions:
        before = await connection(sessions, access)
        (device.directory / "authorized").write_text("")
        assert await connection(sessions, access) == before
        with pytest.raises(VnfFault, match="refuses us"):
            await connection(sessions, access, afresh=True)
        # Nothing is left of the old one.
        with pytest.raises(VnfFault, match="refuses us"):
            await connection(sessions, access)


@pytest.mark.parametrize("what", ["host_keys", "private_key"])
async def test_who_shows_other_pins_or_credentials_gets_no_session_that_was_opened_with_the_old(
    device: Device, what: str
) -> None:
    """A pin that was withdrawn, or a key that was replaced, must count from then on."""
    access = access_to(device)
    stranger: tuple[str, ...] | str = (
        (device.key("stranger"),) if what == "host_keys" else (device.directory / "stranger").read_text()
    )
    async with kept(kept_s=30.0) as sessions:
        await connection(sessions, access)
        with pytest.raises(VnfFault, match="refuses us"):
            await connection(sessions, replace(access, **{what: stranger}))
        # The right ones open another: that with the old ended when others came.
        assert await connection(sessions, access)


async def test_a_session_on_which_something_went_wrong_is_not_kept(device: Device) -> None:
    """What a command that was cut is still at there, nobody knows."""
    access = access_to(device)
    async with kept(kept_s=30.0) as sessions:
        shell = sessions.shell("one", "lb-1", access, None, afresh=False)
        await shell.run("true")
        with pytest.raises(VnfUnreachable):
            await shell.run("sleep 30", timeout_s=0.2)
        directory = shell.client.directory
        await shell.close()
        assert not directory.exists()


async def test_a_session_that_was_lost_meanwhile_is_replaced(device: Device) -> None:
    """The device ended it: that is no reason to fail."""
    access = access_to(device)
    async with kept(kept_s=30.0) as sessions:
        first = await connection(sessions, access)
        shell = sessions.shell("one", "lb-1", access, None, afresh=False)
        with pytest.raises(FarsiteError):
            # Our session's own process on the device.
            await shell.run(
                "p=$$; until grep -q ^sshd /proc/$p/comm; do p=$(ps -o ppid= -p $p | tr -d ' '); done; "
                "kill -9 $p; sleep 5"
            )
        await shell.close()
        second = await connection(sessions, access)
        assert second not in ("", first)


async def test_sessions_end_when_nobody_wants_them_and_with_the_process(device: Device) -> None:
    """An idle session is somebody logged in on a device."""
    access = access_to(device)
    async with kept(kept_s=0.3) as sessions:
        shell = sessions.shell("one", "lb-1", access, None, afresh=False)
        await shell.run("true")
        await shell.close()
        assert shell.client.directory.exists()
        await until_ended(shell.client.directory)
    async with kept(kept_s=30.0, most=1) as sessions:
        shells: list[SshShell] = []
        for whose in ("one", "two"):
            shells.append(sessions.shell(whose, "lb-1", access, None, afresh=False))
            await shells[-1].run("true")
        for one in shells:
            await one.close()
        assert [one.client.directory.exists() for one in shells] == [True, False], "no more than there may be"
    assert not shells[0].client.directory.exists()
