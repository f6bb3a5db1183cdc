"""Which alarm is the cause and which are its symptoms: pure functions over the resource graph.

Containment first: when everything of ours in a container (host, zone, VIM, site) is dead, and that is more
than one thing, the container is what failed; the outermost such container is the cause and all beneath it are
symptoms. One dead server alone is its own cause: nothing tells it from a dead host. Dependency next: a VNF
without a living VNFC, a path with a dead hop and a service over them are derived, and are symptoms of what
killed what they need.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farsite.assurance.graph import Graph, Kind, Node

AT_LEAST = 2
"""So many parts of a container must have failed before the container is suspected instead of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """An alarm as correlation sees it: which node it says is broken. `key` identifies the alarm."""

    key: str
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What failed, with the alarms that this explains. Empty `symptoms`: nothing else is explained by it."""

    node: Node
    symptoms: tuple[str, ...]
    own: tuple[str, ...] = ()
    """Alarms of the node itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """Causes, outermost first, and what does not work because of them."""

    causes: tuple[Cause, ...]
    failed: frozenset[Node]
    """Containers that are concluded to have failed, or have an alarm that says so."""
    broken: frozenset[Node]
    """VNFs, paths and services that do not work."""


def failed_containers(graph: Graph, dead: Iterable[Node]) -> frozenset[Node]:
    """Containers of which everything is dead. Those among `dead` count as failed themselves."""
    failed = set(dead)
    for kind in (Kind.HOST, Kind.ZONE, Kind.VIM, Kind.SITE):
        for node, inner in graph.members.items():
            if node.kind is kind and inner <= failed and _things(graph, inner) >= AT_LEAST:
                failed.add(node)
    return frozenset(failed - set(graph.servers))


def _things(graph: Graph, inner: Iterable[Node]) -> int:
    """How many things these are. A function that was made anew in its place is one, however often."""
    servers = graph.servers
    return len(
        {
            (servers[one].vnf_id, servers[one].vnfc_id) if one in servers else (one.kind, one.id)
            for one in inner
        }
    )


def conclude(graph: Graph, conditions: Sequence[Condition]) -> Conclusion:
    """Cause and symptoms of all that is wrong now. The same input in any order gives the same conclusion."""
    dead = {one.node for one in conditions}
    failed = failed_containers(graph, dead)
    dead_now = failed | dead | {node for node, server in graph.servers.items() if not server.is_alive}
    broken = graph.broken(dead_now)
    explained: dict[Node, set[str]] = {}
    own: dict[Node, set[str]] = {}
    roots: dict[Node, Node] = {}
    for one in conditions:
        outermost = [node for node in graph.around(one.node) if node in failed]
        roots[one.node] = outermost[-1] if outermost else one.node
    for one in conditions:
        for root in _roots_of(graph, one.node, roots):
            explained.setdefault(root, set())
            (own if root == one.node else explained).setdefault(root, set()).add(one.key)
    causes = [
        Cause(node=node, symptoms=tuple(sorted(keys)), own=tuple(sorted(own.get(node, ()))))
        for node, keys in explained.items()
    ]
    order = list(Kind)
    causes.sort(key=lambda cause: (order.index(cause.node.kind), cause.node.id))
    services = frozenset(node for node in broken if node.kind in (Kind.VNF, Kind.PATH, Kind.NS))
    return Conclusion(
        causes=tuple(causes),
        failed=frozenset(node for node in failed if node.kind in _CONTAINERS),
        broken=services,
    )


_CONTAINERS = frozenset({Kind.HOST, Kind.ZONE, Kind.VIM, Kind.SITE})


def _roots_of(graph: Graph, node: Node, roots: Mapping[Node, Node]) -> set[Node]:
    """What explains a node: its failed container; of a derived one, what explains that which it needs."""
    if node.kind not in (Kind.VNF, Kind.PATH, Kind.NS):
        return {roots[node]}
    found: set[Node] = set()
    todo, seen = [node], {node}
    while todo:
        for group in graph.needs.get(todo.pop(), ()):
            for needed in group - seen:
                seen.add(needed)
                if needed.kind is Kind.SERVER and needed in roots:
                    found.add(roots[needed])
                todo.append(needed)
    return found or {node}
