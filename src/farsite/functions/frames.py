"""Reading packets out of Ethernet frames, as far as a stateful function needs it.

A frame starts at `FRAME` in a receive buffer, behind the kernel's virtio header. Two ways in:

* `quick_key` recognises the common packet (IPv4 without options or IPv6 without extension headers,
  TCP or UDP, no fragment, no VLAN tag) and gives its flow key in well under a microsecond;
* `read_packet` reads everything else: VLAN tags, options, extension headers (a bounded number),
  fragments, ICMP and the packet that an ICMP error quotes.

A flow key is the protocol number, both addresses and both ports in one `bytes`, in the order of the
packet; `reverse_key` is the key of the replies. ICMP echo uses its identifier as both ports.
"""

import struct
from enum import Enum
from typing import NamedTuple

VIRTIO_HEADER = 10
"""Length of the virtio network header that the kernel puts before a frame, in bytes."""
FRAME = VIRTIO_HEADER
"""Where the frame starts in a receive buffer."""
_IP = FRAME + 14

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
_VLAN_ETHERTYPES = frozenset((0x8100, 0x88A8, 0x9100))
_MAX_VLAN_TAGS = 2
_MAX_EXTENSION_HEADERS = 8

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION_OPTIONS, _MOBILITY = 0, 43, 44, 51, 60, 135

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

_ECHO = {(ICMP, 8), (ICMP, 0), (ICMPV6, 128), (ICMPV6, 129)}
_ECHO_REQUEST = {(ICMP, 8), (ICMPV6, 128)}
_ICMP_ERRORS = {ICMP: frozenset((3, 4, 5, 11, 12)), ICMPV6: frozenset((1, 2, 3, 4))}
_LINK_LOCAL_ICMPV6 = frozenset((130, 131, 132, 133, 134, 135, 136, 137, 143))
"""Neighbour discovery and multicast listener discovery: the IPv6 counterparts of ARP."""

_quick_ipv4 = struct.Struct("!6xHxB2x12s")
_quick_ipv6 = struct.Struct("!6xBx36s")
_PREFIX = [bytes((protocol,)) for protocol in range(256)]


class Kind(Enum):
    """What a frame carries, as far as filtering is concerned."""

    OTHER = "other"
    """Not IP, or what the link itself needs (ARP, neighbour discovery): never filtered."""
    FLOW = "flow"
    """A packet with a flow key."""
    ICMP_ERROR = "icmp-error"
    """An ICMP error; `quoted` is the flow key of the packet it is about."""
    LATER_FRAGMENT = "later-fragment"
    """A fragment without the transport header."""
    MALFORMED = "malformed"
    """An IP packet that cannot be what it says."""


class Packet(NamedTuple):
    """What `read_packet` found. Offsets are positions in the buffer."""

    kind: Kind
    version: int = 0
    protocol: int = 0
    key: bytes = b""
    tcp_flags: int = 0
    icmp_type: int = -1
    fragment_key: bytes = b""
    """Set for every fragment, the first one included: same for all fragments of one packet."""
    has_more_fragments: bool = False
    quoted: bytes = b""

    @property
    def opens_tcp(self) -> bool:
        """A SYN without ACK: the first packet of a TCP connection."""
        return self.tcp_flags & (SYN | ACK | RST | FIN) == SYN

    @property
    def is_echo_request(self) -> bool:
        return (self.protocol, self.icmp_type) in _ECHO_REQUEST


_OTHER = Packet(Kind.OTHER)
_MALFORMED = Packet(Kind.MALFORMED)


