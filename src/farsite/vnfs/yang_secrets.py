"""Passwords in YANG data: stated in clear, kept by devices as hashes, and shown to nobody.

A leaf of type `crypt-hash` that is stated as `$0$PASSWORD` becomes a hash here: what runs, where that is of
the password, else a new one. So nothing changes where nothing did, devices that would store the clear text as
it is (netconfd 2.13) get none, and what was sent can be compared with what runs.

Source: RFC 7317, module iana-crypt-hash.
"""

from dataclasses import replace

from farsite.vnfs import texts
from farsite.vnfs.crypt_hash import is_hash, new_hash, verifies
from farsite.vnfs.yang import Node, Path, Rules

_CLEAR = "$0$"


def with_hashes(will: Node, was: Node | None, rules: Rules, at: Path = ()) -> Node:
    """What is to run, with a hash in place of each password; `was` is what runs of it."""
    if at in rules.hashed and will.text.startswith(_CLEAR):
        return replace(will, text=_hash(will.text.removeprefix(_CLEAR), "" if was is None else was.text))
    before = {rules.identity(one): one for one in was.children} if was is not None else {}
    return replace(
        will,
        children=tuple(
            with_hashes(child, before.get(rules.identity(child)), rules, (*at, child.name))
            for child in will.children
        ),
    )


def _hash(stated: str, runs: str) -> str:
    if is_hash(stated):
        # The secret holds a hash: whoever set it does not give the password away.
        return stated
    return runs if verifies(stated, runs) else new_hash(stated)


def hidden(node: Node | None, rules: Rules, at: Path = ()) -> Node | None:
    """A tree as it is shown: a digest in place of each hash."""
    if node is None or not rules.hashed:
        return node
    if at in rules.hashed and node.text:
        return replace(node, text=texts.hidden(node.text))
    below = (hidden(child, rules, (*at, child.name)) for child in node.children)
    return replace(node, children=tuple(one for one in below if one is not None))
