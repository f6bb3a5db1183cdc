"""Listens to syslog over UDP, TCP and TLS, where the settings say so.

A sender over TCP waits as long as there is no room, and while it sends more than it may; over UDP that is
thrown away, counted and told. Nothing in syslog answers a message, so what a process has read and not yet
recorded is lost with it. Who cannot bear that has the sender tell two processes: what both tell is one alarm.

Source: RFC 5424 section 5, RFC 5425 (TLS), RFC 5426 (UDP), RFC 6587 (TCP).
"""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from farsite.api.intake.rule_files import RuleFile, Rules
from farsite.api.intake.syslog import MESSAGE_MAX, Frames, read
from farsite.api.intake.syslog_rules import SYSLOG_RULES, SyslogRule, told
from farsite.api.listeners.datagrams import DatagramSocket, bound
from farsite.api.listeners.gate import Gate
from farsite.api.listeners.recorder import Received, Recorder, Statement, count
from farsite.assurance.intake import Intake
from farsite.model.clock import Clock
from farsite.model.errors import Invalid
from farsite.settings import Settings
from farsite.store.database import Database

log = structlog.get_logger()

_CONNECTIONS_MAX = 500
_CONNECTIONS_OF_ONE = 50
_READ_BYTES = 64 * 1024
_HANDSHAKE_S = 10.0
_LAST_FRAME_S = 1.0


class SyslogReader:
    """Reads messages by the operator's rules."""

    format = "syslog"

    def __init__(self, path: str) -> None:
        """Raises:
        Invalid: the file of rules cannot be read.
        """
        self._file = RuleFile[Rules[SyslogRule]](path, SYSLOG_RULES, "FARSITE_SYSLOG_RULES")
        self.rules = self._file.read()
        self._wrong = ""

    def read(self, batch: Sequence[Received]) -> list[Statement]:
        rules = self.rules
        found: list[Statement] = []
        outcomes: Counter[str] = Counter()
        for one in batch:
            try:
                message = read(one.body, arrived_at=one.at, zone=one.sender.timezone)
                said = told(message, arrived_at=one.at, address=one.address, sender=one.sender, rules=rules)
            except Invalid:
                outcomes["form"] += 1
                continue
            except Exception:
                # Of what anybody may send, one that we did not think of must not cost the others.
                log.exception("syslog.not_read")
                outcomes["failed"] += 1
                continue
            outcomes["no_fault" if said is None else "alarm"] += 1
            if said is not None:
                found.append(Statement(one, said))
        for outcome, number in outcomes.items():
            count(self.format, outcome, number)
        return found

    def look_again(self) -> str:
        if self._file.has_changed():
            try:
                self.rules = self._file.read()
                self._wrong = ""
                log.info("syslog.rules_read", rules=len(self.rules.rules))
            except Invalid as fault:
                self._wrong = fault.detail
                log.error("syslog.rules_refused", reason=fault.detail)
        return self._wrong


