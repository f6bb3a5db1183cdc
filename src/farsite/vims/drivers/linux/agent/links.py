"""Interfaces of one network namespace: bridges, veth pairs, VXLAN tunnels, addresses.

Host-side devices get no IPv6 link-local address (`addr_gen_mode none`), so that the site's namespace stays
silent on the networks it carries.

Source: linux/if_link.h, linux/if_addr.h, linux/neighbour.h.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from farsite.vims.drivers.linux.agent.netlink import (
    NETLINK_ROUTE,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u16_be,
    u32,
)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTMGRP_LINK = 1
VXLAN_PORT = 4789

_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_NEWADDR = 20
_RTM_DELADDR = 21
_RTM_NEWNEIGH = 28
_RTM_DELNEIGH = 29
_RTM_GETNEIGH = 30
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 26, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_PEER = 1
_BR_AGEING, _BR_STP, _BR_MCAST_SNOOPING = 4, 5, 23
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LOCAL, _VXLAN_TTL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 2, 4, 5, 7, 15
_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_NTF_SELF = 0x2
_NUD_PERMANENT_NOARP = 0xC0
_ANY_MAC = bytes(6)
_LINK = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel tells of it."""

    index: int
    name: str
    kind: str
    is_up: bool
    has_carrier: bool
    master: int = 0
    mac: str = ""
    vni: int = 0
    """VXLAN id of a tunnel."""


def parse_link(payload: bytes | memoryview) -> Link:
    """The interface in an RTM_NEWLINK or RTM_DELLINK message."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = attributes(payload[_LINK.size :])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        kind=info.get(_INFO_KIND, b"").rstrip(b"\0").decode(),
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        master=struct.unpack("=I", found[_IFLA_MASTER])[0] if _IFLA_MASTER in found else 0,
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        vni=_vni(info),
    )


def _vni(info: dict[int, bytes]) -> int:
    if not info.get(_INFO_KIND, b"").startswith(b"vxlan"):
        return 0
    found = attributes(info.get(_INFO_DATA, b"")).get(_VXLAN_ID)
    return struct.unpack("=I", found)[0] if found else 0


def mac_bytes(mac: str) -> bytes:
    """A MAC address written with colons as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(0, 0, index, flags, change)


