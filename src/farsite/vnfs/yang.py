"""YANG data as trees: how a device's configuration is read, compared, shown and changed.

A place of a NETCONF adapter is a subtree. What a document states is laid over what runs, and only what
differs is sent, so nothing else is touched. What a tree alone cannot tell (keys of lists, what a document
owns) is said by the adapter (`Rules`).

Source: RFC 7950 (YANG 1.1), 7 and 9; RFC 6241, 7.2 (`operation`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from farsite.vnfs.netconf import BASE

Path = tuple[str, ...]
"""Names of elements below a place's root; entries of a list have the list's name."""
VALUE = "."
"""Instead of the name of a key: a leaf-list, whose entries are told apart by their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A container, an entry of a list, or a leaf (with text). `prefixes` are those that its text uses
    (identities): names of namespaces. `operation`: of an edit, or of what a document states. `told`: how a
    device wrote an identity that stands here without a prefix."""

    namespace: str
    name: str
    text: str = ""
    children: tuple["Node", ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict[str, str])
    operation: str = ""
    told: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is to be known of a place beside its data.

    `lists`: the keys of lists and leaf-lists, by the name of the entries' element; several are divided by
    spaces, `VALUE` marks a leaf-list. `owned`: in an entry or container that a document states, these
    are its alone: what it does not state goes away. `owned_if_stated`: the same, for a document that states
    any. `filled`: stated only where the device has nothing. `ordered`: lists whose order means something.
    `replaced`: lists whose entries are written anew when they change. `pruned`: containers that mean
    nothing when they are empty, and lists whose entries mean nothing with their keys alone. `defaults`:
    what leaves are that are not there; devices differ in whether they tell them. `only`: of these lists
    only entries are looked at whose first key the pattern matches. `entries`: lists of which a document
    owns the entries with these first keys, beside those that it states. `hashed`: leaves in which the
    device keeps a hash of a password (`yang_secrets`). `identities`: keys that are identities of the leaf's
    own module, with that module's prefix.
    """

    lists: Mapping[str, str] = field(default_factory=dict[str, str])
    owned: frozenset[Path] = frozenset()
    owned_if_stated: frozenset[Path] = frozenset()
    filled: frozenset[Path] = frozenset()
    ordered: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    pruned: frozenset[str] = frozenset()
    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    only: Mapping[Path, str] = field(default_factory=dict[Path, str])
    entries: Mapping[Path, frozenset[str]] = field(default_factory=dict[Path, frozenset[str]])
    hashed: frozenset[Path] = frozenset()
    identities: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def merging(self) -> "Rules":
        """The same for what owns nothing."""
        nothing: frozenset[Path] = frozenset()
        return replace(self, owned=nothing, owned_if_stated=nothing, filled=nothing, entries={})

    def named(self, entry: Node) -> tuple[Node, ...]:
        """The keys of an entry that is there, as the device has to be told which one is meant.

        netconfd 2.13 tells an identity with a prefix that it has without one, and the other way round, and
        takes the two for different keys. So it is told each the other way; to others both are one.
        """
        keys = self.keys(entry)
        return tuple(self._other_way(one) for one in entry.children if one.name in keys)

    def _other_way(self, leaf: Node) -> Node:
        prefix = self.identities.get(leaf.name)
        if prefix is None or not leaf.told or ":" in leaf.told:
            return leaf
        return replace(leaf, text=f"{prefix}:{leaf.text}", prefixes={prefix: leaf.namespace})

    def keys(self, node: Node) -> tuple[str, ...]:
        """Names of the leaves that tell an entry of a list from others."""
        named = self.lists.get(node.name, "") if node.children else ""
        return () if named == VALUE else tuple(named.split())

    def identity(self, node: Node) -> tuple[str, ...]:
        """What tells a node apart among its siblings."""
        if self.lists.get(node.name) == VALUE and not node.children:
            return (node.namespace, node.name, node.text)
        told = {one.name: meant(one) for one in node.children}
        return (node.namespace, node.name, *(told.get(key, "") for key in self.keys(node)))


def meant(leaf: Node) -> str:
    """A leaf's value whatever prefix an identity is written with: `static`, `{urn:other}ospf`."""
    prefix, _, local = leaf.text.partition(":")
    namespace = leaf.prefixes.get(prefix)
    if namespace is None:
        return leaf.text
    return local if namespace == leaf.namespace else f"{{{namespace}}}{local}"


def are_alike(one: Node | None, other: Node | None) -> bool:
    """Whether two trees hold the same, whatever prefixes they are written with."""
    if one is None or other is None:
        return one is other
    return (
        (one.namespace, one.name, meant(one)) == (other.namespace, other.name, meant(other))
        and len(one.children) == len(other.children)
        and all(map(are_alike, one.children, other.children))
    )


def parse(xml: str) -> tuple[Node, ...]:
    """The trees that a text holds, one after another; attributes other than `operation` are dropped.

    Raises:
        ValueError: it is no XML.
    """
    return _Reading().read(xml)


