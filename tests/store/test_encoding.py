"""What the store keeps comes back as it was."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from farsite.model.alarm import Alarm
from farsite.model.deployment import Deployment, Resource
from farsite.model.ns import NsInstance
from farsite.model.nsd import Nsd
from farsite.model.operation import OperationError
from farsite.model.package import NsdInfo, VnfPackage
from farsite.model.vim import Site, Vim
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import Vnfd
from farsite.store.encoding import decode, encode
from farsite.store.vims import Inventory

_KINDS = [
    *(Alarm, Deployment, Inventory, NsInstance, Nsd, NsdInfo, OperationError, Resource, Site, Vim),
    *(VnfInstance, VnfPackage, Vnfd),
]
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_said = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=4,
)

# Descriptors and settings hold what JSON can hold; times are aware and in UTC, as everywhere inside.
st.register_type_strategy(object, _plain)
st.register_type_strategy(str, _text)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False, width=32))


st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(
    Mapping, lambda kind: st.dictionaries(*(st.from_type(part) for part in get_args(kind)), max_size=3)
)


def _things(kind: type[Any]) -> st.SearchStrategy[Any]:
    # What an alarm must not lack.
    said = ("location", "managed_object_id", "probable_cause", "specific_problem") if kind is Alarm else ()
    return st.builds(kind, **dict.fromkeys(said, _said)) if said else st.from_type(kind)


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_an_object_comes_back_from_the_store_as_it_went_in(kind: type[Any]) -> None:
    """A recorded initial state that comes back changed heals a function into another one."""

    @bounded(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(thing=_things(kind))
    def holds(thing: Any) -> None:
        at_rest = json.loads(json.dumps(encode(thing)))
        assert decode(kind, at_rest) == thing

    holds()
