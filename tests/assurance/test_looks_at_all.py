"""A look at all that stands on a VIM: how long it is left alone between two, and who is alive by one."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.observing import pause_after_look_s
from farsite.model.deployment import DeploymentState, DeploymentStatus, Resource, ResourceKind
from farsite.model.ids import VnfcId

_PERIODS = st.floats(min_value=0.1, max_value=3600)


@given(period_s=_PERIODS, share=st.floats(min_value=0, max_value=1))
def test_what_changes_right_after_a_look_has_passed_is_told_within_the_period_or_three_looks(
    period_s: float, share: float
) -> None:
    """The look that has just passed it goes on to its end, and so does the next one before it tells."""
    took_s = period_s * share
    told_within_s = took_s + pause_after_look_s(period_s, took_s) + took_s
    assert told_within_s <= max(period_s, 3 * took_s) * 1.000001


@given(period_s=_PERIODS, took_s=st.floats(min_value=0, max_value=3600))
def test_a_slow_vim_is_left_alone_for_as_long_as_it_was_asked_or_a_period(
    period_s: float, took_s: float
) -> None:
    """Who asks a VIM all the time keeps it from its work."""
    assert pause_after_look_s(period_s, took_s) >= min(took_s, period_s)
    assert pause_after_look_s(period_s, took_s) <= period_s


def test_a_vnfc_whose_server_is_in_error_is_dead_though_its_port_is_well() -> None:
    """Neutron leaves the port of such a server ACTIVE, so a look at whatever is alive finds something."""
    resources = tuple(
        Resource(
            id=f"{kind}-{number}", kind=kind, owner="vnf", vnfc_id=VnfcId(f"web-{number}"),
            incarnation=number, is_alive=kind is not ResourceKind.COMPUTE or number == 1,
        )
        for kind in (ResourceKind.COMPUTE, ResourceKind.LINKPORT, ResourceKind.STORAGE)
        for number in (0, 1)
    )  # fmt: skip
    status = DeploymentStatus(name="vnf", state=DeploymentState.FAILED, resources=resources)
    assert status.living == {("web-1", 1)}
