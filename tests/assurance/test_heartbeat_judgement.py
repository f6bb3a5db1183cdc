"""What one health check means: the states of every surface come from here."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.heartbeats import judge
from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.model.vim import ServiceHealth, VimHealth, VimState

SERVICES = st.lists(
    st.builds(
        ServiceHealth, name=st.sampled_from(["agent", "keystone", "heat", "glance"]),
        is_vital=st.booleans(), is_up=st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
CHECKS = st.one_of(
    st.builds(lambda services: VimHealth(services=tuple(services)), SERVICES),
    st.none(),
    st.just(VimUnreachable("no route")),
)


def health(*, vital: bool = True, other: bool = True) -> VimHealth:
    return VimHealth(
        services=(
            ServiceHealth(name="keystone", is_vital=True, is_up=vital, detail="503"),
            ServiceHealth(name="glance", is_vital=False, is_up=other, detail="timeout"),
        )
    )


def test_a_vim_whose_services_all_answer_is_active() -> None:
    """One good answer ends a doubt; earlier misses do not linger."""
    assert judge(health(), misses=2, misses_until_error=3).state is VimState.ACTIVE


def test_a_failing_service_that_is_not_vital_degrades_and_is_named() -> None:
    """An operator wants the name of the service, not a colour."""
    finding = judge(health(other=False), misses=0, misses_until_error=3)

    assert finding.state is VimState.DEGRADED
    assert finding.reason == "glance: timeout"
    assert finding.misses == 0


def test_a_silent_vital_service_is_unreachable_first_and_error_when_confirmed() -> None:
    """One lost answer must not start a recovery; a lasting silence must."""
    misses, states = 0, []
    for _ in range(4):
        finding = judge(health(vital=False), misses=misses, misses_until_error=3)
        misses = finding.misses
        states.append(finding.state)

    assert states == [VimState.UNREACHABLE, VimState.UNREACHABLE, VimState.ERROR, VimState.ERROR]
    assert "keystone: 503" in finding.reason


def test_refused_credentials_are_an_error_at_once() -> None:
    """Waiting does not make a wrong password right."""
    finding = judge(VimFault("401: wrong password"), misses=0, misses_until_error=3)

    assert finding.state is VimState.ERROR
    assert finding.reason == "401: wrong password"


@given(st.lists(CHECKS, max_size=12))
def test_error_needs_as_many_misses_in_a_row_as_the_setting_says(
    checks: list[VimHealth | FarsiteError | None],
) -> None:
    """The hysteresis holds for every history, not for the one that was thought of."""
    misses = run = 0
    for check in checks:
        finding = judge(check, misses=misses, misses_until_error=3)
        missed = not isinstance(check, VimHealth) or any(s.is_vital and not s.is_up for s in check.services)
        run = run + 1 if missed else 0
        misses = finding.misses

        assert (finding.state is VimState.ERROR) == (run >= 3)
        assert (finding.state is VimState.UNREACHABLE) == (0 < run < 3)
        assert finding.reason
