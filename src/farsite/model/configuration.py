"""The configuration of a network function: one vocabulary for every vendor's.

A *configuration document* states what shall be inside a function. Each service of it is optional, and what is
absent is not ours: nothing of that service is read, changed or removed. What is stated is owned whole,
unless an adapter says otherwise for its product: rules, routes and pools that are not in the document go
away. Text in the vendor's own language stands under `native`, by the name that the adapter gives the place
it goes to.

Members of a list that have a `name` (or another key, see `KEYS`) are compared by it; the order of firewall
and NAT rules matters and nothing else's does. Addresses and prefixes are written as `ipaddress` reads them,
times in seconds, sizes in bytes.

Secrets are references (`secret:NAME`), never values.

Source: the service categories of Apache CloudStack's VNF framework; names after IETF YANG modules (RFC 8343,
8349, 8519, 8696) where these have one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class Service(StrEnum):
    """What a document can speak of, and an adapter can take."""

    INTERFACES = "interfaces"
    ROUTES = "routes"
    BGP = "bgp"
    OSPF = "ospf"
    FIREWALL = "firewall"
    NAT = "nat"
    LOAD_BALANCER = "load_balancer"
    DNS = "dns"
    DHCP = "dhcp"
    VPN = "vpn"
    REDUNDANCY = "redundancy"
    SWITCH = "switch"
    USERS = "users"
    SYSTEM = "system"
    NATIVE = "native"


class Verb(StrEnum):
    """What can be asked of a function beside its configuration."""

    HEALTH = "health"
    METRICS = "metrics"
    BACKUP = "backup"
    RESTORE = "restore"
    UPGRADE = "upgrade"
    LICENCE = "licence"


class _Strict:
    """Unknown fields are mistakes: a typing error must not silently configure nothing."""

    __slots__ = ()
    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid"}


class Protocol(StrEnum):
    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"
    ESP = "esp"
    VRRP = "vrrp"


class RuleAction(StrEnum):
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface(_Strict):
    """A network interface. `mtu_bytes` None: as it is."""

    name: str
    description: str = ""
    is_enabled: bool = True
    addresses: tuple[str, ...] = ()
    """With prefix length: `192.0.2.1/24`."""
    mtu_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(_Strict):
    """A static route: through an address, an interface, both, or nowhere (`is_blackhole`)."""

    prefix: str
    next_hop: str = ""
    interface: str = ""
    distance: int = 1
    is_blackhole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpNeighbour(_Strict):
    """A BGP peer. Hold time and keepalive in seconds; None: the product's own."""

    address: str
    remote_as: int
    description: str = ""
    password: str = ""
    """A reference to a secret."""
    hold_time_s: int | None = None
    keepalive_s: int | None = None
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bgp(_Strict):
    local_as: int
    router_id: str
    neighbours: tuple[BgpNeighbour, ...] = ()
    networks: tuple[str, ...] = ()
    """Prefixes announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OspfInterface(_Strict):
    name: str
    area: str = "0.0.0.0"  # noqa: S104 - the backbone area, no address
    cost: int | None = None
    is_passive: bool = False
    hello_interval_s: int | None = None
    dead_interval_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ospf(_Strict):
    router_id: str
    interfaces: tuple[OspfInterface, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallRule(_Strict):
    """Matches what every stated field matches; empty fields match everything. Ports: `80` or `8000-8099`."""

    name: str
    action: RuleAction = RuleAction.ACCEPT
    protocol: Protocol = Protocol.ANY
    source: str = ""
    destination: str = ""
    source_ports: tuple[str, ...] = ()
    destination_ports: tuple[str, ...] = ()
    in_interface: str = ""
    out_interface: str = ""
    is_logged: bool = False
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall(_Strict):
    """Rules for what is forwarded; replies of accepted connections always pass. The first match decides."""

    default_action: RuleAction = RuleAction.DROP
    rules: tuple[FirewallRule, ...] = ()


class NatKind(StrEnum):
    SOURCE = "source"
    """Sources are rewritten to `to`, or to the address of the interface they leave by."""
    DESTINATION = "destination"
    """Destinations (and ports) are rewritten to `to`: port forwarding."""
    STATIC = "static"
    """`destination` stands for `to`, both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatRule(_Strict):
    name: str
    kind: NatKind
    protocol: Protocol = Protocol.ANY
    source: str = ""
    destination: str = ""
    destination_port: str = ""
    to: str = ""
    to_port: str = ""
    in_interface: str = ""
    out_interface: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nat(_Strict):
    rules: tuple[NatRule, ...] = ()


