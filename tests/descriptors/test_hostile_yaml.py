"""YAML that hurts: each is refused with file and line, in bounded time and memory."""

import time
import tracemalloc

import pytest
import yaml
from descriptor_samples import VNFD, faults_of_package, line_of, package_files
from hypothesis import given
from hypothesis import strategies as st

from farsite.descriptors.archive import Limits
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.yaml_tree import Tree, parse
from farsite.model.package import Fault


def refused(text: str | bytes, limits: Limits | None = None) -> tuple[Fault, ...]:
    with pytest.raises(ArchiveRefused) as error:
        read(text, limits)
    return error.value.faults


def read(text: str | bytes, limits: Limits | None = None) -> Tree:
    log = FaultLog()
    tree = parse(text if isinstance(text, bytes) else text.encode(), "a.yaml", limits or Limits(), log)
    log.raise_if_any()
    return tree


def laughs(levels: int, width: int = 9) -> str:
    lines = ["a0: &a0 [lol, lol]"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines)


def test_a_billion_laughs_are_refused_before_they_are_told() -> None:
    """Aliases are shared, so parsing is cheap; whoever walks the tree would never come back."""
    tracemalloc.start()
    began = time.process_time()
    (fault,) = refused(laughs(30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "YAML bomb" in fault.found
    assert fault.line is not None
    assert time.process_time() - began < 1
    assert peak < 5_000_000


def test_a_bomb_of_merge_keys_is_refused() -> None:
    """Merging copies what aliases share."""
    lines = ["a0: &a0 {x0: [1, 2]}"]
    lines += [f"a{n}: &a{n} {{<<: *a{n - 1}, x{n}: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    (fault,) = refused("\n".join(lines))
    assert "bomb" in fault.found or "deep" in fault.found


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_without_end_is_refused(opening: str) -> None:
    """Deep nesting overflows the stack of whoever recurses."""
    (fault,) = refused(opening * 100_000)
    assert "deep" in fault.found or "not YAML" in fault.found


def test_too_many_nodes_and_aliases_are_refused() -> None:
    """Limits hold for honest giants too."""
    assert "nodes" in refused("[" + "1," * 300 + "]", Limits(yaml_nodes=200))[0].found
    many = "a: &a 1\nb: [" + "*a," * 50 + "]"
    assert "aliases" in refused(many, Limits(yaml_aliases=40))[0].found
    assert "bytes" in refused("x" * 100, Limits(yaml_size=50))[0].found


def test_an_alias_to_itself_is_refused() -> None:
    """A cyclic structure has no end."""
    (fault,) = refused("a: 1\nb: &b [1, *b]\n")
    assert fault.line == 2


def test_duplicate_keys_are_refused_with_both_lines() -> None:
    """The later one would silently win."""
    (fault,) = refused("a: 1\nb: 2\na: 3\n")
    assert fault.line == 3
    assert "line 1" in fault.found


def test_a_duplicate_key_in_a_package_names_file_and_line() -> None:
    """As an operator sees it."""
    text = VNFD.replace(
        "        description: forwards\n", "        description: forwards\n        name: again\n"
    )
    (fault,) = faults_of_package(package_files(text))
    assert (fault.file, fault.line) == ("Definitions/vnfd.yaml", line_of(text, "        name: again"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n---\nb: 2\n", "second YAML document"),
        ("a: !!python/object/apply:os.system [id]\n", "tag"),
        ("a: !vault x\n", "tag"),
        ("a:\n\tb: 1\n", "not YAML"),
        ("a: [1, 2\n", "not YAML"),
        ("a: 'open\n", "not YAML"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("? [1]\n: 2\n", "as a key"),
        ("a: *nowhere\n", "alias"),
        ("a: \x07\n", "not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, said: str) -> None:
    """No tag makes an object, and nothing is guessed."""
    (fault,) = refused(text)
    assert said in fault.found
    assert fault.line is not None


def test_text_that_is_not_utf8_is_refused_with_its_line() -> None:
    """Latin-1 comments are common; the line finds them."""
    (fault,) = refused("a: 1\nb: é\n".encode("latin-1"))
    assert fault.line == 2
    assert "0xe9" in fault.found


def test_merge_keys_anchors_and_odd_keys_are_read() -> None:
    """They are plain YAML, and real descriptors use them."""
    tree = read("base: &b {x: 1, y: 2}\nnext: {<<: *b, y: 3}\n0: zero\non: true\n1.10: keep\n")
    assert tree.plain() == {
        "base": {"x": 1, "y": 2},
        "next": {"y": 3, "x": 1},
        "0": "zero",
        "on": True,
        "1.10": "keep",
    }


def test_scalars_keep_how_they_were_written() -> None:
    """An unquoted version 1.10 must not become 1.1."""
    tree = read("v: 1.10\nd: 2020-01-01\nh: 0x1F\nn: -3\nf: 1e3\nq: '5'\nz: ~\n")
    assert tree.items["v"].string == "1.10"
    assert [entry.value for entry in tree.items.values()] == [1.1, "2020-01-01", 31, -3, 1000.0, "5", None]


# PyYAML's writer leaves control characters and rare line breaks unescaped in some places.
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co")), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_pyyaml_writes_is_read_as_it_was(value: object) -> None:
    """Our reader agrees with the library's writer on plain data."""
    text = yaml.safe_dump(value, allow_unicode=True, default_style='"' if isinstance(value, str) else None)
    assert read(text).plain() == value