def quick_key(buffer: bytearray, end: int) -> bytes | None:
    """Flow key of a common TCP or UDP packet that ends at `end` in the buffer; None: ask `read_packet`."""
    first = buffer[_IP]
    if first == 0x45 and buffer[FRAME + 12] == 0x08 and buffer[FRAME + 13] == 0 and end >= _IP + 28:
        fragment, protocol, key = _quick_ipv4.unpack_from(buffer, _IP)
        if ((protocol == TCP and end >= _IP + 40) or protocol == UDP) and not fragment & 0x3FFF:
            return _PREFIX[protocol] + key
    elif first >> 4 == 6 and buffer[FRAME + 12] == 0x86 and buffer[FRAME + 13] == 0xDD and end >= _IP + 48:
        protocol, key = _quick_ipv6.unpack_from(buffer, _IP)
        if (protocol == TCP and end >= _IP + 60) or protocol == UDP:
            return _PREFIX[protocol] + key
    return None


def quick_tcp_flags(buffer: bytearray, key: bytes) -> int:
    """TCP flags of a packet for which `quick_key` gave the key of a TCP flow."""
    return buffer[_IP + 33 if len(key) == 13 else _IP + 53]


def flow_key(
    protocol: int, source: bytes, destination: bytes, source_port: int, destination_port: int
) -> bytes:
    """Flow key from its parts; addresses are 4 or 16 bytes."""
    return b"%c%b%b%b" % (
        protocol,
        source,
        destination,
        source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big"),
    )


class FlowParts(NamedTuple):
    """A flow key taken apart again."""

    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


def split_key(key: bytes) -> FlowParts:
    """Parts of a flow key; `flow_key` of the parts is the key again."""
    size = (len(key) - 5) // 2
    return FlowParts(
        key[0],
        key[1 : 1 + size],
        key[1 + size : 1 + 2 * size],
        int.from_bytes(key[-4:-2], "big"),
        int.from_bytes(key[-2:], "big"),
    )


def reverse_key(key: bytes) -> bytes:
    """Flow key of the replies; reversing twice gives the key again."""
    size = (len(key) - 5) // 2
    return key[:1] + key[1 + size : 1 + 2 * size] + key[1 : 1 + size] + key[-2:] + key[-4:-2]


def read_packet(buffer: bytearray, end: int, start: int = FRAME) -> Packet:
    """What the frame from `start` to `end` carries. Never raises, whatever the bytes."""
    at = start + 12
    if end < start + 14:
        return _OTHER
    ether_type = buffer[at] << 8 | buffer[at + 1]
    at += 2
    for _ in range(_MAX_VLAN_TAGS):
        if ether_type not in _VLAN_ETHERTYPES:
            break
        if end < at + 4:
            return _OTHER
        ether_type = buffer[at + 2] << 8 | buffer[at + 3]
        at += 4
    if ether_type == ETHERTYPE_IPV4:
        return _read_ipv4(buffer, at, end)
    if ether_type == ETHERTYPE_IPV6:
        return _read_ipv6(buffer, at, end)
    return _OTHER


def _read_ipv4(buffer: bytearray, at: int, end: int, *, is_quoted: bool = False) -> Packet:
    if end < at + 20 or buffer[at] >> 4 != 4:
        return _MALFORMED
    header = (buffer[at] & 0x0F) * 4
    total = buffer[at + 2] << 8 | buffer[at + 3]
    if header < 20 or end < at + header:
        return _MALFORMED
    if not is_quoted:
        # A GSO frame too long for 16 bits states 0; Ethernet padding follows short packets.
        if total and (total < header or total > end - at):
            return _MALFORMED
        end = at + total if total else end
    protocol = buffer[at + 9]
    source, destination = bytes(buffer[at + 12 : at + 16]), bytes(buffer[at + 16 : at + 20])
    fragment = buffer[at + 6] << 8 | buffer[at + 7]
    if not fragment & 0x3FFF:
        return _read_transport(
            buffer, at + header, end, 4, protocol, source, destination, is_quoted=is_quoted
        )
    fragment_key = b"\x04%c" % protocol + source + destination + bytes(buffer[at + 4 : at + 6])
    if fragment & 0x1FFF:
        return Packet(
            Kind.LATER_FRAGMENT,
            4,
            protocol,
            fragment_key=fragment_key,
            has_more_fragments=bool(fragment & 0x2000),
        )
    first = _read_transport(buffer, at + header, end, 4, protocol, source, destination, is_quoted=is_quoted)
    return first._replace(fragment_key=fragment_key, has_more_fragments=True)


