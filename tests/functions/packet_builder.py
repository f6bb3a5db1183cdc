"""Frames built by hand, as the relay sees them: ten bytes of virtio header, then Ethernet."""

import struct
from ipaddress import IPv4Address, IPv6Address

VIRTIO = bytes(10)
MACS = bytes.fromhex("020000000002020000000001")


def frame(payload: bytes, ether_type: int, vlans: tuple[int, ...] = ()) -> bytearray:
    """A buffer that holds one frame."""
    tags = b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans)
    return bytearray(VIRTIO + MACS + tags + struct.pack("!H", ether_type) + payload)


def ipv4(
    source: IPv4Address,
    destination: IPv4Address,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    identification: int = 1,
) -> bytes:
    """An IPv4 packet; `fragment` is the field with flags and offset."""
    length = 20 + len(options) + len(payload)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | (5 + len(options) // 4), 0, length, identification, fragment, 64, protocol, 0
    )
    return head + source.packed + destination.packed + options + payload


def ipv6(
    source: IPv6Address,
    destination: IPv6Address,
    protocol: int,
    payload: bytes,
    *,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """An IPv6 packet; an extension is its own number and its bytes less the next-header byte."""
    chain, following = b"", protocol
    for number, rest in reversed(extensions):
        chain = bytes((following,)) + rest + chain
        following = number
    head = struct.pack("!IHBB", 6 << 28, len(chain) + len(payload), following, 64)
    return head + source.packed + destination.packed + chain + payload


def tcp(source_port: int, destination_port: int, flags: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, flags, 65535, 0, 0) + payload


def udp(source_port: int, destination_port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def echo(icmp_type: int, identifier: int) -> bytes:
    return struct.pack("!BBHHH", icmp_type, 0, 0, identifier, 1)
