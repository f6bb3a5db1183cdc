"""The filter language, pages and selectors, without a service."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.api.filters import (
    Selector,
    ask_of,
    make_marker,
    page_in_memory,
    parse_filter,
    print_filter,
    read_marker,
)
from farsite.model.errors import Invalid
from farsite.model.query import Ask, Comparison, Condition

_ONE_VALUE = {Comparison.GT, Comparison.GTE, Comparison.LT, Comparison.LTE}

attributes = st.from_regex(r"[a-zA-Z][a-zA-Z0-9/_-]{0,20}", fullmatch=True)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    comparison = draw(st.sampled_from(list(Comparison)))
    most = 1 if comparison in _ONE_VALUE else 4
    values = draw(st.lists(st.text(max_size=20), min_size=1, max_size=most))
    return Condition(attribute=draw(attributes), comparison=comparison, values=tuple(values))


@given(st.lists(conditions(), min_size=1, max_size=5))
def test_what_is_printed_is_read_back_the_same(wanted: list[Condition]) -> None:
    """A client that quotes by the rules gets exactly what it asked for, whatever its values hold."""
    assert parse_filter(print_filter(wanted)) == tuple(wanted)


@given(st.text(alphabet="(),;'eqinctxyz/_ \u00e4\x00", max_size=40))
def test_garbage_is_refused_in_words_and_never_crashes(text: str) -> None:
    """A filter comes from strangers: whatever it is, the answer is a filter or a refusal."""
    with contextlib.suppress(Invalid):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("(eq,name,'a,b')", ("a,b",)),
        ("(eq,name,'it''s')", ("it's",)),
        ("(in,name,a,'(b)',c)", ("a", "(b)", "c")),
        ("(eq,name,)", ("",)),
    ],
)
def test_quoting_is_as_the_standard_has_it(text: str, values: tuple[str, ...]) -> None:
    """Commas, brackets and quotes occur in names; SOL013 says how to write them."""
    (condition,) = parse_filter(text)
    assert condition.values == values


@pytest.mark.parametrize(
    "text",
    [
        "eq,name,a",
        "(eq,name)",
        "(is,name,a)",
        "(eq,name,a",
        "(eq,name,'a)",
        "(gt,n,1,2)",
        "(eq,,a)",
        "(eq,a,b)(eq,c,d)",
    ],
)
def test_bad_syntax_says_where(text: str) -> None:
    """An operator who mistypes a filter is told the place, not only that it is wrong."""
    with pytest.raises(Invalid):
        parse_filter(text)


@given(st.text(max_size=60).filter(lambda text: "\x00" not in text))
def test_markers_come_back_as_they_went(after: str) -> None:
    """The client hands the marker back unread, so it must survive a URL."""
    assert read_marker(make_marker(after)) == after


@given(st.text(max_size=40))
def test_a_made_up_marker_is_refused_or_harmless(marker: str) -> None:
    """Markers come from strangers too."""
    with contextlib.suppress(Invalid):
        ask_of(marker=marker)


@given(st.sets(st.text(min_size=1, max_size=5)), st.integers(1, 7))
def test_pages_in_memory_hold_every_object_exactly_once(keys: set[str], size: int) -> None:
    """What a VIM tells is paged as what the store holds: nothing twice, nothing lost."""
    found: list[str] = []
    after = ""
    while True:
        page = page_in_memory(keys, Ask(limit=size, after=after), {}, key=lambda one: one)
        found += page.items
        after = page.next_after
        if not after:
            break
    assert found == sorted(keys)


BODY = {"id": "1", "state": "ok", "info": {"a": {"x": 1, "y": 2}, "b": 3}, "metadata": {"k": "v"}}


def _cut(**given: object) -> dict[str, object]:
    selector = Selector(**given)  # type: ignore[arg-type]
    return selector.cut(BODY, mandatory=("id",), excluded_by_default=("info", "metadata"))


def test_selectors_show_what_clause_5_3_says() -> None:
    """Consumers rely on the defaults to keep lists small and on the selectors to get the rest."""
    assert set(_cut()) == {"id", "state"}
    assert set(_cut(all_fields=True)) == set(BODY)
    assert set(_cut(exclude_default=True)) == {"id", "state"}
    assert _cut(fields=("info/a/x",)) == {"id": "1", "info": {"a": {"x": 1}}}
    assert _cut(fields=("info",)) == {"id": "1", "info": BODY["info"]}
    assert _cut(exclude_fields=("info/a", "state")) == {"id": "1", "info": {"b": 3}, "metadata": {"k": "v"}}
    assert _cut(exclude_fields=("id",))["id"] == "1", "mandatory attributes always stay"
    assert BODY["info"] == {"a": {"x": 1, "y": 2}, "b": 3}, "selecting does not change the object"
