"""`builtin:webserver`: an HTTP/1.1 server and a UDP echo, on the addresses of its service ports.

* `GET /` tells who answers and who asked: `{"vnfc", "client", "client_port", "server", "port"}`;
* `GET /bytes/N` sends N bytes;
* `POST /echo` sends the body back;
* UDP on the same port numbers sends every datagram back to its sender.

Configuration document, with its defaults:

    {
      "port": 80,
      "ports": [8443]                    further port numbers; default none
    }

It listens on each address of its ports, so that 8080 can be served beside the management interface; without
any address there is nobody to serve, and its health says so. Connections are kept alive. IPv4 and IPv6.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from farsite.functions.documents import Document, DocumentError, DocumentFault
from farsite.functions.reactor import Reactor
from farsite.functions.vnfc import Health, Situation, addresses_of
from farsite.functions.web import HttpServer, Request, Respond, Response, json_response, problem

_MAX_PORTS = 32
_MAX_DOWNLOAD_BYTES = 16 * 1024**3
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_BATCH = 64
_RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WebserverSettings:
    """The configuration document of a web server."""

    port: int = 80
    ports: tuple[int, ...] = ()

    def document(self) -> dict[str, object]:
        """The settings as a document; reading it gives the settings again."""
        return {"port": self.port, "ports": list(self.ports)}

    def all_ports(self) -> list[int]:
        return sorted({self.port, *self.ports})


def read_settings(value: object) -> WebserverSettings:
    """The settings that a configuration document states.

    Raises:
        DocumentError: it is not such a document; every fault is named.
    """
    document = Document(value)
    settings = WebserverSettings(
        port=document.integer("port", 80, 1, 65535),
        ports=tuple(
            document.check_integer(path, item, 1, 65535, 80)
            for path, item in document.items("ports", most=_MAX_PORTS)
        ),
    )
    document.finish()
    return settings


class Webserver:
    """A running web server."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._settings = read_settings(situation.configuration)
        self._addresses = addresses_of(situation.ports)
        self._requests: dict[int, int] = {}
        self._datagrams: dict[int, int] = {}
        self._doors: dict[tuple[str, int], _Door] = {}
        self._open_and_close(self._settings)

    def configuration(self) -> Mapping[str, object]:
        return self._settings.document()

    def configure(self, document: object) -> None:
        settings = read_settings(document)
        self._open_and_close(settings)
        self._settings = settings

    def health(self) -> Health:
        return Health(bool(self._doors), None, {"listening": [_shown(*place) for place in self._doors]})

    def counters(self) -> Mapping[str, object]:
        return {
            "requests": {str(port): count for port, count in self._requests.items()},
            "datagrams": {str(port): count for port, count in self._datagrams.items()},
            "connections": sum(len(door.http.connections) for door in self._doors.values()),
        }

    def manage(self, request: Request, respond: Respond) -> bool:  # noqa: ARG002  (nothing to add)
        return False

    def _open_and_close(self, settings: WebserverSettings) -> None:
        """Serve on the ports of the settings and no others; open connections on kept ports live on."""
        wanted = [(address, port) for port in settings.all_ports() for address in self._addresses]
        opened: dict[tuple[str, int], _Door] = {}
        faults: list[DocumentFault] = []
        for place in wanted:
            if place in self._doors:
                continue
            try:
                opened[place] = _Door(self, self._situation.reactor, *place)
            except OSError as error:
                where = "port" if place[1] == settings.port else f"ports[{settings.ports.index(place[1])}]"
                faults.append(DocumentFault(where, f"{_shown(*place)}: {error}", "a port that is free"))
        if faults:
            for door in opened.values():
                door.close()
            raise DocumentError(faults)
        for place in [place for place in self._doors if place not in wanted]:
            self._doors.pop(place).close()
        self._doors.update(opened)

    def answer(self, address: str, port: int, request: Request) -> Response:
        """The answer to one request that came in at a service address."""
        self._requests[port] = self._requests.get(port, 0) + 1
        if request.path == "/echo" and request.method in ("POST", "PUT"):
            return Response(200, request.body, "application/octet-stream")
        if request.method != "GET":
            return problem(405, f"{request.path[:200]} does not know the method {request.method[:20]}.")
        if request.path == "/":
            who = {"vnfc": self._situation.vnfc, "client": request.client, "client_port": request.client_port}
            return json_response({**who, "server": address, "port": port})
        if request.path.startswith("/bytes/"):
            digits = request.path.removeprefix("/bytes/")
            if (
                digits.isascii()
                and digits.isdigit()
                and len(digits) < 12
                and int(digits) <= _MAX_DOWNLOAD_BYTES
            ):
                return Response(200, b"", "application/octet-stream", filler_bytes=int(digits))
            return problem(400, f"/bytes/N wants a number of bytes from 0 to {_MAX_DOWNLOAD_BYTES}.")
        return problem(404, "There is / and /bytes/N and /echo here.")

    def count_datagrams(self, port: int, count: int) -> None:
        self._datagrams[port] = self._datagrams.get(port, 0) + count


class _Door:
    """One address and port number, served by HTTP and by UDP echo."""

    def __init__(self, server: Webserver, reactor: Reactor, address: str, port: int) -> None:
        self._server = server
        self._reactor = reactor
        self._port = port
        self._buffer = bytearray(64 * 1024)
        self._view = memoryview(self._buffer)
        listener = _bound(address, port, socket.SOCK_STREAM)
        try:
            listener.listen(512)
            self._udp = _bound(address, port, socket.SOCK_DGRAM)
        except OSError:
            listener.close()
            raise
        self.http = HttpServer(
            reactor, listener, lambda request, respond: respond(server.answer(address, port, request))
        )
        reactor.watch(self._udp.fileno(), self._echo)

    def close(self) -> None:
        self.http.close()
        self._reactor.forget(self._udp.fileno())
        self._udp.close()

    def _echo(self, _events: int) -> None:
        count = 0
        for _ in range(_BATCH):
            try:
                length, sender = self._udp.recvfrom_into(self._buffer)
            except BlockingIOError:
                break
            except OSError:
                # An ICMP error about an earlier echo; it says nothing about the next datagram.
                continue
            count += 1
            try:
                self._udp.sendto(self._view[:length], sender)
            except OSError:
                # The sender counts what it does not get back.
                continue
        self._server.count_datagrams(self._port, count)


def _bound(address: str, port: int, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Duplicate address detection may still hold an IPv6 address back; binding need not wait for it.
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_DGRAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        opened.bind((address, port))
    except OSError:
        opened.close()
        raise
    return opened


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
