"""nftables in family `netdev`: expressions, rules and one table replaced in one transaction.

Only what steering needs: match a frame, choose a bucket by symmetric hash, count, forward to a device.

Source: linux/netfilter/nf_tables.h.
"""

import errno
import ipaddress
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farsite.vims.drivers.linux.agent.netlink import (
    NETLINK_NETFILTER,
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    Netlink,
    attribute,
    attribute_list,
    attributes,
    nested,
    text,
    u32_be,
)

_NFPROTO_NETDEV = 5
_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWOBJ, _GETOBJ = 0, 1, 2, 3, 6, 18, 19
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_OBJECT_COUNTER = 1
_REGISTER = 1
_META_PROTOCOL, _META_L4PROTO = 1, 16
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = 0, 1, 2
_EQ, _LTE, _GTE = 0, 3, 5
_NF_DROP, _NF_ACCEPT, _NFT_GOTO = 0, 1, -4
_HASH_SYMMETRIC = 1
_HTON = 1
_INGRESS = 0


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))


def _value(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", u32_be(1, _REGISTER), u32_be(2, operator), _value(3, value))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", u32_be(1, _REGISTER), u32_be(2, base), u32_be(3, offset), u32_be(4, length))


def _masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        u32_be(1, _REGISTER),
        u32_be(2, _REGISTER),
        u32_be(3, len(mask)),
        _value(4, mask),
        _value(5, bytes(len(mask))),
    )


def _meta(key: int) -> bytes:
    return _expression("meta", u32_be(1, _REGISTER), u32_be(2, key))


def ether_type(number: int) -> bytes:
    """Frames of this ether type."""
    return _meta(_META_PROTOCOL) + _compare(_EQ, struct.pack("!H", number))


def transport(number: int) -> bytes:
    """Packets of this transport protocol, behind any IPv6 extension headers."""
    return _meta(_META_L4PROTO) + _compare(_EQ, bytes([number]))


def multicast_frame() -> bytes:
    """Frames to a multicast or broadcast MAC address."""
    return _payload(_LINK_HEADER, 0, 1) + _masked(b"\x01") + _compare(_EQ, b"\x01")


def address(prefix: str, *, is_source: bool) -> bytes:
    """Packets from or to an IPv4 or IPv6 prefix."""
    network = ipaddress.ip_network(prefix, strict=False)
    offset = {4: (12, 16), 6: (8, 24)}[network.version][0 if is_source else 1]
    packed = network.network_address.packed
    found = _payload(_NETWORK_HEADER, offset, len(packed))
    return found + _masked(network.netmask.packed) + _compare(_EQ, packed)


def ports(first: int, last: int, *, is_source: bool) -> bytes:
    """TCP, UDP or SCTP ports from first to last, both included."""
    found = _payload(_TRANSPORT_HEADER, 0 if is_source else 2, 2)
    return found + _compare(_GTE, struct.pack("!H", first)) + _compare(_LTE, struct.pack("!H", last))


def icmp_types(first: int, last: int) -> bytes:
    """ICMP or ICMPv6 types from first to last."""
    found = _payload(_TRANSPORT_HEADER, 0, 1)
    return found + _compare(_GTE, bytes([first])) + _compare(_LTE, bytes([last]))


def buckets_up_to(last: int, count: int) -> bytes:
    """Flows whose symmetric hash falls into one of the buckets 0 to `last` of `count`.

    Both directions of a flow hash alike. The seed belongs to the kernel: two sites agree as long as they
    share one.
    """
    chosen = _expression(
        "hash", u32_be(2, _REGISTER), u32_be(4, count), u32_be(6, 0), u32_be(7, _HASH_SYMMETRIC)
    )
    # Comparisons of order look at bytes from the left, so the number must be in network order.
    ordered = _expression(
        "byteorder",
        u32_be(1, _REGISTER),
        u32_be(2, _REGISTER),
        u32_be(3, _HTON),
        u32_be(4, 4),
        u32_be(5, 4),
    )
    return chosen + ordered + _compare(_LTE, struct.pack("!I", last))


def count(name: str) -> bytes:
    """Count the frame in a named counter of the table."""
    return _expression("objref", u32_be(1, _OBJECT_COUNTER), text(2, name))


