"""Reading packets: whatever stands in a frame, a stateful function must see the same flow in it."""

import struct
from ipaddress import IPv4Address, IPv6Address

import packet_builder as build
from hypothesis import given
from hypothesis import strategies as st

from farsite.functions.frames import (
    TCP,
    UDP,
    Kind,
    flow_key,
    quick_key,
    quick_tcp_flags,
    read_packet,
    reverse_key,
    split_key,
)

ports = st.integers(0, 65535)
v4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
v6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
pairs = st.tuples(v4, v4) | st.tuples(v6, v6)
protocols = st.sampled_from((TCP, UDP))
extension_counts = st.integers(0, 7)
OPTIONS_HEADER = (60, b"\0" + bytes(6))


def _packet(ends, protocol, source_port, destination_port, flags=0x10, extensions=0):
    transport = (
        build.tcp(source_port, destination_port, flags)
        if protocol == TCP
        else build.udp(source_port, destination_port)
    )
    source, destination = ends
    if isinstance(source, IPv4Address):
        return build.ipv4(
            source, destination, protocol, transport, options=bytes(4 * min(extensions, 10))
        ), 0x0800
    return build.ipv6(
        source, destination, protocol, transport, extensions=(OPTIONS_HEADER,) * extensions
    ), 0x86DD


@given(
    pairs,
    protocols,
    ports,
    ports,
    extension_counts,
    st.lists(st.integers(1, 4094), max_size=2),
    st.binary(max_size=40),
)
def test_a_flow_has_one_key_however_its_packets_are_wrapped(
    ends, protocol, source_port, destination_port, extensions, vlans, padding
):
    """Options, extension headers, VLAN tags or padding must not let a packet slip out of its flow."""
    packet, ether_type = _packet(ends, protocol, source_port, destination_port, extensions=extensions)
    buffer = build.frame(packet, ether_type, tuple(vlans)) + padding
    expected = flow_key(protocol, ends[0].packed, ends[1].packed, source_port, destination_port)
    found = read_packet(buffer, len(buffer))
    assert (found.kind, found.key) == (Kind.FLOW, expected)
    assert quick_key(buffer, len(buffer)) == (expected if not extensions and not vlans else None)


@given(pairs, ports, ports, st.integers(0, 255))
def test_tcp_flags_are_the_same_on_the_quick_way_and_the_slow_one(ends, source_port, destination_port, flags):
    """The quick way decides which packets need the slow one; it must see every SYN, FIN and RST."""
    packet, ether_type = _packet(ends, TCP, source_port, destination_port, flags)
    buffer = build.frame(packet, ether_type)
    key = quick_key(buffer, len(buffer))
    assert key is not None
    assert quick_tcp_flags(buffer, key) == read_packet(buffer, len(buffer)).tcp_flags == flags


@given(st.binary(max_size=200), st.sampled_from((0x0800, 0x86DD, 0x8100, 0x88B5, None)), st.integers(0, 200))
def test_no_bytes_can_make_the_reader_fail(garbage, ether_type, cut):
    """An attacker chooses the bytes. An exception in the relay would stop everybody's traffic."""
    buffer = bytearray(build.VIRTIO + garbage) if ether_type is None else build.frame(garbage, ether_type)
    end = max(10, len(buffer) - cut)
    full = buffer + bytes(4096)
    assert read_packet(full, end).kind in Kind
    key = quick_key(full, end)
    slow = read_packet(full, end)
    # The quick way leaves length checks that need more than the headers to the end system.
    assert key is None or slow.kind is Kind.MALFORMED or slow.key == key


@given(pairs, st.integers(0, 255), ports, ports)
def test_keys_come_apart_and_turn_round(ends, protocol, source_port, destination_port):
    """Replies are found by the reversed key; a key that did not turn round would lose every reply."""
    key = flow_key(protocol, ends[0].packed, ends[1].packed, source_port, destination_port)
    assert flow_key(*split_key(key)) == key
    assert reverse_key(reverse_key(key)) == key
    assert reverse_key(key) == flow_key(
        protocol, ends[1].packed, ends[0].packed, destination_port, source_port
    )


