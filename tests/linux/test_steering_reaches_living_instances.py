"""The steering rules of all sites together, walked packet by packet through every device.

The rules are a pure function, so any arrangement of instances over sites and any set of dead ones can be
tried without a kernel: what a walk shows here is what the netdev chains do.
"""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from farsite.model.deployment import Chain, ChainEnd, ChainHop, ChainInstance
from farsite.model.ids import VimId, VnfcId
from farsite.vims.drivers.linux.agent import steering
from farsite.vims.drivers.linux.agent.steering import (
    Action,
    Deliver,
    Direction,
    Drop,
    PortDevice,
    Spread,
    Tunnel,
)

VIMS = [VimId(name) for name in ("north", "south", "west")]
HASHES = range(0, 1 << 16, 1613)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    hops: list[ChainHop] = []
    for position in range(draw(st.integers(0, 3))):
        vims = draw(st.lists(st.sampled_from(VIMS), min_size=1, max_size=4))
        hops.append(
            ChainHop(
                name=f"hop{position}",
                instances=tuple(
                    ChainInstance(
                        vnfc_id=VnfcId(f"h{position}i{number}"),
                        vim_id=vim,
                        ingress_port="in",
                        egress_port="out",
                    )
                    for number, vim in enumerate(vims)
                ),
            )
        )
    return Chain(
        id="chain",
        owner="ns",
        revision=1,
        source=ChainEnd(vnfc_id=VnfcId("source"), vim_id=draw(st.sampled_from(VIMS)), port="p"),
        target=ChainEnd(vnfc_id=VnfcId("target"), vim_id=draw(st.sampled_from(VIMS)), port="p"),
        hops=tuple(hops),
        fail_open=draw(st.booleans()),
        vni_first=100,
        vni_count=200,
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Chain, frozenset[VnfcId]]:
    chain = draw(chains())
    ids = [instance.vnfc_id for hop in chain.hops for instance in hop.instances]
    return chain, frozenset(draw(st.sets(st.sampled_from(ids))) if ids else set())


@dataclass
class World:
    """Every site's rules, and who really lives (sites may be mistaken about that)."""

    chain: Chain
    views: dict[VimId, frozenset[VnfcId]]

    def __post_init__(self) -> None:
        self._actions: dict[tuple, list[Action]] = {}
        for vim in VIMS:
            for entry in steering.rules(self.chain, vim, self.views[vim]):
                key = (vim, entry.device, entry.direction)
                self._actions.setdefault(key, []).append(entry.action)

    def walk(self, flow: int, direction: Direction) -> tuple[str, list[VnfcId]]:
        """How the walk of one frame ends (`delivered`, `dropped`) and the instances it visits."""
        chain = self.chain
        start, end = (
            (chain.source, chain.target) if direction is Direction.FORWARD else (chain.target, chain.source)
        )
        here, device = start.vim_id, PortDevice(start.vnfc_id, start.port)
        visited: list[VnfcId] = []
        for _ in range(50):
            action = resolve(self._action(here, device, direction), flow)
            match action:
                case Drop():
                    return "dropped", visited
                case Deliver(Tunnel(position, towards, peer)):
                    assert peer != here
                    here, device = peer, Tunnel(position, towards, here)
                case Deliver(PortDevice(vnfc_id, _)) if vnfc_id == end.vnfc_id:
                    assert here == end.vim_id
                    return "delivered", visited
                case Deliver(PortDevice(vnfc_id, port)):
                    assert vnfc_id in self.views[here], "a frame reached an instance its site knows dead"
                    visited.append(vnfc_id)
                    device = PortDevice(vnfc_id, {"in": "out", "out": "in"}[port])
                case Spread():
                    raise AssertionError("resolved actions are leaves")
        raise AssertionError(f"the frame runs in a loop: {visited}")

    def _action(self, here: VimId, device: steering.Device, direction: Direction) -> Action:
        found = self._actions.get((here, device, direction), [])
        assert len(found) == 1, f"{here} has {len(found)} rules for {device}"
        return found[0]


def resolve(action: Action, flow: int) -> Action:
    """The leaf that a flow's 16-bit hash leads to, scaled to the buckets as the kernel does."""
    while isinstance(action, Spread):
        action = action.buckets[flow * len(action.buckets) >> 16]
    return action


def agreeing(chain: Chain, alive: frozenset[VnfcId]) -> World:
    return World(chain, dict.fromkeys(VIMS, alive))


def hop_number(vnfc_id: VnfcId) -> int:
    return int(vnfc_id[1])


@given(situations())
def test_every_flow_visits_one_living_instance_of_each_hop_in_order(situation) -> None:
    """This is what a chain is: in order, complete, and never through the dead."""
    chain, alive = situation
    dead_hops = [
        number
        for number, hop in enumerate(chain.hops)
        if not any(instance.vnfc_id in alive for instance in hop.instances)
    ]
    world = agreeing(chain, alive)
    for flow in HASHES:
        end, visited = world.walk(flow, Direction.FORWARD)
        expected = [number for number in range(len(chain.hops)) if number not in dead_hops]
        if dead_hops and not chain.fail_open:
            assert end == "dropped"
            assert [hop_number(each) for each in visited] == list(range(dead_hops[0]))
        else:
            assert end == "delivered"
            assert [hop_number(each) for each in visited] == expected


