"""What adapters over HTTP compare and send, before any device hears of it."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.vnfs.adapters.vyos.lines import commands, facts, paths, text
from farsite.vnfs.objects import Object, changes, moves, objects, packed, unpacked
from farsite.vnfs.objects import text as objects_text

WORDS = st.text(alphabet="ab1'\" $\\;", min_size=1, max_size=4)
NAMES = st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=3), unique=True, max_size=8)


@given(NAMES.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_moves_bring_any_order_into_any_other(orders: tuple[list[str], list[str]]) -> None:
    """The first rule that matches decides, so an order that is nearly right is wrong."""
    have, want = orders
    order = list(have)
    for name, behind in moves(have, want):
        order.remove(name)
        order.insert(order.index(behind) + 1 if behind else 0, name)

    assert order == want
    assert not moves(want, want)


@given(st.dictionaries(WORDS, st.text(max_size=300)), st.integers(min_value=8, max_value=240))
def test_what_was_before_comes_back_from_its_pieces(texts: dict[str, str], size: int) -> None:
    """It is all that a take-back has."""
    pieces = packed(texts, size)

    assert all(len(piece) <= size for piece in pieces)
    assert unpacked(pieces) == texts


def test_pieces_that_somebody_changed_are_not_taken_for_a_configuration() -> None:
    """Half of a firewall is worse than an error."""
    pieces = packed({"firewall": "rule one\n" * 50, "routes": str(list(range(200)))}, 100)
    for wrong in (pieces[:-1], pieces[1:], [*pieces[:-1], "?" + pieces[-1]]):
        try:
            unpacked(wrong)
        except ValueError:
            continue
        raise AssertionError("it was taken")


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4).map(tuple), unique=True, max_size=12))
def test_lines_of_vyos_are_read_as_they_were_written(told: list[tuple[str, ...]]) -> None:
    """Descriptions are free text, with blanks and quotes."""
    assert sorted(facts(text(told))) == sorted(told)


def test_a_rule_that_goes_is_deleted_as_a_whole_and_what_others_own_is_not() -> None:
    """An empty rule would be refused by VyOS, and a node above ours may hold what is somebody else's."""
    rule = ("firewall", "ipv4", "forward", "filter", "rule")
    was = text([(*rule, "10", "action", "accept"), (*rule, "20", "action", "drop"), (*rule, "20", "log")])
    will = text([(*rule, "10", "action", "drop")])

    assert commands(was, will, 4) == [
        {"op": "delete", "path": [*rule, "10", "action", "accept"]},
        {"op": "delete", "path": [*rule, "20"]},
        {"op": "set", "path": [*rule, "10", "action", "drop"]},
    ]
    assert commands(was, "", 4) == [{"op": "delete", "path": list(rule[:4])}]
    address = ("interfaces", "ethernet", "eth1", "address", "192.0.2.1/24")
    assert commands(text([address]), "", None) == [{"op": "delete", "path": list(address)}]


def test_a_tree_is_told_as_the_facts_in_it() -> None:
    """Values, lists of values and nodes without any are told apart by VyOS in its answers."""
    tree = {"eth0": {"address": ["192.0.2.1/24", "dhcp"], "disable": {}, "mtu": "1500"}}

    assert set(paths(tree, ("interfaces", "ethernet"))) == {
        ("interfaces", "ethernet", "eth0", "address", "192.0.2.1/24"),
        ("interfaces", "ethernet", "eth0", "address", "dhcp"),
        ("interfaces", "ethernet", "eth0", "disable"),
        ("interfaces", "ethernet", "eth0", "mtu", "1500"),
    }


def test_objects_are_compared_by_their_names() -> None:
    """A rule that changes is changed in its place, not made anew at the end."""
    was = [Object(kind="rule", key="a", body="{1}"), Object(kind="rule", key="b", body="{ 2 }")]
    will = [Object(kind="rule", key="b", body="{3}"), Object(kind="rule", key="c", body="{4}")]
    told = changes(objects_text(was), objects_text(will))

    assert objects(objects_text(was)) == was
    assert (told.new, told.altered, told.gone) == ((will[1],), (will[0],), (was[0],))
