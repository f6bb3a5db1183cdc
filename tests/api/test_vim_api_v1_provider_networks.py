"""VIMs on the same wires must not give out the same addresses; those on wires of their own may."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from farsite.model.provider_network import ProviderNetwork, overlap_of

ADDRESSES = st.one_of(
    st.integers(1, 40).map(lambda n: str(ip_address("10.0.0.0") + n)),
    st.integers(1, 40).map(lambda n: str(ip_address("fd00::") + n)),
)


def _pool(ends: tuple[str, str]) -> tuple[str, str]:
    one, other = sorted(ends, key=lambda each: (ip_address(each).version, int(ip_address(each))))
    return (one, other) if ip_address(one).version == ip_address(other).version else (one, one)


POOLS = st.tuples(ADDRESSES, ADDRESSES).map(_pool)
MANY_POOLS = st.lists(POOLS, max_size=3).map(tuple)
NETWORK = st.builds(ProviderNetwork, name=st.just("ext"), region=st.just("R"), pools=MANY_POOLS)
NETWORKS = st.lists(NETWORK, max_size=3)


def given_out(networks: list[ProviderNetwork]) -> set[str]:
    found: set[str] = set()
    for network in networks:
        for first, last in network.pools:
            at = ip_address(first)
            while at <= ip_address(last):  # type: ignore[operator]
                found.add(str(at))
                at += 1
    return found


@given(NETWORKS, NETWORKS)
def test_an_overlap_is_found_exactly_where_an_address_is_in_both(
    ours: list[ProviderNetwork], theirs: list[ProviderNetwork]
) -> None:
    """One missed address is two hosts with the same one; one too many is a VIM refused for nothing."""
    shared = given_out(ours) & given_out(theirs)
    overlap = overlap_of(ours, theirs)
    assert (overlap is not None) == bool(shared)
    if overlap is not None:
        assert {overlap.first, overlap.last} <= shared
        back = overlap_of(theirs, ours)
        assert back is not None