@given(situations())
def test_the_way_back_meets_the_same_instances_in_opposite_order(situation) -> None:
    """Stateful functions drop what they have not seen begin; without symmetry no connection lives."""
    chain, alive = situation
    world = agreeing(chain, alive)
    for flow in HASHES:
        end, there = world.walk(flow, Direction.FORWARD)
        end_back, back = world.walk(flow, Direction.REVERSE)
        assert end == end_back
        if end == "delivered":
            assert there == back[::-1]


@given(situations())
def test_the_flows_of_a_hop_reach_all_its_living_instances(situation) -> None:
    """An instance that gets no flow is capacity paid for and not used."""
    chain, alive = situation
    visited: set[VnfcId] = set()
    world = agreeing(chain, alive)
    for flow in range(0, 1 << 16, 509):
        end, there = world.walk(flow, Direction.FORWARD)
        if end == "dropped":
            return
        visited |= set(there)
    assert visited == alive


@given(situations(), st.data())
def test_a_death_moves_the_flows_of_the_dead_instance_and_no_others(situation, data: st.DataObject) -> None:
    """A connection that has nothing to do with the fault must not notice it, nor the recovery from it."""
    chain, alive = situation
    if not alive:
        return
    dead = data.draw(st.sampled_from(sorted(alive)))
    before, after = agreeing(chain, alive), agreeing(chain, alive - {dead})
    hop = next(hop for hop in chain.hops if any(each.vnfc_id == dead for each in hop.instances))
    is_last = not any(each.vnfc_id in alive - {dead} for each in hop.instances)
    for flow in HASHES:
        end, visited = before.walk(flow, Direction.FORWARD)
        if end == "delivered" and dead not in visited and not is_last:
            assert after.walk(flow, Direction.FORWARD) == ("delivered", visited)


@given(st.integers(2, 6), st.data())
def test_the_flows_of_a_dead_instance_are_divided_evenly(count: int, data: st.DataObject) -> None:
    """Survivors that are loaded unevenly are the next to fall."""
    names = [VnfcId(f"h0i{number}") for number in range(count)]
    alive = frozenset(data.draw(st.sets(st.sampled_from(names), min_size=1)))
    instances = tuple(
        ChainInstance(vnfc_id=name, vim_id=VIMS[0], ingress_port="in", egress_port="out") for name in names
    )
    source, target = (
        ChainEnd(vnfc_id=VnfcId(name), vim_id=VIMS[0], port="p") for name in ("source", "target")
    )
    hops = (ChainHop(name="hop", instances=instances),)
    chain = Chain(id="c", owner="n", revision=1, hops=hops, source=source, target=target)
    action = steering.rules(chain, VIMS[0], alive)[0].action
    buckets = action.buckets if isinstance(action, Spread) else (action,)
    loads = [buckets.count(each) for each in set(buckets)]
    assert len(loads) == len(alive)
    fair = steering.SHARE * count / len(alive) if len(buckets) > 1 else 1
    assert 0.75 * fair <= min(loads) <= max(loads) <= 1.25 * fair


@given(chains(), st.data())
def test_sites_that_disagree_about_who_lives_never_make_a_loop(chain: Chain, data: st.DataObject) -> None:
    """For some milliseconds after a death every site has its own opinion; frames may be lost, never loop."""
    ids = [instance.vnfc_id for hop in chain.hops for instance in hop.instances]
    subsets = st.frozensets(st.sampled_from(ids)) if ids else st.just(frozenset())
    world = World(chain, {vim: data.draw(subsets) for vim in VIMS})
    for flow in HASHES:
        for direction in Direction:
            _, visited = world.walk(flow, direction)
            numbers = [hop_number(each) for each in visited]
            assert len(set(numbers)) == len(numbers)
            assert numbers == sorted(numbers, reverse=direction is Direction.REVERSE)


@given(chains())
def test_each_tunnel_has_a_vxlan_id_of_its_own_within_the_reserved_block(chain: Chain) -> None:
    """Two tunnels of one id on a site would mix segments, and an id beyond the block another chain's."""
    needed = steering.vnis_needed(len(chain.hops), len(steering.vims_of(chain)))
    used: dict[VimId, set[int]] = {}
    for vim in steering.vims_of(chain):
        for tunnel in steering.tunnels(chain, vim):
            index = steering.vni_index(chain, tunnel.position, tunnel.direction, (vim, tunnel.peer))
            assert 0 <= index < needed
            assert index not in used.setdefault(vim, set())
            used[vim].add(index)
            mirrored = Tunnel(tunnel.position, tunnel.direction, vim)
            assert mirrored in steering.tunnels(chain, tunnel.peer)


@given(situations(), st.data())
def test_suspects_carry_a_closed_hop_only_when_nobody_else_can(situation, data: st.DataObject) -> None:
    """A probe may be wrong on a busy host: to drop everything on suspicion would be worse than the doubt."""
    chain, up = situation
    ids = [instance.vnfc_id for hop in chain.hops for instance in hop.instances]
    states = {each: "up" if each in up else data.draw(st.sampled_from(["suspect", "down"])) for each in ids}
    alive = steering.considered_alive(chain, states)
    for hop in chain.hops:
        of_hop = {instance.vnfc_id for instance in hop.instances}
        if of_hop & up or chain.fail_open:
            assert alive & of_hop == of_hop & up
        else:
            assert alive & of_hop == {each for each in of_hop if states[each] == "suspect"}
