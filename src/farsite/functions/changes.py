"""Changes of a function's configuration that stand on trial: who makes one has to confirm it in time.

A change that cuts off whoever made it is taken back by the function itself, as after `commit confirmed` of a
router. What became of the last change is told until the next one: its maker may have lost the answer.

Resources of the management interface:

    GET  /change            {"id", "outcome", "until"}: PENDING, CONFIRMED or REVERTED, and until when (POSIX
                            seconds) it stands; outcome NONE before the first
    PUT  /change            {"id", "configuration", "within_s"}: it runs at once, whole or not at all
    POST /change/confirm    {"id"}: it stays
    POST /change/revert     {"id"}: what ran before runs again
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from farsite.functions.documents import Document, parse_json
from farsite.functions.reactor import Reactor, Timer
from farsite.functions.web import Request, Response, json_response, problem

PENDING = "PENDING"
CONFIRMED = "CONFIRMED"
REVERTED = "REVERTED"
NONE = "NONE"
_MOST_S = 86_400


class Configurable(Protocol):
    """What can be changed on trial (see `vnfc.Function`)."""

    def configuration(self) -> Mapping[str, object]: ...

    def configure(self, document: object) -> None: ...


class Changes:
    """The last change of one function. `now` is POSIX time."""

    def __init__(
        self, reactor: Reactor, function: Configurable, now: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._function = function
        self._now = now
        self._id: str = ""
        self._outcome: str = NONE
        self._until = 0.0
        self._before: Mapping[str, object] = {}
        self._timer: Timer | None = None

    @property
    def is_pending(self) -> bool:
        return self._outcome == PENDING

    def in_the_way(self) -> Response:
        """409 for whoever would change what is on trial."""
        return problem(409, f"Change {self._id} is on trial. Confirm or revert it first, or wait.")

    def handle(self, request: Request) -> Response | None:
        """Answer a request for one of our resources; None if it is for another.

        Raises:
            DocumentError: the body, or the configuration in it, is refused; what ran runs on.
        """
        match request.method, request.path:
            case "GET", "/change":
                return self._told()
            case "PUT", "/change":
                return self._begin(Document(parse_json(request.body)))
            case "POST", "/change/confirm":
                return self._confirm(_id_in(request))
            case "POST", "/change/revert":
                return self._revert(_id_in(request))
            case _, "/change" | "/change/confirm" | "/change/revert":
                return problem(405, f"{request.path} does not know the method {request.method[:20]}.")
            case _:
                return None

    def _begin(self, document: Document) -> Response:
        change_id = document.text("id", required=True)
        within_s = document.integer("within_s", 60, 1, _MOST_S)
        configuration = document.raw("configuration", {})
        document.finish()
        if change_id == self._id:
            return self._told()
        if self.is_pending:
            return self.in_the_way()
        before = self._function.configuration()
        self._function.configure(configuration)
        self._before = before
        self._id, self._outcome = change_id, PENDING
        self._until = self._now() + within_s
        self._timer = self._reactor.after(within_s, self._take_back)
        return self._told()

    def _confirm(self, change_id: str) -> Response:
        if change_id != self._id or self._outcome == REVERTED:
            return problem(409, f"Change {change_id[:64]} was taken back, or never got here.")
        self._end(CONFIRMED)
        return self._told()

    def _revert(self, change_id: str) -> Response:
        if change_id != self._id:
            return problem(404, f"The last change is not {change_id[:64]}.")
        if self._outcome == CONFIRMED:
            return problem(409, f"Change {change_id[:64]} is confirmed.")
        if self.is_pending:
            self._take_back()
        return self._told()

    def _take_back(self) -> None:
        # What ran a moment ago is no document that could be refused.
        self._function.configure(self._before)
        self._end(REVERTED)

    def _end(self, outcome: str) -> None:
        self._outcome = outcome
        self._before = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _told(self) -> Response:
        return json_response({"id": self._id, "outcome": self._outcome, "until": self._until})


def _id_in(request: Request) -> str:
    document = Document(parse_json(request.body))
    change_id = document.text("id", required=True)
    document.finish()
    return change_id