def forward(index: int) -> bytes:
    """Send the frame out of the interface with this index; ends the evaluation."""
    load = _expression("immediate", u32_be(1, _REGISTER), _value(2, struct.pack("=I", index)))
    return load + _expression("fwd", u32_be(1, _REGISTER))


def _verdict(code: int, *details: bytes) -> bytes:
    return _expression(
        "immediate", u32_be(1, 0), nested(2, nested(2, u32_be(1, code & 0xFFFFFFFF), *details))
    )


def drop() -> bytes:
    """Drop the frame."""
    return _verdict(_NF_DROP)


def accept() -> bytes:
    """Let the frame go its normal way."""
    return _verdict(_NF_ACCEPT)


def goto(chain: str) -> bytes:
    """Go on in another chain of the table and do not come back."""
    return _verdict(_NFT_GOTO, text(2, chain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it shall be. A rule is a string of expressions."""

    name: str
    ingress: Mapping[str, Sequence[bytes]] = field(default_factory=dict[str, Sequence[bytes]])
    """Device -> rules of its ingress chain."""
    chains: Mapping[str, Sequence[bytes]] = field(default_factory=dict[str, Sequence[bytes]])
    """Chains to go to; each must come before those that go to it."""
    counters: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Counter -> packets and bytes to start from."""


class Nftables:
    """The ruleset of the network namespace of the thread that made this object."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def tables(self) -> list[str]:
        """Names of the netdev tables."""
        return [
            attributes(found[4:])[1].rstrip(b"\0").decode()
            for found in self._netlink.dump(_message(_GETTABLE, 0))
        ]

    def replace(self, wanted: Table) -> None:
        """Make the table as wanted in one transaction: no frame sees anything between old and new.

        Raises:
            OSError: the old table is still in place. ENOENT or ENODEV mean that a device went away.
        """
        name = text(1, wanted.name)
        batch = [
            _message(_NEWTABLE, NLM_F_CREATE, name),
            _message(_DELTABLE, 0, name),
            _message(_NEWTABLE, NLM_F_CREATE, name),
        ]
        for counter, (packets, size) in wanted.counters.items():
            start = nested(4, attribute(1, struct.pack("!Q", size)), attribute(2, struct.pack("!Q", packets)))
            batch.append(
                _message(_NEWOBJ, NLM_F_CREATE, name, text(2, counter), u32_be(3, _OBJECT_COUNTER), start)
            )
        batch += [_message(_NEWCHAIN, NLM_F_CREATE, name, text(3, chain)) for chain in wanted.chains]
        for device in wanted.ingress:
            hook = nested(4, u32_be(1, _INGRESS), u32_be(2, 0), text(3, device))
            policy = u32_be(5, _NF_ACCEPT)
            batch.append(
                _message(_NEWCHAIN, NLM_F_CREATE, name, text(3, device), hook, policy, text(7, "filter"))
            )
        for chain, rules in (*wanted.chains.items(), *wanted.ingress.items()):
            batch += [
                _message(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, name, text(2, chain), nested(4, rule))
                for rule in rules
            ]
        self._commit(batch)

    def delete(self, table: str) -> None:
        """Delete a table; an absent one is well."""
        try:
            self._commit([_message(_DELTABLE, 0, text(1, table))])
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def counters(self, table: str) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every named counter of a table; empty when there is no table."""
        counted: dict[str, tuple[int, int]] = {}
        for found in self._netlink.dump(_message(_GETOBJ, 0)):
            entry = dict(attribute_list(found[4:]))
            if entry.get(1, b"").rstrip(b"\0").decode() != table or 4 not in entry:
                continue
            data = attributes(entry[4])
            size, packets = (struct.unpack("!Q", data[kind])[0] for kind in (1, 2))
            counted[entry[2].rstrip(b"\0").decode()] = (packets, size)
        return counted

    def _commit(self, batch: Sequence[Message]) -> None:
        edge = struct.pack("!BBH", 0, 0, 10)
        self._netlink.batch(Message(_BATCH_BEGIN, 0, edge), batch, Message(_BATCH_END, 0, edge))


def _message(kind: int, flags: int, *details: bytes) -> Message:
    header = struct.pack("!BBH", _NFPROTO_NETDEV, 0, 0)
    return Message(_SUBSYSTEM | kind, flags, header + b"".join(details))
