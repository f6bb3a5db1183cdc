"""A device over SSH: a real sshd, which knows one key and has one of its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from bench_parts import SHIPPED, ended, free_port

from farsite.cli.app import main
from farsite.model.errors import VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from ssh_device import NEEDED, Device

pytestmark = NEEDED


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    made = Device(tmp_path)
    made.start()
    yield made
    made.stop()


async def test_commands_run_with_their_input_and_keep_their_status(device: Device) -> None:
    """What a device says, on which stream and with which status, decides what happens next."""
    shell = device.shell()
    try:
        ran = await shell.run('cat; echo "it\'s $LC_ALL" >&2; exit 7', given=b"given\n")
    finally:
        await shell.close()

    assert (ran.status, ran.output, ran.errors) == (7, "given\n", "it's C\n")


async def test_a_host_key_that_is_not_the_pinned_one_is_refused(device: Device) -> None:
    """A stranger at the device's address would get its configuration and its secrets."""
    shell = device.shell(host="stranger")
    with pytest.raises(VnfFault) as refused:
        await shell.run("true")
    await shell.close()

    assert refused.value.about["code"] is ErrorCode.IDENTITY
    assert "pin" in refused.value.detail


async def test_a_key_that_the_device_does_not_know_is_named_as_such(device: Device) -> None:
    """Trying again does not help, another key does."""
    shell = device.shell(user="stranger")
    with pytest.raises(VnfFault) as refused:
        await shell.run("true")
    await shell.close()

    assert refused.value.about["code"] is ErrorCode.AUTHENTICATION


async def test_silence_is_unknown_and_no_refusal(device: Device) -> None:
    """Whoever takes silence for a refusal does twice what was done."""
    nobody = device.shell(port=free_port())
    with pytest.raises(VnfUnreachable):
        await nobody.run("true")
    await nobody.close()
    slow = device.shell()
    with pytest.raises(VnfUnreachable) as late:
        async with asyncio.timeout(15):
            await slow.run("sleep 30", timeout_s=1.0)
    await slow.close()

    assert late.value.about["code"] is ErrorCode.TIMEOUT


async def test_nothing_of_a_key_is_left_behind(device: Device) -> None:
    """A private key in a temporary directory outlives its reason."""
    shell = device.shell()
    await shell.run("true")
    written = shell._client.directory  # where the client's files are
    assert (written / "key").stat().st_mode & 0o077 == 0
    await shell.close()

    assert not written.exists()


@pytest.mark.slow
async def test_the_command_line_tries_an_adapter_on_a_device(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    """Third parties prove their adapters the way we prove ours."""
    for program in ("haproxy", "socat"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there")
    directory, port = device.directory, free_port()
    (directory / "haproxy.cfg").write_text(
        f"global\n  stats socket {directory}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )

    def balancing(weight: int) -> dict[str, object]:
        server = {"name": "web", "address": "127.0.0.1", "port": port, "pool": "webs"}
        member = {"name": "one", "address": "127.0.0.1", "port": port + 1, "weight": weight}
        return {
            "load_balancer": {"virtual_servers": [server], "pools": [{"name": "webs", "members": [member]}]}
        }

    trial = directory / "trial.yaml"
    trial.write_text(
        yaml.safe_dump(
            {
                "access": {
                    "host": "127.0.0.1",
                    "port": device.port,
                    "host_keys": [device.key("host")],
                    "private_key_file": "user",
                },
                "parameters": {
                    "base": f"{directory}/haproxy.cfg",
                    "config": f"{directory}/farsite.cfg",
                    "pid_file": f"{directory}/pid",
                    "socket": f"{directory}/admin",
                },
                "keep_in": f"{directory}/kept",
                "good": balancing(1),
                "other": balancing(2),
                "wrong": {"native": {"haproxy": "frontend x\n    nonsense\n"}},
                "meddle": f"echo '# by hand' >>{directory}/farsite.cfg",
            }
        )
    )
    try:
        status = await asyncio.to_thread(main, ["adapter", "verify", str(SHIPPED / "haproxy"), str(trial)])
    finally:
        await ended(directory / "pid")

    told = capsys.readouterr().out
    assert status == 0, told
    assert "FAILED" not in told
    assert told.count("passed") >= 11
