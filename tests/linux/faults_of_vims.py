"""Faults of VIMs, of their hosts and of what controls them, and as what each has to be told."""

import time
from collections.abc import Callable

from every_fault import Fault, Struck
from fault_world import HEARTBEAT, LOOK, LOST, QUIET, World

from vims_openstack.small_cloud import Answer, as_json, page

# -- VIMs as they are reached --------------------------------------------------------------------------------


def lost_vim(world: World, *vims: str) -> Struck:
    return Struck(told={("vim-unreachable", world.ids[vim]) for vim in vims}, around=world.around(*vims))


def on_simulated(kind: str, target: str = "", **settings: object) -> Callable[[World], Struck]:
    def strike(world: World) -> Struck:
        world.inject("sim", kind, target, **settings)
        return lost_vim(world, "sim")

    return strike


def say(words: str, vim: str, alarm: str = "vim-unreachable") -> Callable[[World], Struck]:
    def strike(world: World) -> Struck:
        world.say(words)
        return Struck(told={(alarm, world.ids[vim])}, around=world.around(vim))

    return strike


def answers(alarm: str, *paths: str, answer: Answer | Callable[[], Answer]) -> Callable[[World], Struck]:
    def strike(world: World) -> Struck:
        world.answers |= dict.fromkeys(paths, answer)
        return Struck(told={(alarm, world.ids["small"])}, around=world.around("small"))

    return strike


def answers_well(world: World) -> None:
    world.answers.clear()
    world.answers |= QUIET
    world.hosts_are()


def hangs() -> Answer:
    time.sleep(5)
    return as_json({})


def expires(world: World) -> Struck:
    """New connections are shown the certificate whose time is over; those that are open end."""
    world.tls.load_cert_chain(world.directory / "old" / "server.pem")
    world.certified.cut()
    return lost_vim(world, "certified")


def is_renewed(world: World) -> None:
    world.tls.load_cert_chain(world.directory / "server.pem")


KEYSTONE, TOKENS = "HEAD /v3/auth/tokens", "POST /v3/auth/tokens"
HEAT = "GET /heat/v1/p1/build_info"
REFUSED = as_json(
    {"error": {"code": 401, "title": "Unauthorized", "message": "The request you made..."}}, 401
)

REACHED = (
    Fault(
        row="F-10",
        what="a simulated VIM is cut off",
        by=HEARTBEAT,
        strike=on_simulated("partition"),
        mend=lambda world: world.mended("sim"),
    ),
    Fault(
        row="F-15",
        what="a simulated VIM answers after half a minute",
        by=HEARTBEAT,
        strike=on_simulated("answer_delay_s", seconds=30),
        mend=lambda world: world.mended("sim"),
    ),
    Fault(
        row="F-30",
        what="a simulated VIM answers with an error",
        by=HEARTBEAT,
        strike=on_simulated("error", "health", message="The database is gone."),
        mend=lambda world: world.mended("sim"),
    ),
    Fault(
        row="F-10",
        what="nobody listens any more at an OpenStack",
        by=HEARTBEAT,
        strike=say("lose 2 1", "cloud-2"),
        mend=lambda world: world.say("mend"),
    ),
    Fault(
        row="F-15",
        what="an OpenStack takes connections and answers nothing",
        by=HEARTBEAT,
        strike=say("hang 2 1", "cloud-2"),
        mend=lambda world: world.say("mend"),
    ),
    Fault(
        row="F-10",
        what="one of two paths to an OpenStack is cut",
        by=HEARTBEAT,
        strike=say("lose 1 1", "cloud-0", "vim-path-lost"),
        mend=lambda world: world.say("mend"),
    ),
    Fault(
        row="F-30",
        what="Keystone answers 503",
        by=HEARTBEAT,
        strike=answers("vim-unreachable", KEYSTONE, TOKENS, answer=(503, "text/plain", "")),
        mend=answers_well,
    ),
    Fault(
        row="F-30",
        what="Heat answers 500",
        by=HEARTBEAT,
        strike=answers("vim-unreachable", HEAT, answer=as_json({}, 500)),
        mend=answers_well,
    ),
    Fault(
        row="F-30",
        what="a proxy answers with a page in place of Heat",
        by=HEARTBEAT,
        strike=answers("vim-unreachable", HEAT, answer=page("502 Proxy Error")),
        mend=answers_well,
    ),
    Fault(
        row="F-30",
        what="Glance answers 500, alone of all services",
        by=HEARTBEAT,
        strike=answers("vim-degraded", "GET /glance/v2/images", answer=as_json({}, 500)),
        mend=answers_well,
    ),
    Fault(
        row="F-02",
        what="Nova hangs, alone of all services",
        by=HEARTBEAT,
        strike=answers("vim-degraded", "GET /nova/v2.1/flavors", answer=hangs),
        mend=answers_well,
    ),
    Fault(
        row="F-30",
        what="an answer of Neutron is cut in the middle",
        by=HEARTBEAT,
        strike=answers(
            "vim-degraded", "GET /neutron/v2.0/networks", answer=(200, "application/json", '{"netwo')
        ),
        mend=answers_well,
    ),
    Fault(
        row="F-30",
        what="Keystone refuses our credentials",
        by=HEARTBEAT,
        strike=answers("vim-unreachable", KEYSTONE, TOKENS, answer=REFUSED),
        mend=answers_well,
    ),
    Fault(
        row="F-19",
        what="the certificate of an OpenStack expires",
        by=HEARTBEAT,
        strike=expires,
        mend=is_renewed,
    ),
    Fault(
        row="F-60",
        what="both VIMs of a site are silent",
        by=HEARTBEAT,
        strike=lambda world: _halves(world),
        mend=lambda world: world.mended("one-half", "other-half"),
    ),
)


