"""What one site does with the frames of a chain: a pure function from chain and living instances to rules.

Positions are numbered along the chain: 0 is its source, 1 to H its hops, H + 1 its target. A frame that
leaves position p *forward* goes to the next position after p that has a living instance; in *reverse* to
the one before.

All sites compute the same buckets from the flow's symmetric hash, so both directions of a flow meet the same
instances, in opposite order. Every instance of a hop, dead or alive, on whichever site, owns an equal
share of buckets, in the chain's order; the share of a dead one is divided among the living. So a death
moves the flows of the dead instance and no others, and its successor gets back what it had: stateful
functions keep their connections.

Between two sites runs one VXLAN tunnel per (destination position, direction). What a frame is to do next is
thus known from the tunnel it comes in by, and nothing is added to the frame. A frame out of a tunnel is only
delivered to local instances or passed on to a *later* position (`fail_open`), never sent back: two sites that
disagree for a moment about who lives cannot make a loop.

Limits: the hash is seeded per kernel; sites on different kernels would need `jhash` with a fixed seed over
both orders of the tuple, so all sites of a chain are taken to share one kernel. Fragments carry no ports and
hash by addresses alone, apart from the whole packets of their flow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import combinations
from math import factorial

from farsite.model.deployment import Chain, ChainInstance
from farsite.model.ids import VimId, VnfcId

SHARE = 60
"""Buckets that each instance of a hop owns; divisible among up to six survivors without remainder."""


class Direction(StrEnum):
    """Along the chain, or back."""

    FORWARD = "forward"
    REVERSE = "reverse"


@dataclass(frozen=True, slots=True)
class PortDevice:
    """The host-side end of a VNFC's port."""

    vnfc_id: VnfcId
    port: str


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The end here of the tunnel to `peer` for frames towards a position. Both ends send and receive."""

    position: int
    direction: Direction
    peer: VimId


Device = PortDevice | Tunnel


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the frame out of a device. `counted` names the instance that gets it, on its own site only,
    so that the counters of all sites can be added."""

    device: Device
    counted: tuple[int, VnfcId, Direction] | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The hop has no living instance and fails closed, or the frame came for nobody here."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Choose by the flow's symmetric hash, scaled to the number of buckets."""

    buckets: tuple["Action", ...]


Action = Deliver | Drop | Spread


