"""The adapter of strongSwan, as packets see it: two gateways and what is behind them."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from bench_parts import applied, cable, done, namespace, opening, until
from bench_strongswan import strongswan, tunnelling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("charon-systemd") is None, reason="charon-systemd is not there"),
    pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not there"),
]


async def test_packets_pass_and_a_change_that_leads_nowhere_undoes_itself(tmp_path: Path) -> None:
    """Who mistypes the other end has cut himself off from what is behind it, were it not taken back."""
    secrets = {"psk": 'a "good" one'}
    async with (
        namespace() as east,
        namespace() as west,
        strongswan(east, tmp_path / "east") as of_east,
        strongswan(west, tmp_path / "west") as of_west,
    ):
        await cable(east, "wan", west, "wan")
        adapters = []
        for number, name, parameters in ((1, east, of_east), (2, west, of_west)):
            await done("ip", "-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "wan")
            await done("ip", "-n", name, "addr", "add", f"10.{number}.0.1/32", "dev", "lo")
            within = ("ip", "netns", "exec", name)
            adapters.append(await opening("strongswan", tmp_path / name, parameters, within)())
        first, second = adapters

        async def is_heard() -> bool:
            process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", east, "ping", "-q", "-c", "1", "-W", "2"),
                *("-I", "10.1.0.1", "10.2.0.1"),
                stdout=asyncio.subprocess.DEVNULL,
            )
            return await process.wait() == 0

        async def is_cut() -> bool:
            return not await is_heard()

        await applied(second, tunnelling(2, 1, starts=False), "1", secrets=secrets)
        await applied(first, tunnelling(1, 2), "1", secrets=secrets)
        await first.confirm("1")
        await until(is_heard)
        assert [one.said for one in await first.health() if not one.is_well] == []
        through = {one.name: one.value for one in await first.metrics()}
        assert through["strongswan_tunnel_transmit_bytes_total"] > 0

        await applied(first, tunnelling(1, 3), "2", secrets=secrets, within_s=8)
        await until(is_cut)
        assert not all(one.is_well for one in await first.health())
        await until(is_heard)
