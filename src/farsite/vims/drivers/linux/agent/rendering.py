"""From steering to nftables: entries, actions and classifiers as rules of expressions."""

import ipaddress
from collections.abc import Callable

from farsite.model.deployment import Chain
from farsite.model.nsd import Classifier
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import nft
from farsite.vims.drivers.linux.agent.datapath import ETHER_TYPE
from farsite.vims.drivers.linux.agent.steering import (
    Action,
    Deliver,
    Device,
    Direction,
    Drop,
    Entry,
    Match,
    Spread,
)

_ETHER_TYPES = {"ipv4": 0x0800, "ipv6": 0x86DD, "arp": 0x0806}
_PROTOCOLS = {"tcp": (6,), "udp": (17,), "sctp": (132,), "icmp": (1, 58), "icmpv6": (58,)}
_WITH_PORTS = (6, 17, 132)
_ICMPV6 = 58


class Renderer:
    """Renders the entries of one chain. What is spread over buckets becomes a chain to go to, in `chains`."""

    def __init__(self, chain: Chain, index: Callable[[Device], int]) -> None:
        """`index` gives a device's interface index, 0 when it is not there: frames for it are dropped."""
        self._chain = chain
        self._index = index
        self._names: dict[int, str] = {}
        self.chains: dict[str, list[bytes]] = {}

    def entry(self, entry: Entry, is_shared: bool) -> list[bytes]:
        """Rules of a device's ingress chain. `is_shared`: another chain passes the same port, so that only
        the classifier tells whose a frame is."""
        action = self._action(entry.action)
        classifier = self._chain.classifier
        match entry.match:
            case Match.ALL:
                return [action]
            case Match.CLASSIFIED:
                exceptions = [] if "arp" in classifier.ether_types else _neighbour_traffic(nft.accept())
                return exceptions + [each + action for each in variants(classifier, entry.direction)]
            case Match.PAYLOAD if is_shared:
                return [each + action for each in variants(classifier, entry.direction)]
            case Match.PAYLOAD:
                exceptions = [] if "arp" in classifier.ether_types else _neighbour_discovery(nft.drop())
                admitted = [nft.ether_type(_ETHER_TYPES[name]) + action for name in classifier.ether_types]
                return [nft.ether_type(ETHER_TYPE) + nft.accept(), *exceptions, *admitted, nft.drop()]

    def _action(self, action: Action) -> bytes:
        match action:
            case Drop():
                return nft.drop()
            case Deliver(device, counted):
                index = self._index(device)
                if not index:
                    return nft.drop()
                return (nft.count(counter_name(*counted)) if counted else b"") + nft.forward(index)
            case Spread(buckets):
                return nft.goto(self._spread(action, buckets))

    def _spread(self, spread: Spread, buckets: tuple[Action, ...]) -> str:
        # By identity: to hash thousands of buckets costs more than a chain too many.
        name = self._names.get(id(spread))
        if name is None:
            # Rules are tried in order, so each run of equal buckets needs its upper end only.
            ends = [n for n, each in enumerate(buckets) if buckets[n + 1 : n + 2] != (each,)]
            chosen = [nft.buckets_up_to(n, len(buckets)) + self._action(buckets[n]) for n in ends]
            name = self._names[id(spread)] = f"spread{len(self._names)}"
            self.chains[name] = chosen
        return name


def counter_name(position: int, vnfc_id: str, direction: Direction) -> str:
    """Name of the counter of what an instance gets in one direction."""
    return f"{position}-{paths.short_hash(vnfc_id)}-{direction}"


def _neighbour_discovery(verdict: bytes) -> list[bytes]:
    """What IPv6 needs to find neighbours and groups: it belongs to a link, not to a flow."""
    icmpv6 = nft.ether_type(_ETHER_TYPES["ipv6"]) + nft.transport(_ICMPV6)
    return [icmpv6 + nft.icmp_types(130, 137) + verdict, icmpv6 + nft.icmp_types(143, 143) + verdict]


def _neighbour_traffic(verdict: bytes) -> list[bytes]:
    return [nft.multicast_frame() + verdict, *_neighbour_discovery(verdict)]


def variants(classifier: Classifier, direction: Direction) -> list[bytes]:
    """The classifier as alternatives of expressions, mirrored in reverse.

    Raises:
        KeyError, ValueError: an ether type, protocol or prefix that we do not know.
    """
    is_mirrored = direction is Direction.REVERSE
    found: list[bytes] = []
    for name in classifier.ether_types:
        expression = nft.ether_type(_ETHER_TYPES[name])
        version = {"ipv4": 4, "ipv6": 6}.get(name)
        prefixes = ((classifier.source_prefix, True), (classifier.destination_prefix, False))
        given = [(ipaddress.ip_network(p, strict=False), is_source) for p, is_source in prefixes if p]
        if any(network.version != version for network, _ in given):
            continue
        for network, is_source in given:
            expression += nft.address(str(network), is_source=is_source != is_mirrored)
        found += [expression + each for each in _transports(classifier, name, is_mirrored)]
    return found


def _transports(classifier: Classifier, ether_type: str, is_mirrored: bool) -> list[bytes]:
    first, last = classifier.destination_port_first, classifier.destination_port_last
    has_ports = first is not None or last is not None
    if ether_type == "arp" or (not classifier.protocol and not has_ports):
        return [b""]
    name = classifier.protocol.lower()
    if not name:
        numbers: tuple[int, ...] = _WITH_PORTS
    elif name.isdecimal():
        numbers = (int(name),)
    else:
        numbers = _PROTOCOLS[name]
    if not has_ports:
        return [nft.transport(number) for number in numbers]
    low = first if first is not None else 0
    high = last if last is not None else (low if first is not None else 65535)
    ports = nft.ports(low, high, is_source=is_mirrored)
    return [nft.transport(number) + ports for number in numbers if number in _WITH_PORTS]