class _Reading:
    def __init__(self) -> None:
        self._levels: list[list[Node]] = [[]]
        self._scopes: list[dict[str, str]] = [{}]
        self._new: dict[str, str] = {}
        self._operations: list[str] = []
        self._text = ""

    def read(self, xml: str) -> tuple[Node, ...]:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartNamespaceDeclHandler = self._named
        parser.StartElementHandler = self._begun
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._told
        try:
            # Several trees may follow one another.
            parser.Parse(f"<all>{xml}</all>", True)
        except expat.ExpatError as error:
            raise ValueError(str(error)) from error
        return self._levels[0][0].children

    def _named(self, prefix: str | None, namespace: str | None) -> None:
        self._new[prefix or ""] = namespace or ""

    def _begun(self, _name: str, attributes: Mapping[str, str]) -> None:
        self._scopes.append({**self._scopes[-1], **self._new})
        self._new = {}
        self._levels.append([])
        self._operations.append(attributes.get(f"{BASE}}}operation", ""))
        self._text = ""

    def _told(self, text: str) -> None:
        self._text += text

    def _ended(self, name: str) -> None:
        children, scope = tuple(self._levels.pop()), self._scopes.pop()
        namespace, _, local = name.rpartition("}")
        text = "" if children else self._text.strip()
        prefix = text.partition(":")[0] if ":" in text else ""
        self._levels[-1].append(
            Node(
                namespace=namespace,
                name=local,
                text=text,
                children=children,
                prefixes={prefix: scope[prefix]} if prefix and prefix in scope else {},
                operation=self._operations.pop(),
            )
        )
        self._text = ""


def selected(roots: Iterable[Node], chosen: Node) -> Node | None:
    """What a subtree filter selects. Devices answer filters of one root in one tree, or in several."""
    found = [one for one in roots if (one.namespace, one.name) == (chosen.namespace, chosen.name)]
    children = tuple(child for one in found for child in one.children)
    if not found or not chosen.children:
        return replace(found[0], children=children) if found else None
    parts = [selected([one], part) for one in children for part in chosen.children]
    kept = tuple(one for one in parts if one is not None)
    return replace(found[0], children=kept) if kept else None


def text(node: Node | None, within: str = "") -> str:
    """Indented XML, one element on a line; empty for None. `within` is the namespace around it."""
    return "" if node is None else "".join(f"{line}\n" for line in _lines(node, within))


def _lines(node: Node, within: str, depth: int = 0) -> Iterator[str]:
    told = "" if node.namespace == within else f" xmlns={quoteattr(node.namespace)}"
    told += "".join(f" xmlns:{prefix}={quoteattr(name)}" for prefix, name in node.prefixes.items())
    if node.operation:
        told += f' xmlns:nc="{BASE}" nc:operation="{node.operation}"'
    indent = "  " * depth
    if node.children:
        yield f"{indent}<{node.name}{told}>"
        for child in node.children:
            yield from _lines(child, node.namespace, depth + 1)
        yield f"{indent}</{node.name}>"
    elif node.text:
        yield f"{indent}<{node.name}{told}>{escape(node.text)}</{node.name}>"
    else:
        yield f"{indent}<{node.name}{told}/>"


def canonical(node: Node, rules: Rules) -> Node | None:
    """The same data in the one order in which they are shown, without what means nothing."""
    if node.name in rules.identities and not node.told and not meant(node).startswith("{"):
        return replace(node, text=meant(node), prefixes={}, told=node.text)
    children = [one for child in node.children if (one := canonical(child, rules)) is not None]
    keys = rules.keys(node)
    if not node.text and node.name in rules.pruned and all(one.name in keys for one in children):
        return None
    if not children and rules.defaults.get(node.name) == node.text:
        return None

    def place(child: Node) -> tuple[object, ...]:
        first = keys.index(child.name) if child.name in keys else len(keys)
        told = () if child.name in rules.ordered else rules.identity(child)[2:]
        return (first, child.name, child.namespace, *told)

    return replace(node, children=tuple(sorted(children, key=place)))


def laid_over(was: Node | None, stated: Node, rules: Rules, at: Path = ()) -> Node | None:
    """What a node is to be when a document states this of it; None: it goes away."""
    if stated.operation in ("remove", "delete"):
        return None
    if was is None:
        fresh = [one for child in stated.children if (one := laid_over(None, child, rules)) is not None]
        return replace(stated, children=tuple(fresh), operation="")
    if not stated.children and not was.children:
        # Devices have been seen to take an entry whose key has another prefix for another entry.
        is_as_it_is = at in rules.filled or meant(was) == meant(stated)
        return was if is_as_it_is else replace(stated, operation="")
    told = {rules.identity(one): one for one in stated.children}
    names = {one.name for one in stated.children}
    kept: list[Node] = []
    for child in was.children:
        below = (*at, child.name)
        mine = told.pop(rules.identity(child), None)
        if mine is not None:
            one = laid_over(child, mine, rules, below)
            kept += [one] if one is not None else []
        elif not (at in rules.owned | rules.owned_if_stated or _goes(below, child, names, rules)):
            kept.append(child)
    kept += [one for child in told.values() if (one := laid_over(None, child, rules)) is not None]
    return replace(was, children=tuple(_in_order(kept, stated, rules)))


