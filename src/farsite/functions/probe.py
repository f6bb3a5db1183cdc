"""`builtin:probe`: a traffic client that counts what comes back.

Management resources beside the common ones:

* `POST /traffic` starts a run (202); 409 while one is running. See `traffic.TrafficOrder` for the document:
  `{"kind": "udp" | "tcp" | "http", "target": address, "port": n, "flows", "rate_pps", "duration_s",
  "payload_bytes", "timeout_s", "path"}`, all after `port` with defaults;
* `GET /traffic` gives the result of the last run, also while it runs;
* `DELETE /traffic` stops the run and gives its result;
* `POST /fetch` `{"target", "port", "path", "timeout_s"}` makes one HTTP request and tells how it went:
  `{"ok", "status", "connect_ms", "total_ms", "body_bytes", "body", "error"}`, always with 200.

Configuration document, with its defaults:

    {
      "traffic": null                    an order as for POST /traffic that is run once from the start on
    }
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farsite.functions.documents import Document, parse_json
from farsite.functions.exchange import HttpConnection, Outcome, in_words
from farsite.functions.traffic import (
    TrafficOrder,
    TrafficRun,
    no_run,
    read_order,
    read_path,
    read_target,
    start_run,
)
from farsite.functions.vnfc import Health, Situation
from farsite.functions.web import Request, Respond, json_response, problem

_SHOWN_BODY_BYTES = 4096
_MAX_FETCHES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """The configuration document of a probe."""

    traffic: TrafficOrder | None = None

    def document(self) -> dict[str, object]:
        """The settings as a document; reading it gives the settings again."""
        return {"traffic": self.traffic.document() if self.traffic else None}


def read_settings(value: object) -> ProbeSettings:
    """The settings that a configuration document states.

    Raises:
        DocumentError: it is not such a document; every fault is named.
    """
    document = Document(value)
    part = document.part("traffic")
    traffic = None
    if part is not None:
        traffic = read_order(part)
        part.finish_part()
    document.finish()
    return ProbeSettings(traffic=traffic)


class Probe:
    """A running probe."""

    def __init__(self, situation: Situation) -> None:
        self._reactor = situation.reactor
        self._settings = read_settings(situation.configuration)
        self._run: TrafficRun | None = None
        self._runs = 0
        self._fetches = 0
        self._fetching = 0
        self._start_configured()

    def configuration(self) -> Mapping[str, object]:
        return self._settings.document()

    def configure(self, document: object) -> None:
        settings = read_settings(document)
        if settings != self._settings:
            self._settings = settings
            self._start_configured()

    def health(self) -> Health:
        return Health(True, None, {"running": self._run is not None and self._run.is_running})

    def counters(self) -> Mapping[str, object]:
        result = self._run.result() if self._run else no_run()
        totals = {name: result[name] for name in ("sent", "received", "lost")}
        return {"runs": self._runs, "fetches": self._fetches, "last_run": totals}

    def manage(self, request: Request, respond: Respond) -> bool:
        match request.method, request.path:
            case "POST", "/traffic":
                self._start(request, respond)
            case "GET", "/traffic":
                respond(json_response(self._result()))
            case "DELETE", "/traffic":
                if self._run:
                    self._run.stop()
                respond(json_response(self._result()))
            case "POST", "/fetch":
                self._fetch(request, respond)
            case _, "/traffic" | "/fetch":
                respond(problem(405, f"{request.path} does not know the method {request.method[:20]}."))
            case _:
                return False
        return True

    def _result(self) -> Mapping[str, object]:
        return self._run.result() if self._run else no_run()

    def _start(self, request: Request, respond: Respond) -> None:
        document = Document(parse_json(request.body))
        order = read_order(document)
        document.finish()
        if self._run and self._run.is_running:
            respond(problem(409, f"Run {self._run.number} is still running; stop it with DELETE /traffic."))
            return
        try:
            run = start_run(self._reactor, order, self._runs + 1)
        except OSError as error:
            respond(problem(409, f"Cannot send to {order.target}: {in_words(error)}."))
            return
        self._runs += 1
        self._run = run
        respond(json_response({"run": run.number, "running": True, **order.document()}, 202))

    def _start_configured(self) -> None:
        if self._run:
            self._run.stop()
        if self._settings.traffic is None:
            return
        try:
            self._run = start_run(self._reactor, self._settings.traffic, self._runs + 1)
            self._runs += 1
        except OSError:
            # The way to the target may not be there yet when we are started; try until it is.
            self._reactor.after(0.2, self._retry_configured)

    def _retry_configured(self) -> None:
        if self._run is None:
            self._start_configured()

    def _fetch(self, request: Request, respond: Respond) -> None:
        document = Document(parse_json(request.body))
        target, path = read_target(document), read_path(document)
        port = document.integer("port", 80, 1, 65535)
        timeout_s = document.number("timeout_s", 2.0, 0.01, 60.0)
        document.finish()
        if self._fetching >= _MAX_FETCHES:
            respond(problem(409, f"{_MAX_FETCHES} requests are under way already."))
            return
        self._fetches += 1
        self._fetching += 1
        connection = HttpConnection(self._reactor, target, port)

        def done(outcome: Outcome) -> None:
            connection.close()
            self._fetching -= 1
            respond(json_response(_told(outcome)))

        connection.request("GET", path, b"", timeout_s, done)


def _told(outcome: Outcome) -> dict[str, object]:
    return {
        "ok": not outcome.error and 200 <= outcome.status < 300,
        "status": outcome.status or None,
        "connect_ms": None if outcome.connect_ms is None else round(outcome.connect_ms, 3),
        "total_ms": round(outcome.total_ms, 3),
        "body_bytes": outcome.body_bytes,
        "body": outcome.body[:_SHOWN_BODY_BYTES].decode("utf-8", "replace"),
        "error": outcome.error,
    }