class SyslogListener:
    """The sockets of syslog and what is behind them; none where no setting names one."""

    def __init__(self, settings: Settings, database: Database, intake: Intake, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._clock = clock
        self._recorder: Recorder | None = None
        self._gate: Gate | None = None
        self._datagrams: DatagramSocket | None = None
        self._streams: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], str] = {}

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are listened on, by protocol (udp, tcp, tls), also those that the system chose."""
        found = {"tcp" if context is None else "tls": one.getsockname()[1] for one, context in self._streams}
        if self._datagrams is not None:
            found["udp"] = self._datagrams.port
        return found

    def open(self) -> None:
        """Read the rules and take the ports; nothing is received yet.

        Raises:
            Invalid: the rules, the certificate or an address cannot be used; says which setting it is.
        """
        settings = self._settings
        if not (settings.syslog_udp or settings.syslog_tcp or settings.syslog_tls):
            return
        if not settings.syslog_rules:
            raise Invalid(
                "FARSITE_SYSLOG_RULES is missing: the file that says who is listened to and what is a fault."
            )
        try:
            self._open()
        except Invalid:
            self._close()
            raise

    def _open(self) -> None:
        settings = self._settings
        reader = SyslogReader(settings.syslog_rules)
        recorder = Recorder(settings, self._database, self._intake, self._clock, reader)
        gate = Gate(
            rate=settings.listener_rate, monotonic_s=self._clock.monotonic_s, rules=lambda: reader.rules
        )
        if settings.syslog_udp:
            self._datagrams = DatagramSocket(
                settings.syslog_udp, "FARSITE_SYSLOG_UDP", gate, recorder, most_bytes=MESSAGE_MAX
            )
        if settings.syslog_tcp:
            self._streams.append((bound(settings.syslog_tcp, "FARSITE_SYSLOG_TCP", socket.SOCK_STREAM), None))
        if settings.syslog_tls:
            context = _tls(settings)
            self._streams.append(
                (bound(settings.syslog_tls, "FARSITE_SYSLOG_TLS", socket.SOCK_STREAM), context)
            )
        self._recorder, self._gate = recorder, gate

    def _close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        for one, _ in self._streams:
            one.close()

    async def start(self) -> None:
        """Receive from now on."""
        if self._recorder is None:
            return
        self._recorder.start()
        if self._datagrams is not None:
            self._datagrams.start()
        for one, context in self._streams:
            server = await asyncio.start_server(
                self._connected,
                sock=one,
                ssl=context,
                limit=_READ_BYTES,
                ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
            )
            self._servers.append(server)
        log.info("syslog.listening", **self.ports)

    async def stop(self) -> None:
        """Receive nothing more and record what was received."""
        if self._recorder is None:
            return
        if self._datagrams is not None:
            self._datagrams.close()
        for server in self._servers:
            server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._recorder.stop()

    # -- streams --------------------------------------------------------------------------------------------

    async def _connected(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._gate is not None
        assert self._recorder is not None
        task = asyncio.current_task()
        assert task is not None
        peer = writer.get_extra_info("peername")
        visitor = self._gate.visitor(peer[0] if peer else "")
        others = sum(address == visitor.address for address in self._connections.values())
        try:
            if visitor.sender is None:
                self._recorder.count("sender")
                return
            if len(self._connections) >= _CONNECTIONS_MAX or others >= _CONNECTIONS_OF_ONE:
                self._recorder.count("connections")
                return
            self._connections[task] = visitor.address
            _keep_alive(writer)
            await self._receive(stream, peer[0])
        except Invalid as fault:
            self._recorder.count("form")
            log.debug("syslog.stream_ended", sender=visitor.address, reason=fault.detail)
        except (OSError, ssl.SSLError) as error:
            log.debug("syslog.connection_lost", sender=visitor.address, reason=str(error))
        finally:
            self._connections.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), _LAST_FRAME_S)

    async def _receive(self, stream: asyncio.StreamReader, peer: str) -> None:
        frames = Frames()
        while data := await stream.read(_READ_BYTES):
            arrived_at = datetime.now(UTC)
            for body, is_cut in frames.feed(data):
                await self._take(body, is_cut, peer, arrived_at)
        for body, is_cut in frames.end():
            await self._take(body, is_cut, peer, datetime.now(UTC))

    async def _take(self, body: bytes, is_cut: bool, peer: str, arrived_at: datetime) -> None:
        assert self._gate is not None
        assert self._recorder is not None
        # Asked anew each time: the operator may have shut out who is connected.
        visitor = self._gate.visitor(peer)
        if visitor.sender is None:
            raise Invalid("This sender is not listened to any more.")
        while (wait_s := self._gate.wait_s(visitor)) > 0:  # noqa: ASYNC110  (credit grows with time)
            await asyncio.sleep(wait_s)
        await self._recorder.room()
        if is_cut:
            self._recorder.count("cut")
        self._recorder.put(Received(arrived_at, visitor.address, visitor.sender, body))


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Find out within some minutes that a sender is gone without a word."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _tls(settings: Settings) -> ssl.SSLContext:
    if not settings.syslog_tls_cert:
        raise Invalid("FARSITE_SYSLOG_TLS_CERT is missing: the certificate that senders are shown.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Senders of syslog read nothing. One that closed with tickets unread would have its system reset the
    # connection, and what it sent last would be thrown away here.
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.syslog_tls_cert, settings.syslog_tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"FARSITE_SYSLOG_TLS_CERT {settings.syslog_tls_cert} or its key cannot be used: {error}."
        ) from error
    if settings.syslog_tls_ca:
        try:
            context.load_verify_locations(settings.syslog_tls_ca)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(
                f"FARSITE_SYSLOG_TLS_CA {settings.syslog_tls_ca} cannot be used: {error}."
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
