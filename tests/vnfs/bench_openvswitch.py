"""Open vSwitch with a database of its own, switching in user space between the cables of a namespace."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


@contextlib.asynccontextmanager
async def openvswitch(switch: str, directory: Path) -> AsyncIterator[Mapping[str, str]]:
    """Open vSwitch in a namespace; the adapter's parameters for it."""
    directory.mkdir(parents=True)
    within = ("ip", "netns", "exec", switch, "env", f"OVS_RUNDIR={directory}")
    database = f"unix:{directory}/db"
    common = ("--detach", "--no-chdir")
    await done("ovsdb-tool", "create", str(directory / "conf.db"), str(SCHEMA))
    await done(
        *(*within, "ovsdb-server", str(directory / "conf.db"), f"--remote=p{database}", *common),
        *(f"--pidfile={directory}/db.pid", f"--unixctl={directory}/db.ctl"),
        f"--log-file={directory}/db.log",
    )
    await done("ovs-vsctl", f"--db={database}", "--no-wait", "init")
    await done(
        *(*within, "ovs-vswitchd", database, *common, f"--pidfile={directory}/switch.pid"),
        *(f"--unixctl={directory}/switch.ctl", f"--log-file={directory}/switch.log"),
    )
    try:
        yield {"database": database, "directory": str(directory / "farsite"), "datapath": "netdev"}
    finally:
        for name in ("switch", "db"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int((directory / f"{name}.pid").read_text()), signal.SIGKILL)


def switching(vlan_id: int, trunk: tuple[int, ...], *more: Mapping[str, object]) -> Configuration:
    ports = [
        {"name": "one", "vlan_id": vlan_id},
        {"name": "two", "trunk_vlan_ids": list(trunk)},
        {"name": "inside", "is_internal": True},
        *more,
    ]
    return document(switch={"bridges": [{"name": "access", "ports": ports}, {"name": "spare"}]})


@contextlib.asynccontextmanager
async def openvswitch_switch(directory: Path) -> AsyncIterator[Subject]:
    async with (
        namespace() as switch,
        namespace() as around,
        openvswitch(switch, directory / "ovs") as parameters,
    ):
        for port in ("one", "two", "three"):
            await cable(switch, port, around, port)
        vsctl = ("ovs-vsctl", f"--db={parameters['database']}")
        await done(*vsctl, "add-br", "somebody", "--", "set", "bridge", "somebody", "datapath_type=netdev")

        async def meddle() -> None:
            await done(*vsctl, "set", "port", "one", "tag=77")

        yield subject(
            "openvswitch",
            directory,
            parameters,
            ("ip", "netns", "exec", switch),
            good=switching(10, (10, 20)),
            other=switching(20, (), {"name": "three", "vlan_id": 30}),
            wrong=switching(10, (10, 20), {"name": "nothere"}),
            meddle=meddle,
        )