def _goes(below: Path, child: Node, stated: set[str], rules: Rules) -> bool:
    if below in rules.owned or (below in rules.owned_if_stated and child.name in stated):
        return True
    return first_key(child, rules) in rules.entries.get(below, ())


def first_key(entry: Node, rules: Rules) -> str:
    """What tells an entry of a list from others, or the first of several such leaves."""
    return (*rules.identity(entry)[2:], "")[0]


def looked_at(node: Node, rules: Rules, at: Path = ()) -> Node:
    """A tree without the entries that are nobody's business (`Rules.only`)."""
    kept = [
        looked_at(child, rules, (*at, child.name))
        for child in node.children
        if re.fullmatch(rules.only.get((*at, child.name), ".*"), first_key(child, rules), re.DOTALL)
    ]
    return replace(node, children=tuple(kept))


def _in_order(children: list[Node], stated: Node, rules: Rules) -> list[Node]:
    """What is stated of ordered lists in the order in which it is, everybody else's where it was."""
    here = {rules.identity(one): one for one in children if one.name in rules.ordered}
    wanted = [rules.identity(one) for one in stated.children if rules.identity(one) in here]
    slots = [index for index, one in enumerate(children) if rules.identity(one) in wanted]
    ordered = list(children)
    for slot, identity in zip(slots, wanted, strict=True):
        ordered[slot] = here[identity]
    return ordered


def edits(was: Node | None, will: Node | None, rules: Rules) -> tuple[Node, ...]:
    """What makes one tree of the other, for `edit-config` with the default operation `merge`, in this order.

    Two where entries change their order: they are taken away first, for merging moves none.

    Raises:
        ValueError: entries of a list changed whose key the rules do not name.
    """
    between = None if was is None or will is None else _without_moved(was, will, rules)
    steps = ((was, will),) if between == was else ((was, between), (between, will))
    return tuple(edit for one, other in steps if (edit := _edit(one, other, rules)) is not None)


def _without_moved(was: Node, will: Node, rules: Rules) -> Node:
    others = {rules.identity(one): one for one in will.children}
    kept: list[Node] = []
    moved = {name for name in rules.ordered if _is_moved(name, was, will, rules)}
    for child in was.children:
        other = others.get(rules.identity(child))
        if child.name not in moved:
            kept.append(child if other is None else _without_moved(child, other, rules))
    return replace(was, children=tuple(kept))


def _is_moved(name: str, was: Node, will: Node, rules: Rules) -> bool:
    before = [rules.identity(one) for one in was.children if one.name == name]
    after = [rules.identity(one) for one in will.children if one.name == name]
    stay = [one for one in before if one in after]
    return after[: len(stay)] != stay


def _edit(was: Node | None, will: Node | None, rules: Rules) -> Node | None:
    if was == will:
        return None
    if will is None:
        assert was is not None
        return _removed(was, rules)
    if was is None:
        return will
    if not was.children and not will.children:
        return will if (was.text, was.prefixes) != (will.text, will.prefixes) else None
    if will.name in rules.replaced:
        return replace(will, operation="replace")
    before, after = _by_identity(was, will, rules), _by_identity(will, was, rules)
    changed = [
        edit for name, one in after.items() if (edit := _edit(before.get(name), one, rules)) is not None
    ]
    gone = [_removed(one, rules) for name, one in before.items() if name not in after]
    if not changed and not gone:
        return None
    keys = rules.keys(will)
    return replace(
        will, children=(*rules.named(was), *(one for one in changed if one.name not in keys), *gone)
    )


def _removed(node: Node, rules: Rules) -> Node:
    if node.name in rules.pruned and not rules.keys(node):
        # Its presence may mean something to the device.
        return replace(node, children=tuple(_removed(one, rules) for one in node.children))
    value = node.text if rules.lists.get(node.name) == VALUE else ""
    return replace(node, text=value, children=rules.named(node), operation="remove")


def _by_identity(node: Node, other: Node, rules: Rules) -> dict[tuple[str, ...], Node]:
    found: dict[tuple[str, ...], Node] = {}
    untold: set[str] = set()
    for one in node.children:
        identity = rules.identity(one)
        if identity in found:
            untold.add(one.name)
        found[identity] = one
    for name in untold:
        if [one for one in node.children if one.name == name] != [
            one for one in other.children if one.name == name
        ]:
            raise ValueError(f'the adapter does not say by which key entries of "{name}" are told apart')
    return found


def facts(nodes: Iterable[Node], keys: Mapping[str, str], at: str = "") -> Iterator[str]:
    """One line `PATH VALUE` per leaf, entries of lists with their keys: `interface[eth1]/enabled true`."""
    rules = Rules(lists=keys)
    for node in nodes:
        told = rules.identity(node)[2:] if rules.keys(node) else ()
        path = f"{at}{node.name}" + (f"[{' '.join(told)}]" if told else "")
        if node.children:
            yield from facts(node.children, keys, f"{path}/")
        else:
            yield f"{path} {' '.join(node.text.split())}".rstrip()