class Links:
    """Interfaces of the namespace of the thread that made this object."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def all(self) -> list[Link]:
        """Every interface of the namespace."""
        return [parse_link(found) for found in self._netlink.dump(Message(_RTM_GETLINK, 0, _link()))]

    def index(self, name: str) -> int:
        """Index of an interface; 0 when there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return 0

    def _create(self, *details: bytes) -> None:
        payload = _link() + b"".join(details)
        self._netlink.request(Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload))

    def add_bridge(self, name: str, *, mtu: int = 1500) -> int:
        """A learning bridge without spanning tree or multicast snooping; returns its index."""
        data = nested(_INFO_DATA, u32(_BR_STP, 0), u8(_BR_MCAST_SNOOPING, 0))
        kind = nested(_IFLA_LINKINFO, text(_INFO_KIND, "bridge"), data)
        self._create(text(_IFLA_IFNAME, name), u32(_IFLA_MTU, mtu), kind)
        return self._start(name)

    def add_veth(
        self, name: str, *, peer: str, peer_namespace: int, peer_mac: str = "", mtu: int = 1500
    ) -> int:
        """A veth pair whose other end starts its life in the namespace of file descriptor
        `peer_namespace`; returns the index of our end, which is up."""
        peer_details = [text(_IFLA_IFNAME, peer), u32(_IFLA_MTU, mtu), u32(_IFLA_NET_NS_FD, peer_namespace)]
        if peer_mac:
            peer_details.append(attribute(_IFLA_ADDRESS, mac_bytes(peer_mac)))
        data = nested(_INFO_DATA, attribute(_VETH_PEER, _link() + b"".join(peer_details)))
        kind = nested(_IFLA_LINKINFO, text(_INFO_KIND, "veth"), data)
        self._create(text(_IFLA_IFNAME, name), u32(_IFLA_MTU, mtu), kind)
        return self._start(name)

    def add_vxlan(self, name: str, *, vni: int, local: str, remote: str = "", mtu: int = 1500) -> int:
        """A VXLAN tunnel end. With `remote` all goes there; without it frames go where the
        forwarding database says, which learns."""
        data = [
            u32(_VXLAN_ID, vni),
            attribute(_VXLAN_LOCAL, socket.inet_aton(local)),
            u8(_VXLAN_LEARNING, 0 if remote else 1),
            u8(_VXLAN_TTL, 64),
            u16_be(_VXLAN_PORT, VXLAN_PORT),
        ]
        if remote:
            data.append(attribute(_VXLAN_GROUP, socket.inet_aton(remote)))
        kind = nested(_IFLA_LINKINFO, text(_INFO_KIND, "vxlan"), nested(_INFO_DATA, *data))
        self._create(text(_IFLA_IFNAME, name), u32(_IFLA_MTU, mtu), kind)
        return self._start(name)

    def _start(self, name: str) -> int:
        index = self.index(name)
        self.make_silent(index)
        return self.set_up(index)

    def set_up(self, index: int) -> int:
        """Switch an interface on; returns its index."""
        self._netlink.request(Message(RTM_NEWLINK, 0, _link(index, _IFF_UP, _IFF_UP)))
        return index

    def set_down(self, index: int) -> None:
        """Switch an interface off."""
        self._netlink.request(Message(RTM_NEWLINK, 0, _link(index, 0, _IFF_UP)))

    def set_master(self, index: int, master: int) -> None:
        """Put an interface on a bridge; 0 takes it off."""
        self._netlink.request(Message(_RTM_SETLINK, 0, _link(index) + u32(_IFLA_MASTER, master)))

    def make_silent(self, index: int) -> None:
        """Give an interface no IPv6 address of its own accord."""
        silent = nested(_IFLA_AF_SPEC, nested(socket.AF_INET6, u8(_ADDR_GEN_MODE, _ADDR_GEN_NONE)))
        try:
            self._netlink.request(Message(_RTM_SETLINK, 0, _link(index) + silent))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6 is silent anyway
                raise

    def delete(self, index: int) -> None:
        """Delete an interface; an absent one is well."""
        try:
            self._netlink.request(Message(RTM_DELLINK, 0, _link(index)))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: str) -> None:
        """Add an IPv4 or IPv6 address with prefix length, usable at once (no duplicate detection)."""
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        packed = interface.ip.packed
        payload = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, index)
        payload += attribute(1, packed) + attribute(2, packed)
        payload += u32(8, 0x02) if family == socket.AF_INET6 else b""
        try:
            self._netlink.request(Message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise

    def delete_address(self, index: int, address: str) -> None:
        """Take an address with prefix length away; an absent one is well."""
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        packed = interface.ip.packed
        payload = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, index)
        try:
            self._netlink.request(
                Message(_RTM_DELADDR, 0, payload + attribute(1, packed) + attribute(2, packed))
            )
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise

    def set_mac(self, index: int, mac: str) -> None:
        """Give an interface another MAC address."""
        self._netlink.request(
            Message(_RTM_SETLINK, 0, _link(index) + attribute(_IFLA_ADDRESS, mac_bytes(mac)))
        )

    def vxlan_id(self, index: int) -> int:
        """VXLAN id of a tunnel; 0 when it is none."""
        return next((link.vni for link in self.all() if link.index == index), 0)

    def flood_to(self, index: int) -> set[str]:
        """Peers that a VXLAN tunnel floods unknown and broadcast frames to."""
        return {peer for owner, mac, peer in self._forwarding() if owner == index and mac == _ANY_MAC}

    def add_flood(self, index: int, peer: str) -> None:
        """Flood unknown and broadcast frames to one more peer."""
        self._netlink.request(Message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, _flood(index, peer)))

    def delete_flood(self, index: int, peer: str) -> None:
        """Flood to one peer less."""
        self._netlink.request(Message(_RTM_DELNEIGH, 0, _flood(index, peer)))

    def _forwarding(self) -> Iterator[tuple[int, bytes, str]]:
        wanted = Message(_RTM_GETNEIGH, 0, struct.pack("=BxHiHBB", socket.AF_BRIDGE, 0, 0, 0, 0, 0))
        for found in self._netlink.dump(wanted):
            _, _, owner, *_ = struct.unpack_from("=BxHiHBB", found)
            entry = attributes(found[12:])
            if len(entry.get(1, b"")) == 4:
                yield owner, entry.get(2, b""), socket.inet_ntoa(entry[1])


def _flood(index: int, peer: str) -> bytes:
    header = struct.pack("=BxHiHBB", socket.AF_BRIDGE, 0, index, _NUD_PERMANENT_NOARP, _NTF_SELF, 0)
    return header + attribute(1, socket.inet_aton(peer)) + attribute(2, _ANY_MAC)
