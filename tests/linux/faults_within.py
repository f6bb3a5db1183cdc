"""Faults of functions and of the machines of Linux sites, and as what each has to be told."""

import os
import signal
from collections.abc import Callable
from typing import Any

from every_fault import Fault, Struck
from fault_world import HEARTBEAT, LOOK, LOST, World
from linux_lab import inside

# -- functions -----------------------------------------------------------------------------------------------


def of_vnfc(alarm: str, kind: str, **settings: object) -> Callable[[World], Struck]:
    """What happens to one VNFC of the simulated VIM."""

    def strike(world: World) -> Struck:
        vnf = world.next_spared()
        world.inject("sim", kind, world.vnfc(vnf)["vnfc_id"], **settings)
        return Struck(told={(alarm, vnf)}, around=[vnf], vnfs=[vnf])

    return strike


def removed(world: World) -> Struck:
    (vnf,) = world.vnfs["filed"]
    world.removed_past_us("filed", vnf)
    return Struck(told={("vnfc-died", vnf)}, around=[vnf], vnfs=[vnf])


def inspector(world: World) -> tuple[str, int]:
    """A function of the chain that another stands beside, and the process that it is."""
    vnf = world.linux.vnfs["inspector"]
    resources = world.ask("GET", f"/vnfs/{vnf}")["resources"]
    living = {name: pid for site in world.linux.sites.values() for name, pid in site.functions().items()}
    of_it = [one["vnfc_id"] for one in resources if one["kind"] == "COMPUTE" and one["vnfc_id"] in living]
    return vnf, int(living[of_it[0]])


def killed(world: World) -> Struck:
    vnf, pid = inspector(world)
    os.kill(pid, signal.SIGKILL)
    return _of_inspector(world, "vnfc-died", vnf)


def stopped(world: World) -> Struck:
    vnf, pid = inspector(world)
    os.kill(pid, signal.SIGSTOP)
    return _of_inspector(world, "vnfc-datapath-lost", vnf)


def unlinked(world: World) -> Struck:
    vnf, pid = inspector(world)
    inside(pid, "found = links.Links(); found.set_down(found.index('egress'))")
    return _of_inspector(world, "vnfc-link-down", vnf)


def _of_inspector(world: World, alarm: str, vnf: str) -> Struck:
    return Struck(told={(alarm, vnf)}, around=world.around(*world.linux.sites), vnfs=[vnf])


def unwell(world: World) -> Struck:
    world.appliance.file.with_name("text.unwell").touch()
    return Struck(told={("function-unwell", world.function)}, vnfs=[world.function])


def drifted(world: World) -> Struck:
    world.appliance.file.write_text("by hand\n")
    return Struck(told={("configuration-drifted", world.function)}, vnfs=[world.function])


def out_of_reach(world: World) -> Struck:
    world.stop_broker()
    return Struck(told={("function-silent", world.function)}, vnfs=[world.function])


