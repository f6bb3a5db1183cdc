"""Devices to try adapters on: the real product, run for the test, in places of its own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from bench_bird import bird_router
from bench_builtin import builtin_firewall
from bench_dnsmasq import dnsmasq_server
from bench_frr import frr_router
from bench_haproxy import haproxy
from bench_ietf import ietf
from bench_keepalived import keepalived_group
from bench_linux import linux
from bench_openvswitch import openvswitch_switch
from bench_strongswan import strongswan_gateway
from bench_unbound import unbound_resolver

from farsite.vnfs.conformance import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Starts a product in a directory, and what that needs of the machine."""

    start: Callable[[Path], AbstractAsyncContextManager[Subject]]
    programs: tuple[str, ...]
    is_for_root: bool = False


BENCHES: Mapping[str, Bench] = {
    "bird": Bench(start=bird_router, programs=("bird", "birdc", "ip"), is_for_root=True),
    "builtin": Bench(start=builtin_firewall, programs=("ip", "nft")),
    "dnsmasq": Bench(start=dnsmasq_server, programs=("dnsmasq", "socat", "ip"), is_for_root=True),
    "frr": Bench(start=frr_router, programs=("vtysh", "ip", "unshare"), is_for_root=True),
    "haproxy": Bench(start=haproxy, programs=("haproxy", "socat")),
    "ietf": Bench(
        start=ietf, programs=("netconfd", "netconf-subsystem", "ip", "nsenter", "sshd"), is_for_root=True
    ),
    "keepalived": Bench(start=keepalived_group, programs=("keepalived", "ip"), is_for_root=True),
    "linux": Bench(start=linux, programs=("nft", "ip", "unshare"), is_for_root=True),
    "openvswitch": Bench(
        start=openvswitch_switch, programs=("ovs-vsctl", "ovs-vswitchd", "ip"), is_for_root=True
    ),
    "strongswan": Bench(
        start=strongswan_gateway, programs=("swanctl", "charon-systemd", "ip"), is_for_root=True
    ),
    "unbound": Bench(
        start=unbound_resolver, programs=("unbound", "ansible-playbook", "sshd"), is_for_root=True
    ),
}
"""By the name of the adapter."""