def _halves(world: World) -> Struck:
    for vim in ("one-half", "other-half"):
        world.inject(vim, "partition")
    lost = lost_vim(world, "one-half", "other-half")
    return Struck(told={*lost.told, ("site-down", "halved")}, around=lost.around)


# -- hosts and control planes --------------------------------------------------------------------------------


def of_host(alarm: str, kind: str, host: str) -> Callable[[World], Struck]:
    def strike(world: World) -> Struck:
        world.inject("sim", kind, host)
        return Struck(told={(alarm, f"{world.ids['sim']}/{host}")}, around=world.around("sim"))

    return strike


def hosts_lost(*numbers: int) -> Callable[[World], Struck]:
    """Hosts of the simulated VIM fail together, with what runs there."""

    def strike(world: World) -> Struck:
        hosts = [f"RegionOne-nova-host-{number}" for number in numbers]
        dead = [vnf for host in hosts for vnf in world.on_host("sim", host)]
        assert dead, "nothing stands on what is lost"
        for host in hosts:
            world.inject("sim", "host_down", host)
        lost = {("host-down", f"{world.ids['sim']}/{host}") for host in hosts}
        return Struck(told=lost | {("vnfc-died", vnf) for vnf in dead}, around=world.around("sim"), vnfs=dead)

    return strike


def all_hosts_lost(world: World) -> Struck:
    """Of a VIM that tells nothing of its hosts: what died there says it."""
    for number in (1, 2):
        world.inject("mute", "host_down", f"RegionOne-nova-host-{number}")
    dead = world.vnfs["mute"]
    told = {("vnfc-died", vnf) for vnf in dead} | {("zone-down", f"{world.ids['mute']}/nova")}
    return Struck(told=told, around=world.around("mute"), vnfs=dead)


def control_service(world: World) -> Struck:
    world.inject("sim", "service_down", "scheduler@control-1")
    return Struck(told={("control-service-down", world.ids["sim"])}, around=world.around("sim"))


def nova_compute(world: World) -> Struck:
    world.hosts_are(compute="down")
    return Struck(
        told={("compute-service-down", f"{world.ids['small']}/compute-1")}, around=world.around("small")
    )


def nova_scheduler(world: World) -> Struck:
    world.hosts_are(scheduler="down")
    return Struck(told={("control-service-down", world.ids["small"])}, around=world.around("small"))


HOSTS = (
    Fault(
        row="F-01",
        what="a copy of a control service of a simulated VIM stops",
        by=LOOK,
        strike=control_service,
        mend=lambda world: world.mended("sim"),
    ),
    Fault(
        row="F-01",
        what="nova-scheduler reports no more",
        by=LOOK,
        strike=nova_scheduler,
        mend=answers_well,
    ),
    Fault(
        row="F-36",
        what="Nova calls a host down on which another agent reports",
        by=LOOK,
        strike=nova_compute,
        mend=answers_well,
    ),
    Fault(
        row="F-36",
        what="the compute service of a simulated host reports no more",
        by=LOOK,
        strike=of_host("compute-service-down", "host_service_down", "RegionOne-nova-host-1"),
        mend=lambda world: world.mended("sim"),
    ),
    Fault(
        row="F-40",
        what="a host is lost with what runs there",
        by=LOOK,
        strike=hosts_lost(6),
        mend=lambda world: world.mended("sim"),
        may=LOST,
    ),
    Fault(
        row="F-41",
        what="the three hosts of a rack are lost",
        by=LOOK,
        strike=hosts_lost(1, 3, 5),
        mend=lambda world: world.mended("sim"),
        may=LOST,
    ),
    Fault(
        row="F-60",
        what="all hosts of a zone are lost, of which the VIM tells nothing",
        by="events",
        strike=all_hosts_lost,
        mend=lambda world: world.mended("mute"),
        may=LOST,
    ),
)
