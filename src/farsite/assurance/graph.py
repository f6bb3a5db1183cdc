"""The resource graph: what contains what, and what needs what, from site to service.

Containment runs site > VIM > zone > host > server; a server is one incarnation of a VNFC on one host. Need
runs the other way: a VNFC needs its server, a VNF any of its VNFCs, a hop of a path any of its instances, a
path all of its hops, a service all of its VNFs and paths. A port needs its VNFC and its network.

Built from what is recorded, whole, in milliseconds for thousands of nodes: a graph that is patched event by
event drifts from the truth, one that is read again cannot. Servers that died a moment ago stay in it as they
stood (`past`), because their replacement would otherwise hide where they died.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from farsite.model.deployment import ResourceKind
from farsite.model.ids import ProjectId, VimId, VnfcId
from farsite.model.ns import NsInstance
from farsite.model.vnf import VnfInstance


class Kind(StrEnum):
    """Kinds of nodes, outermost first."""

    SITE = "site"
    VIM = "vim"
    ZONE = "zone"
    HOST = "host"
    NETWORK = "network"
    SERVER = "server"
    PORT = "port"
    VNFC = "vnfc"
    VNF = "vnf"
    PATH = "path"
    NS = "ns"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A thing in the graph. Ids of zones and hosts begin with their VIM's: names repeat between VIMs."""

    kind: Kind
    id: str