def _read_ipv6(buffer: bytearray, at: int, end: int, *, is_quoted: bool = False) -> Packet:
    if end < at + 40 or buffer[at] >> 4 != 6:
        return _MALFORMED
    payload = buffer[at + 4] << 8 | buffer[at + 5]
    if not is_quoted:
        if payload > end - at - 40:
            return _MALFORMED
        end = at + 40 + payload if payload else end
    source, destination = bytes(buffer[at + 8 : at + 24]), bytes(buffer[at + 24 : at + 40])
    protocol = buffer[at + 6]
    at += 40
    fragment_key, has_more = b"", False
    for _ in range(_MAX_EXTENSION_HEADERS):
        if protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS, _MOBILITY, _AUTHENTICATION):
            if end < at + 8:
                return _MALFORMED
            units = buffer[at + 1]
            length = (units + 2) * 4 if protocol == _AUTHENTICATION else (units + 1) * 8
        elif protocol == _FRAGMENT:
            if end < at + 8:
                return _MALFORMED
            offset = buffer[at + 2] << 8 | buffer[at + 3]
            fragment_key = b"\x06" + source + destination + bytes(buffer[at + 4 : at + 8])
            has_more = bool(offset & 1)
            if offset & 0xFFF8:
                return Packet(
                    Kind.LATER_FRAGMENT, 6, buffer[at], fragment_key=fragment_key, has_more_fragments=has_more
                )
            length = 8
        else:
            found = _read_transport(buffer, at, end, 6, protocol, source, destination, is_quoted=is_quoted)
            return (
                found._replace(fragment_key=fragment_key, has_more_fragments=has_more)
                if fragment_key
                else found
            )
        protocol = buffer[at]
        at += length
        if at > end:
            return _MALFORMED
    # More headers than any honest packet has: refusing is the point of the bound.
    return _MALFORMED


def _read_transport(
    buffer: bytearray,
    at: int,
    end: int,
    version: int,
    protocol: int,
    source: bytes,
    destination: bytes,
    *,
    is_quoted: bool,
) -> Packet:
    if protocol in (TCP, UDP):
        if end < at + (4 if is_quoted else 20 if protocol == TCP else 8):
            return _MALFORMED
        key = b"%c" % protocol + source + destination + bytes(buffer[at : at + 4])
        flags = buffer[at + 13] if protocol == TCP and not is_quoted else 0
        return Packet(Kind.FLOW, version, protocol, key, tcp_flags=flags)
    if protocol == (ICMP if version == 4 else ICMPV6):
        if end < at + 8:
            return _MALFORMED
        icmp_type = buffer[at]
        if protocol == ICMPV6 and icmp_type in _LINK_LOCAL_ICMPV6:
            return _OTHER
        if (protocol, icmp_type) in _ECHO:
            identifier = bytes(buffer[at + 4 : at + 6])
            key = b"%c" % protocol + source + destination + identifier + identifier
            return Packet(Kind.FLOW, version, protocol, key, icmp_type=icmp_type)
        key = b"%c" % protocol + source + destination + b"\0\0\0\0"
        if icmp_type in _ICMP_ERRORS[protocol] and not is_quoted:
            read = _read_ipv4 if version == 4 else _read_ipv6
            quoted = read(buffer, at + 8, end, is_quoted=True)
            return Packet(Kind.ICMP_ERROR, version, protocol, key, icmp_type=icmp_type, quoted=quoted.key)
        return Packet(Kind.FLOW, version, protocol, key, icmp_type=icmp_type)
    key = b"%c" % protocol + source + destination + b"\0\0\0\0"
    return Packet(Kind.FLOW, version, protocol, key)
