"""The adapter of keepalived, as those see it whose gateway it is: two of them on one link."""

import os
import shutil
from pathlib import Path

import pytest
from bench_keepalived import group, keepalived
from bench_parts import applied, cable, done, namespace, opening, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not there"),
]


async def test_the_address_goes_to_whom_a_document_prefers_and_comes_back_with_a_revert(
    tmp_path: Path,
) -> None:
    """A priority that is written and not acted upon is found out when the first gateway dies."""
    async with namespace() as east, namespace() as west:
        await cable(east, "lan", west, "lan")
        adapters = {}
        for number, name in ((1, east), (2, west)):
            await done("ip", "-n", name, "addr", "add", f"10.0.0.{number}/24", "dev", "lan")
            parameters = keepalived(tmp_path / name / "keepalived")
            within = ("ip", "netns", "exec", name)
            adapters[name] = await opening("keepalived", tmp_path / name, parameters, within)()

        async def has(name: str) -> bool:
            return "10.0.0.100/24" in await done("ip", "-n", name, "-o", "addr", "show", "dev", "lan")

        async def only_east() -> bool:
            return await has(east) and not await has(west)

        async def only_west() -> bool:
            return await has(west) and not await has(east)

        await applied(adapters[east], group(100), "1")
        await applied(adapters[west], group(50), "1")
        await until(only_east)
        await adapters[west].confirm("1")
        await applied(adapters[west], group(200), "2")
        await until(only_west)
        await adapters[west].revert("2")
        await until(only_east)
