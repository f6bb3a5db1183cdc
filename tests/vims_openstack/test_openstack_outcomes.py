"""What the libraries raise, in our two outcomes; and the words of every service in its own form."""

import json

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from farsite.model.errors import Conflict, FarsiteError, VimFault, VimUnreachable
from farsite.vims.drivers.openstack.faults import BrokenAnswer, translate, words


def answered(status: int, body: object, *, url: str = "http://heat:8004/v1/p/stacks") -> requests.Response:
    """An HTTP answer with a JSON body, or with text."""
    response = requests.Response()
    response.status_code = status
    response.url = url
    response.reason = "Because"
    response._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    response.headers["x-openstack-request-id"] = "req-1"
    response.request = requests.Request("POST", url).prepare()
    return response


def meaning(error: Exception) -> FarsiteError | None:
    return translate(error, vim="turin", what="create stack s", service_at=lambda _: "Heat")


FORMS: dict[str, tuple[object, str]] = {
    "Keystone": ({"error": {"code": 401, "message": "no", "title": "Unauthorized"}}, "no"),
    "Nova": ({"badRequest": {"code": 400, "message": "Invalid flavor"}}, "Invalid flavor"),
    "Neutron": ({"NeutronError": {"type": "X", "message": "No more IPs", "detail": ""}}, "No more IPs"),
    "Heat": (
        {
            "explanation": "The server could not comply with the request.",
            "code": 400,
            "error": {"message": "Unknown property", "traceback": None, "type": "StackValidationFailed"},
            "title": "Bad Request",
        },
        "Unknown property",
    ),
    "Placement": (
        {"errors": [{"status": 409, "title": "Conflict", "detail": "in use"}, {"detail": "again"}]},
        "in use; again",
    ),
    "Glance": (
        "<html><head><title>403</title></head><body><h1>403 Forbidden</h1>quota</body></html>",
        "403 Forbidden quota",
    ),
    "middleware": (
        {"message": "Authentication required", "code": "401 Unauthorized"},
        "Authentication required",
    ),
    "nothing": ("", "Because"),
    "a list": ([], "Because"),
}


@pytest.mark.parametrize(("body", "said"), FORMS.values(), ids=FORMS.keys())
def test_the_words_of_each_service_are_found_in_its_form(body: object, said: str) -> None:
    """Every service has another one, and the reason is all that the operator has."""
    assert words(answered(400, body)) == said


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("error"), inner),
    )
)
def test_any_body_gives_words_and_never_an_error(body: object) -> None:
    """An error while telling of an error hides both."""
    said = words(answered(400, body))
    assert said
    assert "\n" not in said
    assert len(said) < 1100


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 409, 410, 413, 422, 501])
def test_a_refusal_is_a_fault_with_service_status_and_request_id(status: int) -> None:
    """Nothing was done, and it will not be done by asking again."""
    response = answered(status, {"error": {"message": "own words"}})
    for error in (keystone.from_response(response, "POST", response.url), sdk.HttpException("x", response)):
        told = meaning(error)
        assert isinstance(told, VimFault)
        assert told.detail == (
            f'VIM "turin" refuses to create stack s: Heat says {status}: "own words" (request req-1)'
        )
        assert told.about == {"vim": "turin", "service": "Heat", "status": str(status), "request_id": "req-1"}
        assert told.operator_detail == "POST http://heat:8004/v1/p/stacks"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507])
def test_what_may_have_been_done_or_may_be_later_is_unknown(status: int) -> None:
    """A 500 says that something broke, not where; a 429 says to come again."""
    response = answered(status, "<html>oops</html>")
    for error in (keystone.from_response(response, "POST", response.url), sdk.HttpException("x", response)):
        assert isinstance(meaning(error), VimUnreachable)


SILENCE: list[Exception] = [
    keystone.ConnectFailure("Unable to establish connection to http://h:1/: x"),
    keystone.ConnectTimeout("Request to http://h:1/ timed out"),
    keystone.UnknownConnectionError("x", ValueError()),
    keystone.InvalidResponse(answered(200, "x")),
    keystone.DiscoveryFailure("x"),
    requests.exceptions.ChunkedEncodingError("x"),
    requests.exceptions.JSONDecodeError("x", "doc", 0),
    BrokenAnswer("page"),
    sdk.NotSupported("exists but does not have any supported versions"),
    sdk.InvalidResponse("x"),
    sdk.ResourceTimeout("x"),
    ConnectionResetError(),
]


@pytest.mark.parametrize("error", SILENCE, ids=lambda error: type(error).__name__)
def test_silence_and_broken_answers_are_unknown(error: Exception) -> None:
    """The request may have been executed all the same."""
    told = meaning(error)
    assert isinstance(told, VimUnreachable)
    assert 'VIM "turin"' in told.detail


def test_a_service_that_is_not_in_the_catalogue_is_a_fault() -> None:
    """It will not come by waiting."""
    for error in (
        keystone.EndpointNotFound("x"),
        sdk.ServiceDisabledException("x"),
        keystone.EmptyCatalog("x"),
    ):
        told = meaning(error)
        assert isinstance(told, VimFault)
        assert "catalogue" in told.detail


def test_our_own_errors_pass_and_our_mistakes_are_not_translated() -> None:
    """A bug that looks like silence would be retried for ever."""
    conflict = Conflict("busy")
    assert meaning(conflict) is conflict
    for mistake in (KeyError, TypeError, AssertionError):
        with pytest.raises(mistake) as raised:
            raise mistake("x")
        assert meaning(raised.value) is None


def test_an_answer_of_another_shape_that_breaks_a_library_is_unknown() -> None:
    """The library trips over it, not we."""
    with pytest.raises(ValueError, match="line 1") as raised:
        json.loads("{")
    assert isinstance(meaning(raised.value), VimUnreachable)
