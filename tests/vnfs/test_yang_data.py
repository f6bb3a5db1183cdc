"""YANG data as trees: what is sent makes of what runs what is wanted, and touches nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farsite.vnfs.netconf import BASE
from farsite.vnfs.yang import (
    Node,
    Rules,
    are_alike,
    canonical,
    edits,
    facts,
    laid_over,
    looked_at,
    parse,
    selected,
    text,
)
from farsite.vnfs.yang_secrets import hidden, with_hashes

NAMESPACE = "urn:example:shop"
RULES = Rules(
    lists={"shelf": "name", "tag": ".", "server": "name"},
    owned=frozenset({("shelf", "note"), ("shelf", "tag")}),
    owned_if_stated=frozenset({("server",)}),
    filled=frozenset({("shelf", "kind")}),
    ordered=frozenset({"server"}),
    pruned=frozenset({"shop", "inner"}),
    defaults={"open": "true"},
)


def shop(content: str) -> Node:
    return parse(f'<shop xmlns="{NAMESPACE}">{content}</shop>')[0]


def told(node: Node | None) -> str:
    return text(node, NAMESPACE)


names = some.sampled_from(["a", "b", "c"])
texts = some.text(some.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=5)
leaves = some.lists(
    some.one_of(
        some.tuples(some.just("note"), texts),
        some.tuples(some.just("kind"), texts),
        some.tuples(some.just("open"), some.sampled_from(["true", "false"])),
    ),
    unique_by=lambda one: one[0],
)


def leaf(name: str, value: str) -> Node:
    return Node(namespace=NAMESPACE, name=name, text=value)


@some.composite
def shops(draw: some.DrawFn) -> Node:
    shelves = [
        Node(
            namespace=NAMESPACE,
            name="shelf",
            children=(
                leaf("name", name),
                *(leaf(*one) for one in draw(leaves)),
                *(leaf("tag", one) for one in draw(some.lists(texts, unique=True, max_size=3))),
            ),
        )
        for name in draw(some.lists(names, unique=True))
    ]
    servers = [
        Node(namespace=NAMESPACE, name="server", children=(leaf("name", name), leaf("at", draw(texts))))
        for name in draw(some.lists(names, unique=True))
    ]
    return Node(namespace=NAMESPACE, name="shop", children=(*shelves, *servers))


def merged(was: Node | None, edit: Node) -> Node | None:
    """What a device makes of an edit: RFC 6241, 7.2, for the operations that are sent."""
    if edit.operation == "remove":
        return None
    if was is None:
        return replace(edit, children=tuple(one for child in edit.children if (one := merged(None, child))))
    if not edit.children:
        return edit if edit.text else was
    children = list(was.children)
    for part in edit.children:
        known = [RULES.identity(one) for one in children]
        at = known.index(RULES.identity(part)) if RULES.identity(part) in known else len(children)
        made = merged(children[at] if at < len(children) else None, part)
        children[at : at + 1] = [] if made is None else [made]
    return replace(was, children=tuple(children))


@given(was=shops(), will=shops())
def test_what_is_sent_makes_of_one_tree_the_other(was: Node, will: Node) -> None:
    """A device that does as it is told runs what was planned, in the order that was planned."""
    before, after = canonical(was, RULES), canonical(will, RULES)
    made = before
    for edit in edits(before, after, RULES):
        made = merged(made, edit)

    assert (canonical(made, RULES) if made is not None else None) == after
    assert edits(after, after, RULES) == ()


@given(one=shops())
def test_a_tree_is_read_as_it_is_shown(one: Node) -> None:
    """A plan is made of what was shown; nothing may get lost on the way."""
    shown = canonical(one, RULES)

    assert (canonical(parse(text(shown))[0], RULES) if shown is not None else None) == shown


@given(was=shops(), stated=shops())
def test_stating_it_again_changes_nothing(was: Node, stated: Node) -> None:
    """Drift would be shown where there is none."""
    once = laid_over(was, stated, RULES)
    assert once is not None
    again = laid_over(once, stated, RULES)

    assert again is not None
    assert canonical(again, RULES) == canonical(once, RULES)


def test_only_what_a_document_owns_goes_away() -> None:
    """What others put beside it is theirs."""
    was = shop(
        "<shelf><name>a</name><kind>oak</kind><note>old</note><tag>x</tag><theirs>1</theirs></shelf>"
        "<shelf><name>b</name><note>theirs</note></shelf><server><name>one</name></server>"
    )
    will = laid_over(was, shop("<shelf><name>a</name><kind>ash</kind><tag>y</tag></shelf>"), RULES)
    sent = "".join(told(one) for one in edits(was, will, RULES))

    assert told(will) == told(
        shop(
            "<shelf><name>a</name><kind>oak</kind><theirs>1</theirs><tag>y</tag></shelf>"
            "<shelf><name>b</name><note>theirs</note></shelf><server><name>one</name></server>"
        )
    )
    assert "theirs" not in sent
    assert "oak" not in sent


def test_entries_that_change_their_order_are_made_anew() -> None:
    """Merging moves none, and the first server is the one that is asked."""
    was, will = (
        shop("".join(f"<server><name>{name}</name></server>" for name in order)) for order in ("ab", "ba")
    )
    first, second = edits(was, will, RULES)

    assert told(first).count('nc:operation="remove"') == 2
    assert told(second).count("<server>") == 2


def test_native_text_takes_an_element_away_by_name() -> None:
    """It owns nothing, so there has to be a way to be rid of what it brought."""
    was = shop("<shelf><name>a</name><note>old</note><theirs>1</theirs></shelf>")
    remove = f'<theirs xmlns:nc="{BASE}" nc:operation="remove"/>'
    will = laid_over(was, shop(f"<shelf><name>a</name>{remove}</shelf>"), RULES.merging)

    assert told(will) == told(shop("<shelf><name>a</name><note>old</note></shelf>"))


def test_entries_without_a_key_are_not_guessed_at() -> None:
    """Sent by position, a change would hit the neighbour."""
    was, will = (shop(f"<row><at>1</at></row><row><at>{at}</at></row>") for at in (2, 3))

    assert edits(was, was, RULES) == ()
    with pytest.raises(ValueError, match="row"):
        edits(was, will, RULES)


def test_names_of_identities_keep_their_namespace() -> None:
    """A prefix means nothing to a device that has never heard of it."""
    one = parse(f'<shop xmlns="{NAMESPACE}" xmlns:k="urn:kinds"><kind>k:oak</kind></shop>')[0]

    assert 'xmlns:k="urn:kinds">k:oak<' in text(one)


def test_an_identity_is_the_same_with_any_prefix() -> None:
    """netconfd 2.13 takes `static` and `rt:static` for two entries, and would keep both."""
    rules = Rules(lists={"shelf": "kind name"}, owned=frozenset({("shelf", "note")}))
    was = shop(
        f'<shelf><kind xmlns:x="{NAMESPACE}">x:oak</kind><name>a</name><note>old</note></shelf>'
        '<shelf><kind xmlns:o="urn:other">o:oak</kind><name>a</name><note>theirs</note></shelf>'
    )
    will = laid_over(was, shop("<shelf><kind>oak</kind><name>a</name></shelf>"), rules)
    (edit,) = edits(was, will, rules)

    assert "x:oak" in told(edit)
    assert "theirs" in told(will)
    assert "old" not in told(will)
    assert are_alike(shop("<kind>oak</kind>"), shop(f'<kind xmlns:x="{NAMESPACE}">x:oak</kind>'))
    assert not are_alike(shop("<kind>oak</kind>"), shop('<kind xmlns:x="urn:other">x:oak</kind>'))


def test_an_entry_is_named_the_other_way_than_the_device_tells_its_identity() -> None:
    """netconfd 2.13 tells `static` for the key `rt:static`, and finds the entry by the key it has."""
    rules = Rules(lists={"shelf": "kind"}, owned=frozenset({("shelf",)}), identities={"kind": "own"})
    own = f'<kind xmlns:own="{NAMESPACE}">own:oak</kind>'
    others = '<kind xmlns:o="urn:other">o:oak</kind>'
    change, there = "<shelf>%s<note>new</note></shelf>", "<shelf>%s<note>old</note></shelf>"

    def run(xml: str) -> Node:
        found = canonical(shop(xml), rules)
        assert found is not None
        return found

    for shown, named in (("<kind>oak</kind>", own), (own, "<kind>oak</kind>"), (others, others)):
        was = run(there % shown)
        (changed,) = edits(was, laid_over(was, shop(change % shown), rules), rules)
        (removed,) = edits(was, laid_over(was, shop(""), rules), rules)
        assert told(changed) == told(shop(change % named))
        assert [told(one) for one in removed.children[0].children] == [told(shop(named).children[0])]
    assert run(there % own) == run(there % "<kind>oak</kind>"), "the same, however it is told"
    assert told(run(there % own)) == told(run(there % "<kind>oak</kind>"))


def test_an_entry_that_is_replaced_is_sent_whole() -> None:
    """netconfd 2.13 does not confirm a change that took a value from a leaf-list and gave it another."""
    rules = Rules(
        lists={"shelf": "name", "tag": "."},
        owned=frozenset({("shelf", "tag")}),
        replaced=frozenset({"shelf"}),
    )
    same = "<shelf><name>b</name><tag>3</tag></shelf>"
    was = shop(f"<shelf><name>a</name><tag>1</tag><tag>2</tag></shelf>{same}")
    will = laid_over(was, shop(f"<shelf><name>a</name><tag>2</tag><tag>3</tag></shelf>{same}"), rules)
    (edit,) = edits(was, will, rules)

    assert [one.operation for one in edit.children] == ["replace"]
    assert edit.children[0].children == will.children[0].children


def test_entries_that_are_looked_at_by_name_are_the_only_ones() -> None:
    """What shares a list with ours is neither shown nor a reason to plan again."""
    rules = Rules(lists={"shelf": "name"}, only={("shelf",): "ours-.*"}, owned=frozenset({("shelf",)}))
    was = looked_at(shop("<shelf><name>ours-1</name></shelf><shelf><name>theirs</name></shelf>"), rules)
    will = laid_over(was, shop(""), rules)

    assert "theirs" not in told(was)
    assert told(edits(was, will, rules)[0]).count("remove") == 1


def test_an_entry_with_its_keys_alone_goes_away_with_what_it_held() -> None:
    """The shell of what was ours would stand there for ever."""
    rules = Rules(lists={"shelf": "name"}, pruned=frozenset({"shelf", "shop"}))
    was = canonical(shop("<shelf><name>a</name><note>1</note></shelf>"), rules)
    will = canonical(shop("<shelf><name>a</name></shelf>"), rules)
    (edit,) = edits(was, will, rules)

    assert will is None
    assert edit.operation == ""
    assert told(edit).count('nc:operation="remove"') == 1


def test_a_password_that_stays_changes_nothing_and_nobody_reads_its_hash() -> None:
    """A new hash with every look would be drift for ever; one that is shown can be tried out."""
    rules = Rules(lists={"shelf": "name"}, hashed=frozenset({("shelf", "note")}))
    stated = shop("<shelf><name>a</name><note>$0$open sesame</note></shelf>")
    first = with_hashes(stated, None, rules)
    again = with_hashes(stated, first, rules)
    other = with_hashes(shop("<shelf><name>a</name><note>$0$sesame</note></shelf>"), first, rules)
    shown, shown_other = hidden(first, rules), hidden(other, rules)

    assert "open sesame" not in told(first)
    assert "$6$" in told(first)
    assert again == first
    assert other != first
    assert "$6$" not in told(shown)
    assert told(shown) != told(shown_other)
    known = first.children[0].children[1].text
    literal = with_hashes(shop(f"<shelf><name>a</name><note>$0${known}</note></shelf>"), None, rules)
    assert literal == first


def test_a_filter_selects_the_same_of_what_devices_answer() -> None:
    """Some answer two filters of one root with one tree, some with two."""
    data = parse(
        f'<shop xmlns="{NAMESPACE}"><a>1</a></shop><shop xmlns="{NAMESPACE}"><b>2</b><c>3</c></shop>'
    )
    chosen = parse(f'<shop xmlns="{NAMESPACE}"><a/><c/></shop>')[0]

    assert list(facts([one for one in [selected(data, chosen)] if one], {})) == ["shop/a 1", "shop/c 3"]
    assert selected((), chosen) is None
