"""What can go wrong between a client and a service, as values.

The first question about each is whether the service executed the request, because that is what the client
cannot know: `Reset`, `Silence` and `Answer` say it did not, `Lose`, `Cut` and `Change` say it did.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came from the client. `target` is the path with its query."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer as it came from the service; its length is said anew when it is passed on."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first header of that name, whatever its case; empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def with_header(self, name: str, value: str) -> "Response":
        kept = tuple((key, old) for key, old in self.headers if key.lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Executed and answered, but late: `before_s` until it is passed on, `after_s` until it is answered.

    A client that gave up meanwhile is not noticed, as no real service would notice it.
    """

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reset:
    """Not executed: the connection is reset once the request has been read."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Not executed: the request is read and never answered, until the client gives up (half-open)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Not executed: somebody before the service answers instead, as a load balancer does."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose:
    """Executed, but its answer is lost: by a reset, or `silently`, so that the client waits for nothing."""

    silently: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Executed, but the connection breaks when `keep` of the answer's body (0 to 1) has been sent."""

    keep: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Executed, but another answer comes than the service gave, and whole."""

    change: Callable[[Response], Response]


Fault = Delay | Reset | Silence | Answer | Lose | Cut | Change


def too_many_requests(*, retry_after_s: int = 1) -> Answer:
    """429, with the time to wait."""
    return Answer(
        status=429,
        body=json.dumps({"overLimit": {"code": 429, "message": "Too many requests"}}).encode(),
        content_type="application/json",
        headers=(("Retry-After", str(retry_after_s)),),
    )


def server_error(status: int = 500) -> Answer:
    """An error with a body in OpenStack's form, from before the service did anything."""
    return Answer(
        status=status,
        body=json.dumps({"error": {"code": status, "title": "Error", "message": "made by a test"}}).encode(),
        content_type="application/json",
    )


def unavailable_page(status: int = 503) -> Answer:
    """What a load balancer says when it has no service left: a page for people."""
    return Answer(
        status=status,
        body=b"<html><body><h1>Service Unavailable</h1>No server is available.</body></html>",
        content_type="text/html",
    )


def short_json(*, keep: float = 0.5) -> Change:
    """The JSON ends in the middle, though the answer is whole by its length."""
    return Change(change=lambda got: replace(got, body=got.body[: int(len(got.body) * keep)]))


def wrong_json(body: object = ("neither", "what", "was", "asked", "for")) -> Change:
    """Valid JSON of another shape than the interface has."""
    encoded = json.dumps(body).encode()
    return Change(
        change=lambda got: replace(got, body=encoded).with_header("Content-Type", "application/json")
    )


def html_instead(status: int | None = None) -> Change:
    """A page for people in place of the answer, with the answer's own status unless another is given."""

    def change(got: Response) -> Response:
        page = replace(got, status=status or got.status, body=b"<html><body>Welcome</body></html>")
        return page.with_header("Content-Type", "text/html")

    return Change(change=change)