EVENT, PROBE, WATCH = "the site's event", "the probe of the data path", "a look into the function"
_OF_CHAIN = ("vnf-down", "path-broken", "ns-down", "vim-degraded")
FUNCTIONS = (
    Fault(row="F-42", what="a VNFC dies", by="event", strike=of_vnfc("vnfc-died", "kill_vnfc"), may=LOST),
    Fault(
        row="F-42",
        what="a VNFC hangs",
        by="event",
        strike=of_vnfc("vnfc-datapath-lost", "hang_vnfc", cured_by="reboot_hard"),
        may=LOST,
    ),
    Fault(
        row="F-14",
        what="a VNFC passes no packets",
        by="event",
        strike=of_vnfc("vnfc-datapath-lost", "datapath_lost"),
        mend=lambda world: world.mended("sim"),
        may=LOST,
    ),
    Fault(
        row="F-44",
        what="a port of a VNFC has no link",
        by="event",
        strike=of_vnfc("vnfc-link-down", "link_down"),
        mend=lambda world: world.mended("sim"),
        may=LOST,
    ),
    Fault(
        row="F-35",
        what="somebody deletes a server past us",
        by="a look at what stands",
        strike=removed,
        may=LOST,
    ),
    Fault(row="F-42", what="a function's process is killed", by=EVENT, strike=killed, may=_OF_CHAIN),
    Fault(
        row="F-43",
        what="a function's process is stopped, so that it lives and serves nobody",
        by=PROBE,
        strike=stopped,
        may=_OF_CHAIN,
    ),
    Fault(
        row="F-44",
        what="an interface of a function is taken down",
        by=EVENT,
        strike=unlinked,
        may=(*_OF_CHAIN, "vnfc-datapath-lost"),
    ),
    Fault(
        row="F-43",
        what="a service of a function does not work",
        by=WATCH,
        strike=unwell,
        mend=lambda world: world.appliance.file.with_name("text.unwell").unlink(),
    ),
    Fault(
        row="F-35",
        what="somebody changes the configuration of a function",
        by=WATCH,
        strike=drifted,
        mend=lambda world: world.appliance.file.write_text("managed\n"),
    ),
    Fault(
        row="F-13",
        what="the inside of a function cannot be reached any more",
        by=WATCH,
        strike=out_of_reach,
        mend=lambda world: world.start_broker(),
    ),
)


# -- machines ------------------------------------------------------------------------------------------------


def of_north(alarm: str, do: Callable[[Any], None], *, is_of_host: bool = True) -> Callable[[World], Struck]:
    """What happens to the machine in the north, through which every packet of the chain passes."""

    def strike(world: World) -> Struck:
        host = world.linux.host("north")["host"]
        do(world.linux.sites["north"])
        vim = world.ids["north"]
        told = (alarm, f"{vim}/{host}" if is_of_host else vim)
        return Struck(told={told}, around=world.around(*world.linux.sites))

    return strike


def without_power(world: World) -> Struck:
    firewall = world.linux.vnfs["firewall"]
    lost = of_north("host-down", lambda north: north.lose_power())(world)
    return Struck(told={*lost.told, ("vnfc-died", firewall)}, around=lost.around, vnfs=[firewall])


_SILENT = ("vim-unreachable", "vim-degraded", "compute-service-down", "control-service-down")
MACHINES = (
    Fault(
        row="F-01",
        what="the agent of a site is killed and does not come back",
        by=LOOK,
        strike=of_north("compute-service-down", lambda north: north.kill_agent_for_good()),
        mend=lambda world: world.linux.sites["north"].come_back(),
        may=_SILENT,
    ),
    Fault(
        row="F-02",
        what="the agent of a site is frozen, and those that take its place",
        by=LOOK,
        strike=of_north("compute-service-down", lambda north: north.freeze_agents()),
        mend=lambda world: world.linux.sites["north"].thaw_agents(),
        may=_SILENT,
    ),
    Fault(
        row="F-14",
        what="the data plane of a machine is cut, its management is not",
        by="its neighbours",
        strike=of_north("host-data-plane-down", lambda north: north.cut_data()),
        mend=lambda world: world.linux.sites["north"].mend_data(),
        may=(*_OF_CHAIN, "vnfc-datapath-lost"),
    ),
    Fault(
        row="F-13",
        what="the management of a machine is cut, its data plane is not",
        by=HEARTBEAT,
        strike=of_north("vim-unreachable", lambda north: north.cut_management(), is_of_host=False),
        mend=lambda world: world.linux.sites["north"].mend_management(),
        may=_SILENT,
    ),
    Fault(
        row="F-40",
        what="a machine loses its power",
        by=LOOK,
        strike=without_power,
        mend=lambda world: world.linux.sites["north"].come_back(),
        may=(*LOST, *_SILENT, "vnfc-datapath-lost", "host-data-plane-down"),
    ),
)