@given(pairs, ports)
def test_an_echo_and_its_reply_are_one_flow(ends, identifier):
    """Ping has no ports; its identifier stands for both, so that a reply finds its request."""
    is_ipv4 = isinstance(ends[0], IPv4Address)
    number, request, reply = (1, 8, 0) if is_ipv4 else (58, 128, 129)
    wrap, ether_type = (build.ipv4, 0x0800) if is_ipv4 else (build.ipv6, 0x86DD)
    asked = build.frame(wrap(ends[0], ends[1], number, build.echo(request, identifier)), ether_type)
    answered = build.frame(wrap(ends[1], ends[0], number, build.echo(reply, identifier)), ether_type)
    first, second = read_packet(asked, len(asked)), read_packet(answered, len(answered))
    assert first.is_echo_request
    assert not second.is_echo_request
    assert reverse_key(first.key) == second.key


@given(pairs, protocols, ports, ports)
def test_an_icmp_error_tells_whose_packet_it_is_about(ends, protocol, source_port, destination_port):
    """Path MTU discovery lives on these: an error about a known flow must be recognised."""
    packet, ether_type = _packet(ends, protocol, source_port, destination_port)
    is_ipv4 = isinstance(ends[0], IPv4Address)
    number, kind, wrap = (1, 3, build.ipv4) if is_ipv4 else (58, 2, build.ipv6)
    # Eight bytes behind the IP header is all that an IPv4 error need quote.
    quoted = packet[:28] if is_ipv4 else packet
    error = wrap(ends[1], ends[0], number, struct.pack("!BBHI", kind, 0, 0, 0) + quoted)
    buffer = build.frame(error, ether_type)
    found = read_packet(buffer, len(buffer))
    assert found.kind is Kind.ICMP_ERROR
    assert found.quoted == flow_key(protocol, ends[0].packed, ends[1].packed, source_port, destination_port)


@given(pairs, ports, ports, ports)
def test_fragments_of_one_packet_belong_together(ends, source_port, destination_port, identification):
    """Only the first fragment has ports; the rest must be recognised as its rest."""
    payload = build.udp(source_port, destination_port, bytes(64))
    if isinstance(ends[0], IPv4Address):
        parts = [
            build.frame(build.ipv4(*ends, UDP, part, fragment=field, identification=identification), 0x0800)
            for part, field in ((payload[:40], 0x2000), (payload[40:], 5))
        ]
    else:
        parts = [
            build.frame(
                build.ipv6(
                    *ends, UDP, part, extensions=((44, struct.pack("!BHI", 0, field, identification)),)
                ),
                0x86DD,
            )
            for part, field in ((payload[:40], 1), (payload[40:], 5 << 3))
        ]
    first, later = (read_packet(part, len(part)) for part in parts)
    assert first.key == flow_key(UDP, ends[0].packed, ends[1].packed, source_port, destination_port)
    assert later.kind is Kind.LATER_FRAGMENT
    assert first.fragment_key == later.fragment_key != b""
    assert first.has_more_fragments
    assert not later.has_more_fragments
    assert quick_key(parts[0], len(parts[0])) is None


def test_more_extension_headers_than_any_honest_packet_has_are_refused():
    """Walking without a bound would let one packet hold up all the others."""
    ends = (IPv6Address("fd00::1"), IPv6Address("fd00::2"))
    packet = build.ipv6(*ends, TCP, build.tcp(1, 2, 2), extensions=(OPTIONS_HEADER,) * 40)
    buffer = build.frame(packet, 0x86DD)
    assert read_packet(buffer, len(buffer)).kind is Kind.MALFORMED


def test_what_the_link_needs_is_never_filtered():
    """Without ARP and neighbour discovery nothing else passes either; 0x88b5 is the data-path probe."""
    ends = (IPv6Address("fe80::1"), IPv6Address("ff02::1"))
    solicitation = build.ipv6(*ends, 58, bytes((135,)) + bytes(23))
    for buffer in (
        build.frame(bytes(28), 0x0806),
        build.frame(b"probe", 0x88B5),
        build.frame(solicitation, 0x86DD),
    ):
        assert read_packet(buffer, len(buffer)).kind is Kind.OTHER
        assert quick_key(buffer, len(buffer)) is None
