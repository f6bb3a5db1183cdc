"""The adapter of Open vSwitch, as machines see it that are plugged into its ports."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from bench_openvswitch import openvswitch
from bench_parts import applied, cable, document, done, namespace, opening

from farsite.model.configuration import Configuration

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="ovs-vswitchd is not there"),
    pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not there"),
]


def access(**vlan_ids: int) -> Configuration:
    ports = [{"name": name, "vlan_id": vlan_id} for name, vlan_id in vlan_ids.items()]
    return document(switch={"bridges": [{"name": "access", "ports": ports}]})


async def test_machines_hear_those_of_their_vlan_and_a_revert_parts_them_again(tmp_path: Path) -> None:
    """A port in the wrong VLAN lets somebody else's packets in; nobody notices by looking at names."""
    async with (
        namespace() as switch,
        namespace() as first,
        namespace() as second,
        openvswitch(switch, tmp_path / "ovs") as parameters,
    ):
        for number, (port, machine) in enumerate((("one", first), ("two", second)), 1):
            await cable(switch, port, machine, "eth0")
            await done("ip", "-n", machine, "addr", "add", f"10.0.0.{number}/24", "dev", "eth0")
        device = opening("openvswitch", tmp_path, parameters, ("ip", "netns", "exec", switch))
        adapter = await device()

        async def is_heard() -> bool:
            process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", first, "ping", "-q", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.2"),
                stdout=asyncio.subprocess.DEVNULL,
            )
            return await process.wait() == 0

        await applied(adapter, access(one=10, two=20), "1")
        await adapter.confirm("1")
        assert not await is_heard()
        await applied(adapter, access(one=10, two=10), "2")
        assert await is_heard()
        assert [one.said for one in await adapter.health() if not one.is_well] == []
        await adapter.revert("2")
        assert not await is_heard()


async def test_a_bridge_that_is_not_ours_is_neither_taken_nor_touched(tmp_path: Path) -> None:
    """On a hypervisor the other bridges carry everything that runs there."""
    async with namespace() as switch, openvswitch(switch, tmp_path / "ovs") as parameters:
        vsctl = ("ovs-vsctl", f"--db={parameters['database']}")
        await done(*vsctl, "add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev")
        device = opening("openvswitch", tmp_path, parameters, ("ip", "netns", "exec", switch))
        adapter = await device()
        await applied(adapter, document(switch={"bridges": [{"name": "ours"}]}), "1")
        await adapter.confirm("1")
        with pytest.raises(Exception, match="theirs already exists"):
            await applied(adapter, document(switch={"bridges": [{"name": "theirs"}]}), "2")
        await applied(adapter, document(switch={"bridges": []}), "3")

        assert await done(*vsctl, "list-br") == "theirs\n"