class Match(StrEnum):
    """Which frames of a device are the chain's."""

    CLASSIFIED = "classified"
    """Those of the classifier (mirrored in reverse); all others go their normal way."""
    PAYLOAD = "payload"
    """All that the classifier's ether types admit; others are dropped. For ports of instances, which see
    nothing but the chain's frames and may have changed addresses."""
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What to do with matching frames that come in by a device."""

    device: Device
    direction: Direction
    match: Match
    action: Action


def vims_of(chain: Chain) -> tuple[VimId, ...]:
    """Every VIM that the chain touches, sorted."""
    instances = {instance.vim_id for hop in chain.hops for instance in hop.instances}
    return tuple(sorted(instances | {chain.source.vim_id, chain.target.vim_id}))


def vnis_needed(hops: int, vims: int) -> int:
    """VXLAN ids to reserve for a chain: (hops + 1) x 2 directions x pairs of VIMs."""
    return (hops + 1) * 2 * (vims * (vims - 1) // 2)


def vni_index(chain: Chain, position: int, direction: Direction, pair: Iterable[VimId]) -> int:
    """Which of the chain's VXLAN ids (from `vni_first`) the tunnel of a pair of VIMs has.

    The same on both ends. Destinations forward are positions 1 to H + 1, in reverse 0 to H.
    """
    pairs = list(combinations(vims_of(chain), 2))
    segment = position - 1 if direction is Direction.FORWARD else position
    lane = segment * 2 + (0 if direction is Direction.FORWARD else 1)
    first, second = sorted(pair)
    return lane * len(pairs) + pairs.index((first, second))


def tunnels(chain: Chain, here: VimId) -> tuple[Tunnel, ...]:
    """Tunnels that a site keeps for a chain: those whose one end may send to an instance at the other.

    They depend on where instances stand, not on who lives: a re-steer makes no devices.
    """
    found: list[Tunnel] = []
    for peer in vims_of(chain):
        if peer == here:
            continue
        for direction in Direction:
            for position in _destinations(chain, direction):
                senders = _before(chain, position, direction)
                sends = _stands(chain, position, peer) and any(_stands(chain, p, here) for p in senders)
                gets = _stands(chain, position, here) and any(_stands(chain, p, peer) for p in senders)
                if sends or gets:
                    found.append(Tunnel(position, direction, peer))
    return tuple(found)


def rules(chain: Chain, here: VimId, alive: frozenset[VnfcId]) -> tuple[Entry, ...]:
    """Every rule of the site `here`, given the living instances of all sites."""
    entries: list[Entry] = []
    last = len(chain.hops) + 1

    def entry(device: Device, direction: Direction, match: Match, action: Action) -> None:
        entries.append(Entry(device=device, direction=direction, match=match, action=action))

    for position, direction in ((0, Direction.FORWARD), (last, Direction.REVERSE)):
        end = chain.source if position == 0 else chain.target
        if end.vim_id == here:
            action = _next(chain, here, alive, position, direction)
            entry(PortDevice(end.vnfc_id, end.port), direction, Match.CLASSIFIED, action)
    for position, hop in enumerate(chain.hops, start=1):
        onward = _next(chain, here, alive, position, Direction.FORWARD)
        back = _next(chain, here, alive, position, Direction.REVERSE)
        for instance in hop.instances:
            if instance.vim_id == here:
                egress = PortDevice(instance.vnfc_id, instance.egress_port)
                ingress = PortDevice(instance.vnfc_id, instance.ingress_port)
                entry(egress, Direction.FORWARD, Match.PAYLOAD, onward)
                entry(ingress, Direction.REVERSE, Match.PAYLOAD, back)
    for tunnel in tunnels(chain, here):
        arrived = _arrive(chain, here, alive, tunnel.position, tunnel.direction)
        entry(tunnel, tunnel.direction, Match.ALL, arrived)
    return tuple(entries)


def _destinations(chain: Chain, direction: Direction) -> range:
    return range(1, len(chain.hops) + 2) if direction is Direction.FORWARD else range(len(chain.hops) + 1)


def _before(chain: Chain, position: int, direction: Direction) -> range:
    """Positions that a frame may come from: with `fail_open` hops between may be bypassed."""
    if direction is Direction.FORWARD:
        return range(0 if chain.fail_open else position - 1, position)
    return range(position + 1, len(chain.hops) + 2 if chain.fail_open else position + 2)


def _stands(chain: Chain, position: int, vim: VimId) -> bool:
    if position == 0:
        return chain.source.vim_id == vim
    if position == len(chain.hops) + 1:
        return chain.target.vim_id == vim
    return any(instance.vim_id == vim for instance in chain.hops[position - 1].instances)


def _living(chain: Chain, position: int, alive: frozenset[VnfcId]) -> Sequence[ChainInstance]:
    return [each for each in chain.hops[position - 1].instances if each.vnfc_id in alive]


def _next(chain: Chain, here: VimId, alive: frozenset[VnfcId], position: int, direction: Direction) -> Action:
    """Where a frame goes that leaves a position."""
    step = 1 if direction is Direction.FORWARD else -1
    while True:
        position += step
        if position in (0, len(chain.hops) + 1):
            return _to_end(chain, here, position, direction)
        chosen = _choose(chain, position, alive)
        if chosen:
            return _spread_over(chosen, here, position, direction)
        if not chain.fail_open:
            return Drop()


def _arrive(
    chain: Chain, here: VimId, alive: frozenset[VnfcId], position: int, direction: Direction
) -> Action:
    """Where a frame goes that came out of a tunnel towards a position."""
    if position in (0, len(chain.hops) + 1):
        end = chain.source if position == 0 else chain.target
        return _to_end(chain, here, position, direction) if end.vim_id == here else Drop()
    local = [each for each in _living(chain, position, alive) if each.vim_id == here]
    if not local:
        # The sender believes in an instance here that has died. It will learn; until then the policy rules.
        return _next(chain, here, alive, position, direction) if chain.fail_open else Drop()
    chosen = _choose(chain, position, alive)
    survivors = _choose(chain, position, frozenset(each.vnfc_id for each in local))
    delivered = [
        each if each.vim_id == here else other for each, other in zip(chosen, survivors, strict=True)
    ]
    return _spread_over(delivered, here, position, direction)


def _choose(chain: Chain, position: int, alive: frozenset[VnfcId]) -> list[ChainInstance]:
    """The living instance of each bucket of a hop; empty when none lives."""
    instances = chain.hops[position - 1].instances
    if not any(each.vnfc_id in alive for each in instances):
        return []
    return [
        instances[number]
        for number in _servers(len(instances), tuple(each.vnfc_id in alive for each in instances))
    ]


@lru_cache(maxsize=256)
def _servers(count: int, is_alive: tuple[bool, ...]) -> tuple[int, ...]:
    """Number of the instance that serves each bucket; at least one lives."""
    return tuple(
        next(number for number in _preferences(count, owner, part) if is_alive[number])
        for owner in range(count)
        for part in range(SHARE)
    )


def _preferences(count: int, owner: int, part: int) -> Iterator[int]:
    """Who serves one part of an owner's share, best first: the owner, then the others in an order of the
    part's own.

    The parts go through the permutations of the others evenly and in lexical order, so every other gets its
    equal piece of a dead one's share, and neighbouring parts mostly agree. Who is dead plays no role in
    the order: that is why a death moves nothing but the flows of the dead.
    """
    yield owner
    others = [number % count for number in range(owner + 1, owner + count)]
    permutations = factorial(len(others))
    rank = part * permutations // SHARE
    while others:
        permutations //= len(others)
        index, rank = divmod(rank, permutations)
        yield others.pop(index)


def _to_instance(instance: ChainInstance, here: VimId, position: int, direction: Direction) -> Action:
    if instance.vim_id != here:
        return Deliver(Tunnel(position, direction, instance.vim_id))
    port = instance.ingress_port if direction is Direction.FORWARD else instance.egress_port
    return Deliver(PortDevice(instance.vnfc_id, port), counted=(position, instance.vnfc_id, direction))


def _to_end(chain: Chain, here: VimId, position: int, direction: Direction) -> Action:
    end = chain.source if position == 0 else chain.target
    if end.vim_id != here:
        return Deliver(Tunnel(position, direction, end.vim_id))
    return Deliver(PortDevice(end.vnfc_id, end.port))


def _spread_over(chosen: Sequence[ChainInstance], here: VimId, position: int, direction: Direction) -> Action:
    actions = {each.vnfc_id: _to_instance(each, here, position, direction) for each in chosen}
    buckets = tuple(actions[each.vnfc_id] for each in chosen)
    return buckets[0] if all(each == buckets[0] for each in buckets) else Spread(buckets)


def considered_alive(chain: Chain, states: Mapping[VnfcId, str]) -> frozenset[VnfcId]:
    """Instances to steer to, given each one's state: `up`, `suspect` (its process lives but its data path
    is silent) or `down`.

    A hop that fails closed and has only suspects keeps them: to drop everything helps nobody, and
    the suspicion may come from a host without time to spare.
    """
    alive: set[VnfcId] = set()
    for hop in chain.hops:
        up = {each.vnfc_id for each in hop.instances if states.get(each.vnfc_id, "up") == "up"}
        suspects = {each.vnfc_id for each in hop.instances if states.get(each.vnfc_id) == "suspect"}
        alive |= up or (set[VnfcId]() if chain.fail_open else suspects)
    return frozenset(alive)
