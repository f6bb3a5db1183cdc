"""The tables of the emulated FortiGate: keys, fields with their values, and what refers to what.

Written from the FortiOS CLI reference's names; a field that is not here is refused as an unknown one is, with
-651. Values that are addresses with a mask are kept as FortiOS shows them: `192.0.2.0 255.255.255.0`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = "dict[str, object]"

INTERFACE = ("system/interface",)
ADDRESSES = ("firewall/address", "firewall/addrgrp", "firewall/vip")
SERVICES = ("firewall.service/custom", "firewall.service/group")
SIX = ("firewall/address6", "firewall/addrgrp6")
BUILT_IN = frozenset({"all", "any", "ALL", "always", "none", ""})


class Refusal(Exception):  # not an error of ours: the product's number and words
    """What the CLI below the API said."""

    def __init__(self, error: int, said: str = "") -> None:
        self.error = error
        self.said = said
        super().__init__(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table (or, without a key, one object) of the configuration database."""

    key: str | None = "name"
    fields: Mapping[str, str]
    """Each field's kind: text, a range `1-10`, a choice `a|b`, ip, mask, port, or `list`."""
    refers: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Fields that name members of other tables."""
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    needs: tuple[str, ...] = ()
    numbers_itself: bool = False

    def checked(self, said: Mapping[str, object]) -> Json:
        """The fields of a request, each found right.

        Raises:
            Refusal: one is unknown or has a wrong value; -651 with the CLI's words.
        """
        kept: Json = {}
        for name, value in said.items():
            if name in ("q_origin_key", "json") or name == self.key:
                continue
            kind = self.fields.get(name)
            if kind is None or not _fits(kind, value):
                raise _refusal(
                    f"value parse error before '{value}'" if kind else f"command parse error before '{name}'"
                )
            kept[name] = _as_shown(kind, value)
        return kept


def _refusal(said: str) -> Refusal:
    return Refusal(-651, f"{said}\nCommand fail. Return code -651\n")


def _fits(kind: str, value: object) -> bool:
    if kind == "list":
        return isinstance(value, list) and all(isinstance(one, dict) for one in value)
    if isinstance(value, list | dict):
        return False
    text = str(value)
    if "|" in kind:
        return text in kind.split("|")
    if found := re.fullmatch(r"(\d+)-(\d+)", kind):
        return text.isdigit() and int(found[1]) <= int(text) <= int(found[2])
    if kind in ("ip", "mask"):
        try:
            ipaddress.ip_interface("/".join(text.split()))
        except ValueError:
            return text == ""
    if kind == "ports":
        return all(re.fullmatch(r"\d{1,5}(-\d{1,5})?(:\d{1,5}(-\d{1,5})?)?", one) for one in text.split())
    return True


def _as_shown(kind: str, value: object) -> object:
    if kind == "mask" and "/" in str(value):
        held = ipaddress.ip_interface(str(value))
        return f"{held.ip} {held.netmask}"
    return int(str(value)) if re.fullmatch(r"\d+-\d+", kind) else value


def _table(fields: str, **more: Any) -> Table:
    parted = (one.partition("=") for one in fields.split())
    return Table(fields={name: kind or "text" for name, _, kind in parted}, **more)


ONOFF = "enable|disable"
TABLES: Mapping[str, Table] = {
    "firewall/address": _table(
        "type=ipmask|iprange|fqdn|geography|wildcard|dynamic|interface-subnet|mac subnet=mask "
        "start-ip=ip end-ip=ip fqdn "
        f"country comment color=0-32 associated-interface interface allow-routing={ONOFF} uuid wildcard "
        f"visibility={ONOFF} "
        "fabric-object tagging=list list=list cache-ttl=0-86400",
        refers={"associated-interface": INTERFACE},
        defaults={"type": "ipmask", "subnet": "0.0.0.0 0.0.0.0"},
    ),
    "firewall/address6": _table("type ip6 start-ip=ip end-ip=ip fqdn comment color=0-32 uuid"),
    "firewall/addrgrp": _table(
        f"type member=list comment color=0-32 exclude={ONOFF} exclude-member=list allow-routing={ONOFF} "
        "uuid category",
        refers={"member": ADDRESSES, "exclude-member": ADDRESSES},
        needs=("member",),
    ),
    "firewall/addrgrp6": _table(
        "member=list comment color=0-32 uuid", refers={"member": SIX}, needs=("member",)
    ),
    "firewall.service/custom": _table(
        "protocol=TCP/UDP/SCTP|TCP/UDP/UDP-Lite/SCTP|ICMP|ICMP6|IP|HTTP|FTP|CONNECT|SOCKS-TCP|ALL "
        "tcp-portrange=ports "
        "udp-portrange=ports sctp-portrange=ports icmptype icmpcode protocol-number=0-254 category "
        "comment color=0-32 proxy "
        "iprange fqdn visibility session-ttl helper uuid",
        defaults={"protocol": "TCP/UDP/SCTP"},
    ),
    "firewall.service/group": _table(
        "member=list comment color=0-32 uuid proxy", refers={"member": SERVICES}, needs=("member",)
    ),
    "firewall/vip": _table(
        f"extip extintf mappedip=list portforward={ONOFF} protocol=tcp|udp|sctp|icmp extport mappedport "
        "comment type "
        f"server-type realservers=list ldb-method arp-reply={ONOFF} color=0-32 uuid id=0-65535 "
        f"status={ONOFF} monitor=list "
        "persistence http-redirect ssl-certificate ssl-mode",
        refers={"extintf": INTERFACE},
        defaults={"type": "static-nat"},
    ),
    "firewall/ippool": _table(
        f"type startip=ip endip=ip comments arp-reply={ONOFF} associated-interface",
        defaults={"type": "overload"},
    ),
    "firewall/policy": _table(
        f"name status={ONOFF} srcintf=list dstintf=list srcaddr=list dstaddr=list srcaddr6=list "
        "dstaddr6=list service=list "
        f"action=accept|deny|ipsec schedule nat={ONOFF} ippool={ONOFF} poolname=list "
        "logtraffic=all|utm|disable "
        f"logtraffic-start={ONOFF} comments uuid srcaddr-negate={ONOFF} dstaddr-negate={ONOFF} "
        f"service-negate={ONOFF} "
        f"utm-status={ONOFF} inspection-mode=proxy|flow av-profile ips-sensor webfilter-profile "
        "application-list "
        f"ssl-ssh-profile groups=list users=list vpntunnel inbound={ONOFF} outbound={ONOFF} "
        f"fixedport={ONOFF} "
        "internet-service profile-type profile-group",
        key="policyid",
        refers={
            "srcintf": (*INTERFACE, "system/zone"),
            "dstintf": (*INTERFACE, "system/zone"),
            "srcaddr": ADDRESSES,
            "dstaddr": ADDRESSES,
            "srcaddr6": SIX,
            "dstaddr6": SIX,
            "service": SERVICES,
            "poolname": ("firewall/ippool",),
        },
        defaults={
            "status": "enable",
            "action": "deny",
            "schedule": "always",
            "nat": "disable",
            "logtraffic": "utm",
        },
        needs=("srcintf", "dstintf"),
        numbers_itself=True,
    ),
    "firewall/central-snat-map": _table(
        f"status={ONOFF} orig-addr=list dst-addr=list srcintf=list dstintf=list nat={ONOFF} "
        "nat-ippool=list protocol=0-255 "
        "orig-port nat-port comments uuid",
        key="policyid",
        refers={
            "orig-addr": ADDRESSES,
            "dst-addr": ADDRESSES,
            "srcintf": INTERFACE,
            "dstintf": INTERFACE,
            "nat-ippool": ("firewall/ippool",),
        },
        numbers_itself=True,
    ),
    "router/static": _table(
        f"dst=mask gateway=ip device distance=1-255 priority=1-65535 comment blackhole={ONOFF} "
        f"status={ONOFF} weight=0-255 "
        f"dynamic-gateway={ONOFF} dstaddr vrf=0-511 tag=0-4294967295",
        key="seq-num",
        refers={"device": INTERFACE},
        defaults={"dst": "0.0.0.0 0.0.0.0", "gateway": "0.0.0.0", "distance": 10, "status": "enable"},
        numbers_itself=True,
    ),
    "router/bgp": _table(
        f"as=0-4294967295 router-id=ip neighbor=list network=list redistribute=list keepalive-timer=0-65535 "
        f"holdtime-timer=0-65535 ebgp-multipath={ONOFF} ibgp-multipath={ONOFF} graceful-restart={ONOFF} "
        "neighbor-group=list",
        key=None,
    ),
    "router/ospf": _table(
        "router-id=ip area=list network=list ospf-interface=list redistribute=list passive-interface=list "
        "default-information-originate distance=1-255",
        key=None,
    ),
    "system/interface": _table(
        "vdom type ip=mask allowaccess alias description status=up|down mode=static|dhcp|pppoe "
        f"mtu-override={ONOFF} "
        "mtu=68-9216 vlanid=1-4094 interface role macaddr ipv6 secondary-IP secondaryip=list "
        "device-identification member=list",
        refers={"interface": INTERFACE},
        defaults={"vdom": "root", "mode": "static", "ip": "0.0.0.0 0.0.0.0", "status": "up"},
    ),
    "system/zone": _table("interface=list intrazone=allow|deny description", refers={"interface": INTERFACE}),
    "system/global": _table(
        "hostname timezone admintimeout=1-480 cfg-save=automatic|manual|revert "
        "cfg-revert-timeout=10-4294967295 admin-sport "
        "alias gui-theme language",
        key=None,
    ),
    "system/dns": _table(
        "primary=ip secondary=ip domain=list ip6-primary ip6-secondary protocol timeout=1-10 retry=0-5",
        key=None,
    ),
    "system/ntp": _table(
        f"ntpsync={ONOFF} type=fortiguard|custom syncinterval=1-1440 ntpserver=list server-mode={ONOFF}",
        key=None,
    ),
    "system/dns-database": _table(
        f"status={ONOFF} domain type=primary|secondary view=shadow|public|proxy primary-name contact "
        "ttl=0-2147483647 "
        f"authoritative={ONOFF} dns-entry=list forwarder rr-max ip-primary",
    ),
    "system/dns-server": _table("mode=recursive|non-recursive|forward-only dnsfilter-profile", refers={}),
    "system.dhcp/server": _table(
        f"status={ONOFF} lease-time=0-8640000 default-gateway=ip netmask=ip interface ip-range=list "
        "dns-service dns-server1=ip "
        "dns-server2=ip dns-server3=ip domain ntp-service ntp-server1=ip reserved-address=list "
        "options=list timezone-option "
        "wins-server1=ip exclude-range=list",
        key="id",
        refers={"interface": INTERFACE},
        needs=("interface", "netmask"),
        numbers_itself=True,
    ),
    "system/admin": _table("accprofile password trusthost1 comments vdom=list ssh-public-key1"),
    "vpn.ipsec/phase1-interface": _table(
        "interface ike-version=1|2 peertype proposal psksecret remote-gw=ip local-gw=ip dhgrp "
        "keylife=120-172800 "
        f"dpd=disable|on-idle|on-demand nattraversal mode=aggressive|main net-device={ONOFF} localid "
        "comments type "
        "authmethod=psk|signature peerid auto-negotiate add-route",
        refers={"interface": INTERFACE},
        needs=("interface",),
    ),
    "vpn.ipsec/phase2-interface": _table(
        "phase1name proposal src-subnet=mask dst-subnet=mask src-addr-type dst-addr-type src-name "
        f"dst-name pfs={ONOFF} dhgrp "
        f"keylifeseconds=120-172800 auto-negotiate={ONOFF} keepalive={ONOFF} comments",
        refers={"phase1name": ("vpn.ipsec/phase1-interface",)},
        needs=("phase1name",),
    ),
}

FACTORY: dict[str, object] = {name: {} for name in TABLES} | {
    "system/interface": {
        f"port{number}": {
            "name": f"port{number}",
            "vdom": "root",
            "mode": "static",
            "type": "physical",
            "ip": "192.0.2.1 255.255.255.0" if number == 1 else "0.0.0.0 0.0.0.0",
            "allowaccess": "https ping" if number == 1 else "",
            "status": "up",
        }
        for number in range(1, 5)
    },
    "system/global": {"hostname": "FortiGate-VM64", "cfg-save": "automatic", "cfg-revert-timeout": 600},
    "firewall/address": {"all": {"name": "all", "type": "ipmask", "subnet": "0.0.0.0 0.0.0.0"}},
    "firewall.service/custom": {
        name: {"name": name, "protocol": "TCP/UDP/SCTP", "tcp-portrange": str(port)}
        for name, port in {"HTTP": 80, "HTTPS": 443, "SSH": 22}.items()
    }
    | {
        "ALL": {"name": "ALL", "protocol": "IP", "protocol-number": 0},
        "PING": {"name": "PING", "protocol": "ICMP", "icmptype": 8},
    },
}


def _named(value: object) -> Iterator[str]:
    """The names in a field: one text, or the members of a list by `name` or `interface-name`."""
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                yield str(one.get("name", one.get("interface-name", "")))
    elif value is not None:
        yield str(value)


def fault_of(running: Mapping[str, object], name: str, mkey: str) -> str:
    """Why the object that was changed cannot be; empty when it can. The words are those of #193 of the
    Terraform provider: the name that does not resolve, then where parsing stopped."""
    table, held = TABLES[name], running[name]
    assert isinstance(held, dict)
    one = held if table.key is None else held.get(mkey)
    if not isinstance(one, dict):
        return ""
    for needed in table.needs:
        if not one.get(needed):
            return f"must set {needed}"
    for key, others in table.refers.items():
        for other in _named(one.get(key)):
            if other in BUILT_IN or any(other in _held(running, place) for place in others):
                continue
            return f"node_check_object fail! for name {other}\nvalue parse error before '{other}'"
    return ""


def _held(running: Mapping[str, object], place: str) -> Mapping[str, object]:
    held = running[place]
    return held if isinstance(held, dict) else {}


def used_by(running: Mapping[str, object], name: str, mkey: str) -> list[str]:
    """What refers to an object, as `path/name key`."""
    users: list[str] = []
    for place, table in TABLES.items():
        for key, others in table.refers.items():
            if name not in others:
                continue
            held = _held(running, place)
            every = {"": held} if table.key is None else held
            for user, one in every.items():
                if isinstance(one, dict) and mkey in _named(one.get(key)) and (place, user) != (name, mkey):
                    users.append(f"{place} {user}")
    return users