class Balance(StrEnum):
    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    SOURCE_HASH = "source_hash"


class ServiceProtocol(StrEnum):
    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck(_Strict):
    """How members of a pool are found healthy. Times in seconds; `path` makes it an HTTP request."""

    path: str = ""
    interval_s: float = 2.0
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMember(_Strict):
    name: str
    address: str
    port: int
    weight: int = 1
    is_enabled: bool = True
    is_backup: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(_Strict):
    name: str
    balance: Balance = Balance.ROUND_ROBIN
    members: tuple[PoolMember, ...] = ()
    check: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServer(_Strict):
    """An address and port that a pool answers for. `address` empty: all of the function's."""

    name: str
    port: int
    pool: str
    address: str = ""
    protocol: ServiceProtocol = ServiceProtocol.TCP
    idle_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer(_Strict):
    virtual_servers: tuple[VirtualServer, ...] = ()
    pools: tuple[Pool, ...] = ()


class RecordType(StrEnum):
    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    TXT = "TXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord(_Strict):
    name: str
    value: str
    type: RecordType = RecordType.A
    ttl_s: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns(_Strict):
    """A resolver: what it answers itself, and whom it asks for the rest."""

    forwarders: tuple[str, ...] = ()
    records: tuple[DnsRecord, ...] = ()
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpReservation(_Strict):
    name: str
    mac: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpPool(_Strict):
    name: str
    first: str
    last: str
    interface: str = ""
    router: str = ""
    dns_servers: tuple[str, ...] = ()
    lease_s: int = 3600
    reservations: tuple[DhcpReservation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dhcp(_Strict):
    pools: tuple[DhcpPool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel(_Strict):
    """An IPsec tunnel with IKEv2 and a pre-shared key (a reference to a secret)."""

    name: str
    remote_address: str
    local_address: str = ""
    local_prefixes: tuple[str, ...] = ()
    remote_prefixes: tuple[str, ...] = ()
    pre_shared_key: str = ""
    ike_proposal: str = "aes256-sha256-modp2048"
    esp_proposal: str = "aes256-sha256"
    is_initiator: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpn(_Strict):
    tunnels: tuple[Tunnel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualRouter(_Strict):
    """One VRRP group: who has the highest priority holds the addresses. Source: RFC 9568."""

    name: str
    router_id: int
    interface: str
    priority: int = 100
    addresses: tuple[str, ...] = ()
    advertisement_s: float = 1.0
    is_preempting: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundancy(_Strict):
    virtual_routers: tuple[VirtualRouter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPort(_Strict):
    """A port of a bridge: access (`vlan_id`) or trunk (`trunk_vlan_ids`), untagged and unlimited without "
    "either."""

    name: str
    vlan_id: int | None = None
    trunk_vlan_ids: tuple[int, ...] = ()
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(_Strict):
    name: str
    ports: tuple[SwitchPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(_Strict):
    bridges: tuple[Bridge, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class User(_Strict):
    """An account inside the function. `password` is a reference to a secret."""

    name: str
    role: str = "reader"
    ssh_keys: tuple[str, ...] = ()
    password: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class System(_Strict):
    host_name: str = ""
    domain: str = ""
    time_zone: str = ""
    ntp_servers: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    syslog_servers: tuple[str, ...] = ()
    banner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration(_Strict):
    """A configuration document. None: that service is not ours."""

    interfaces: tuple[Interface, ...] | None = None
    routes: tuple[Route, ...] | None = None
    bgp: Bgp | None = None
    ospf: Ospf | None = None
    firewall: Firewall | None = None
    nat: Nat | None = None
    load_balancer: LoadBalancer | None = None
    dns: Dns | None = None
    dhcp: Dhcp | None = None
    vpn: Vpn | None = None
    redundancy: Redundancy | None = None
    switch: Switch | None = None
    users: tuple[User, ...] | None = None
    system: System | None = None
    native: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def services(self) -> frozenset[Service]:
        """What the document speaks of."""
        stated = {one for one in Service if one is not Service.NATIVE and getattr(self, one) is not None}
        return frozenset(stated | ({Service.NATIVE} if self.native else set()))


KEYS: Mapping[str, str] = {"routes": "prefix", "neighbours": "address"}
"""What members of a list are told apart by, where that is not their `name`."""
ORDERED = frozenset({"rules"})
"""Lists whose order means something."""