class Registered(Protocol):
    """What the graph knows of a VIM."""

    @property
    def vim_id(self) -> VimId: ...
    @property
    def project_id(self) -> ProjectId: ...
    @property
    def name(self) -> str: ...
    @property
    def site(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One incarnation of a VNFC on one host."""

    vim_id: VimId
    zone: str
    host: str
    vnf_id: str
    vnfc_id: VnfcId
    incarnation: int
    is_alive: bool = True

    @property
    def node(self) -> Node:
        return Node(Kind.SERVER, f"{self.vim_id}/{self.host}/{self.vnfc_id}#{self.incarnation}")

    @property
    def host_node(self) -> Node:
        return host_node(self.vim_id, self.host)


def host_node(vim_id: str, host: str) -> Node:
    return Node(Kind.HOST, f"{vim_id}/{host}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes with what they contain and what they need. `needs`: all of several groups, any of each group."""

    members: Mapping[Node, frozenset[Node]]
    within: Mapping[Node, Node]
    needs: Mapping[Node, tuple[frozenset[Node], ...]]
    servers: Mapping[Node, Server]
    projects: Mapping[Node, ProjectId]
    names: Mapping[Node, str] = field(default_factory=dict[Node, str])

    def around(self, node: Node) -> list[Node]:
        """The containers of a node, innermost first."""
        found: list[Node] = []
        while (outer := self.within.get(node)) is not None:
            found.append(outer)
            node = outer
        return found

    def under(self, node: Node) -> set[Node]:
        """All that a container holds, at any depth."""
        found: set[Node] = set()
        todo = [node]
        while todo:
            for inner in self.members.get(todo.pop(), frozenset()):
                if inner not in found:
                    found.add(inner)
                    todo.append(inner)
        return found

    def broken(self, dead: Iterable[Node]) -> set[Node]:
        """What does not work when these are dead: they, what they contain, and what needs them."""
        found = set(dead)
        for node in list(found):
            found |= self.under(node)
        # Needs are few levels deep (server, VNFC, VNF, path, service): look until nothing changes.
        has_changed = True
        while has_changed:
            has_changed = False
            for node, groups in self.needs.items():
                if node not in found and any(group and group <= found for group in groups):
                    found.add(node)
                    has_changed = True
        return found

    def location(self, node: Node) -> str:
        """`site/vim/zone/host` as far as known, by names."""
        path = [*(reversed(self.around(node)) if node in self.within else self._common(node)), node]
        return "/".join(self.names.get(one, one.id) for one in path)

    def _common(self, node: Node) -> list[Node]:
        """The containers that all servers have in common which something needs that no container holds (a
        function, a path, a service); where sites differ, the first of them by name."""
        needed, todo = {node}, [node]
        while todo:
            for group in self.needs.get(todo.pop(), ()):
                todo += group - needed
                needed |= group
        around = sorted([*reversed(self.around(one))] for one in needed if one in self.servers)
        if not around:
            return []
        common = [first for first, *others in zip(*around, strict=False) if set(others) <= {first}]
        return common or around[0][:1]


def servers_of(vnf: VnfInstance) -> list[Server]:
    """What stands of a VNF, by its record."""
    assert vnf.vim_id is not None
    return [
        Server(
            vim_id=vnf.vim_id,
            zone=one.zone,
            host=one.host,
            vnf_id=vnf.id,
            vnfc_id=one.vnfc_id,
            incarnation=one.incarnation,
            is_alive=one.is_alive,
        )
        for one in vnf.resources
        if one.kind is ResourceKind.COMPUTE and one.vnfc_id is not None
    ]


def build(
    vims: Iterable[Registered],
    vnfs: Sequence[VnfInstance],
    services: Sequence[NsInstance],
    past: Sequence[Server] = (),
) -> Graph:
    """The graph of what is recorded now, and of servers that died a moment ago."""
    members: dict[Node, set[Node]] = {}
    within: dict[Node, Node] = {}
    needs: dict[Node, tuple[frozenset[Node], ...]] = {}
    projects: dict[Node, ProjectId] = {}
    names: dict[Node, str] = {}
    servers: dict[Node, Server] = {}

    def contain(outer: Node, inner: Node) -> None:
        members.setdefault(outer, set()).add(inner)
        within[inner] = outer

    for vim in vims:
        site, node = Node(Kind.SITE, vim.site), Node(Kind.VIM, vim.vim_id)
        contain(site, node)
        names[node] = vim.name
        projects[node] = vim.project_id
        projects.setdefault(site, vim.project_id)

    def place(server: Server) -> None:
        vim = Node(Kind.VIM, server.vim_id)
        servers[server.node] = server
        if not server.host:
            contain(vim, server.node)
            return
        zone = Node(Kind.ZONE, f"{server.vim_id}/{server.zone}")
        host = server.host_node
        contain(vim, zone)
        contain(zone, host)
        contain(host, server.node)
        names.update({zone: server.zone, host: server.host, server.node: server.vnfc_id})
        for one in (zone, host):
            projects.setdefault(one, projects.get(vim, ProjectId("")))

    for vnf in vnfs:
        if vnf.vim_id is None:
            continue
        vnf_node = Node(Kind.VNF, vnf.id)
        names[vnf_node], projects[vnf_node] = vnf.name or vnf.id, vnf.project_id
        vnfcs: set[Node] = set()
        standing = {one.vnfc_id: one for one in servers_of(vnf)}
        for server in standing.values():
            place(server)
        for wanted in vnf.deployment.vnfcs if vnf.deployment else ():
            vnfc = Node(Kind.VNFC, wanted.id)
            projects[vnfc] = vnf.project_id
            vnfcs.add(vnfc)
            if wanted.id in standing:
                needs[vnfc] = (frozenset({standing[wanted.id].node}),)
            for port in wanted.ports:
                port_node = Node(Kind.PORT, f"{wanted.id}/{port.name}")
                wires = [frozenset({vnfc})]
                if port.network_id:
                    wires.append(frozenset({Node(Kind.NETWORK, f"{vnf.vim_id}/{port.network_id}")}))
                needs[port_node] = tuple(wires)
        needs[vnf_node] = (frozenset(vnfcs),)
    for server in past:
        if server.node not in servers:
            place(server)
    for service in services:
        ns = Node(Kind.NS, service.id)
        names[ns], projects[ns] = service.name or service.id, service.project_id
        groups = [frozenset({Node(Kind.VNF, one.vnf_id)}) for one in service.vnfs]
        for chain in service.chains:
            path = Node(Kind.PATH, chain.id)
            projects[path] = service.project_id
            ends = [frozenset({Node(Kind.VNFC, one.vnfc_id)}) for one in (chain.source, chain.target)]
            hops = [
                frozenset(Node(Kind.VNFC, one.vnfc_id) for one in hop.instances)
                for hop in chain.hops
                if not chain.fail_open
            ]
            needs[path] = (*ends, *hops)
            groups.append(frozenset({path}))
        needs[ns] = tuple(groups)
    return Graph(
        members={node: frozenset(inner) for node, inner in members.items()},
        within=within,
        needs=needs,
        servers=servers,
        projects=projects,
        names=names,
    )
