"""One VNFC: the contract with the site agent, and the management interface every function has.

The agent starts us as process 1 of a pid namespace, with our interfaces present and up, and with

* `FARSITE_VNFC`: our id;
* `FARSITE_CONFIG`: path of a JSON file `{"ports": [{"name", "mac", "addresses"}...],
  "configuration": {...}}`;
* `FARSITE_READY_FD`: a descriptor on which we write `ready` and a newline once we serve, then close it.

Management is HTTP on 127.0.0.1:8080 inside the namespace: `GET /health`, `GET` and `PUT /configuration`,
`GET /counters`, changes on trial (`changes.py`), and what the function adds. Exit codes: 0 asked to end, 64
unknown function, 78 the configuration was refused (every fault is printed on standard error).
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from farsite.functions.changes import Changes
from farsite.functions.documents import Document, DocumentError, parse_json
from farsite.functions.reactor import Reactor
from farsite.functions.web import HttpServer, Request, Respond, Response, json_response, problem

MANAGEMENT_ADDRESS = ("127.0.0.1", 8080)
EXIT_BAD_CONFIGURATION = 78


class PortSpec(NamedTuple):
    """An interface as the agent made it. Addresses are with prefix length."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    management: bool = False


class Situation(NamedTuple):
    """What a function is started with."""

    vnfc: str
    ports: tuple[PortSpec, ...]
    configuration: object
    reactor: Reactor


class Health(NamedTuple):
    """What a function says of itself. `passes_packets` is None where it forwards none."""

    is_ok: bool
    passes_packets: bool | None = None
    details: Mapping[str, object] = {}


class Function(Protocol):
    """What every built-in function can do.

    Made with a `Situation`; raises `DocumentError` if its configuration is refused, and serves from then on.
    """

    def configuration(self) -> Mapping[str, object]:
        """The configuration document in force, defaults filled in."""
        ...

    def configure(self, document: object) -> None:
        """Take another configuration document, whole or not at all.

        Raises:
            DocumentError: it is refused; the one in force stays.
        """
        ...

    def health(self) -> Health: ...

    def counters(self) -> Mapping[str, object]: ...

    def manage(self, request: Request, respond: Respond) -> bool:
        """Answer a management request of the function's own; False if there is no such resource."""
        ...


def run(name: str, make: Callable[[Situation], Function]) -> int:
    """Make the function and serve until SIGTERM; the exit code of the process."""
    reactor = Reactor()
    reactor.stop_on_signals()
    try:
        situation = read_situation(reactor)
        function = make(situation)
    except DocumentError as error:
        sys.stderr.write(f"{name}: the configuration was refused\n")
        for fault in error.faults:
            sys.stderr.write(f"  {fault.path or 'document'}: {fault.found} (expected {fault.expected})\n")
        return EXIT_BAD_CONFIGURATION
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(MANAGEMENT_ADDRESS)
    listener.listen(64)
    HttpServer(reactor, listener, Management(name, situation.vnfc, function, reactor).handle)
    _tell_ready()
    reactor.run()
    return 0


def read_situation(reactor: Reactor) -> Situation:
    """Read what the agent left for us in the environment.

    Raises:
        DocumentError: the file is not what the contract says.
    """
    path = os.environ.get("FARSITE_CONFIG", "")
    text = b"{}"
    if path:
        with open(path, "rb") as file:  # noqa: PTH123  (pathlib costs 5 ms of the start)
            text = file.read()
    document = Document(parse_json(text))
    ports = tuple(_read_port(port) for port in document.objects("ports", most=64))
    configuration = document.raw("configuration", {})
    document.finish()
    return Situation(os.environ.get("FARSITE_VNFC", ""), ports, configuration, reactor)


def _read_port(port: Document) -> PortSpec:
    # Fields that a newer agent adds are none of our business, so a port is not finished.
    addresses: list[str] = []
    for path, address in port.items("addresses", most=64):
        if isinstance(address, str):
            addresses.append(address)
        else:
            port.fault(path, address, "an address with prefix length")
    mac = port.raw("mac", "")
    return PortSpec(
        port.text("name", required=True),
        mac if isinstance(mac, str) else "",
        tuple(addresses),
        port.boolean("management", False),
    )


def _tell_ready() -> None:
    fd = os.environ.get("FARSITE_READY_FD", "")
    if fd.isdigit():
        try:
            os.write(int(fd), b"ready\n")
            os.close(int(fd))
        except OSError:
            # Whoever waited has gone; that is no reason not to serve.
            return


class Management:
    """The management interface: the resources all functions share, then the function's own."""

    def __init__(self, name: str, vnfc: str, function: Function, reactor: Reactor) -> None:
        self._name = name
        self._vnfc = vnfc
        self._function = function
        self._changes = Changes(reactor, function)
        self._started = time.monotonic()

    def handle(self, request: Request, respond: Respond) -> None:
        """Answer one request, now or later.

        Raises:
            DocumentError: the body is refused; the server makes a 400 of it.
        """
        match request.method, request.path:
            case "GET", "/health":
                respond(json_response(self._health()))
            case "GET", "/configuration":
                respond(json_response(self._function.configuration()))
            case "PUT", "/configuration":
                if self._changes.is_pending:
                    respond(self._changes.in_the_way())
                    return
                self._function.configure(parse_json(request.body))
                respond(json_response(self._function.configuration()))
            case "GET", "/counters":
                respond(json_response(self._function.counters()))
            case _, "/health" | "/configuration" | "/counters":
                respond(_not_allowed(request))
            case _:
                if (answer := self._changes.handle(request)) is not None:
                    respond(answer)
                elif not self._function.manage(request, respond):
                    respond(problem(404, f"{self._name} has no resource {request.path[:200]}."))

    def _health(self) -> Mapping[str, object]:
        health = self._function.health()
        return {
            "status": "ok" if health.is_ok else "degraded",
            "function": self._name,
            "vnfc": self._vnfc,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "passes_packets": health.passes_packets,
            **health.details,
        }


def _not_allowed(request: Request) -> Response:
    return problem(405, f"{request.path} does not know the method {request.method[:20]}.")


def service_ports(ports: tuple[PortSpec, ...]) -> tuple[PortSpec, ...]:
    """The ports that are not for management."""
    return tuple(port for port in ports if not port.management)


def addresses_of(ports: tuple[PortSpec, ...]) -> list[str]:
    """All addresses of the service ports, without prefix length."""
    return [address.partition("/")[0] for port in service_ports(ports) for address in port.addresses]
