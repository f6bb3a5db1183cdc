"""A proxy before a real service that makes faults to order and counts what passes.

It runs on a thread of its own with its own event loop, so that a test (blocking or not) says what shall go
wrong, and what it tests is a client that does not know. A proxy that understands HTTP was chosen over
mitmproxy: that is a dependency of eighty packages for two hundred lines, and over rules of the kernel: those
cannot tell the request that creates a server from the one that looks at it.
"""

import asyncio
import contextlib
import re
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, assert_never
from urllib.parse import urlsplit

from lab.faults.kinds import Answer, Change, Cut, Delay, Fault, Lose, Request, Reset, Response, Silence
from lab.faults.wire import ClientSide, Gone, ask

T = TypeVar("T")

REMEMBERED = 100_000
COMMAND_LIMIT_S = 10.0
# What stands for a thing in a path: a UUID with or without dashes.
IDENTITY = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
TEXTUAL = ("application/json", "text/", "application/xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request that came, and what became of it.

    `status` is that of the answer sent to the client, None where none was; `label` is the method and path
    with identities replaced, plus what `describe` had to add. `at_s` is monotonic.
    """

    at_s: float
    took_s: float
    method: str
    target: str
    label: str
    status: int | None
    fault: Fault | None


@dataclass(slots=True, kw_only=True)
class Injection:
    """A fault in waiting: for which requests, and how many times it still happens. `times` None is always."""

    fault: Fault
    method: str | None
    path: re.Pattern[str]
    skip: int
    times: int | None
    hits: int = 0
    _struck: threading.Event = field(default_factory=threading.Event)

    def applies_to(self, request: Request) -> bool:
        return self.method in (None, request.method) and bool(self.path.search(request.path))

    def wait(self, *, within_s: float = 30.0) -> None:
        """Wait until it has struck once.

        Raises:
            TimeoutError: no such request came in that time.
        """
        if not self._struck.wait(within_s):
            asked = f"{self.method or 'no request'} {self.path.pattern}"
            raise TimeoutError(f"{asked} did not come within {within_s:.0f} s")

    def strike(self) -> None:
        self.hits += 1
        self._struck.set()


class Loop:
    """The thread on which proxies run; one serves many."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there and wait for it."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(COMMAND_LIMIT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(COMMAND_LIMIT_S)
        self._loop.close()


class FaultProxy:
    """A proxy before the service at `upstream` (`http://host:port`), on a port of its own.

    With `tls` it speaks HTTPS to clients. `describe` adds to a request's label what counting needs and the
    path does not show. A request is counted before it is answered: a client that has its answer is counted.
    """

    def __init__(
        self,
        upstream: str,
        *,
        loop: Loop,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        describe: Callable[[Request], str] | None = None,
    ) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname
        assert parts.port
        self.upstream = upstream
        self._service = (parts.hostname, parts.port)
        self._loop = loop
        self._host = host
        self._tls = tls
        self._describe = describe
        self._replacing: re.Pattern[str] | None = None
        self._replacements: dict[str, str] = {}
        self._guard = threading.Lock()
        self._injections: list[Injection] = []
        self._exchanges: deque[Exchange] = deque(maxlen=REMEMBERED)
        self._is_held = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = port
        self._loop.run(self._listen())

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Where clients reach the service through this proxy, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    def replace_in_answers(self, addresses: Mapping[str, str]) -> None:
        """From now on, put `addresses`' values in place of its keys (`http://host:port`) in every answer.

        With the addresses of all services mapped to those of their proxies, a client that follows Keystone's
        catalogue, version documents and links passes through proxies only.
        """
        self._replacements = dict(addresses)
        # The longest first, and not where another digit follows: port 1500 begins like port 15000.
        choices = "|".join(re.escape(address) for address in sorted(addresses, key=len, reverse=True))
        self._replacing = re.compile(f"(?:{choices})(?![0-9])") if addresses else None

    # -- what goes wrong ----------------------------------------------------------------------------

    def inject(
        self, fault: Fault, *, method: str | None = None, path: str = "", skip: int = 0, times: int | None = 1
    ) -> Injection:
        """Let `fault` happen to requests of `method` whose path matches the expression `path`.

        The first `skip` such requests pass, the next `times` are struck (None: all). Of several faults that
        apply the one injected first strikes. `injection.wait()` waits until it has struck.
        """
        injection = Injection(fault=fault, method=method, path=re.compile(path), skip=skip, times=times)
        with self._guard:
            self._injections.append(injection)
        return injection

    def withdraw(self, injection: Injection) -> None:
        """Let it happen no more; what it has done to connections stays done."""
        with self._guard:
            self._injections = [other for other in self._injections if other is not injection]

    def refuse(self) -> None:
        """Stop listening and break off what is open, as a service that was killed."""
        self._loop.run(self._stop_listening())

    def hold(self) -> None:
        """Accept connections and read nothing, as a frozen service does. Open connections stand still too."""
        self._is_held = True

    def mend(self) -> None:
        """Withdraw every fault and listen again; connections that were held are reset."""
        with self._guard:
            self._injections.clear()
        if self._is_held:
            self._is_held = False
            self._loop.run(self._stop_listening())
        self._loop.run(self._listen())

    # -- what passed --------------------------------------------------------------------------------

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that came, oldest first (the last hundred thousand)."""
        with self._guard:
            return list(self._exchanges)

    def counts(self) -> Counter[str]:
        """How many requests came per label: `GET /v1/{id}/stacks`."""
        return Counter(exchange.label for exchange in self.exchanges)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._guard:
            self._exchanges.clear()

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """Count what comes while the block runs; the counter is filled at its end."""
        began = time.monotonic()
        found: Counter[str] = Counter()
        yield found
        found.update(exchange.label for exchange in self.exchanges if exchange.at_s >= began)

    def close(self) -> None:
        self._loop.run(self._stop_listening())

    # -- on the loop --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        if self._server:
            return
        server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._tls)
        # The port chosen at first is kept: clients have it in their configuration.
        self._port = server.sockets[0].getsockname()[1]
        self._server = server

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        client = ClientSide(reader, writer)
        try:
            while (request := await self._next(client)) and await self._handle(client, request):
                pass
        except Gone:
            pass
        except asyncio.CancelledError:
            client.reset()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _next(self, client: ClientSide) -> Request | None:
        if self._is_held:
            await asyncio.Event().wait()
        request = await client.next_request()
        # Held while it waited for the client's next request: that one stands still as well.
        if self._is_held:
            await asyncio.Event().wait()
        return request

    def _take(self, request: Request) -> Injection | None:
        with self._guard:
            for injection in self._injections:
                if injection.times == 0 or not injection.applies_to(request):
                    continue
                if injection.skip:
                    injection.skip -= 1
                    continue
                if injection.times is not None:
                    injection.times -= 1
                return injection
        return None

    async def _handle(self, client: ClientSide, request: Request) -> bool:
        """Answer one request, or do worse; whether the connection goes on."""
        began = time.monotonic()
        struck = self._take(request)
        fault = struck.fault if struck else None
        response = await self._response(request, fault)
        # What was executed has been executed when the injection is said to have struck.
        if struck:
            struck.strike()
        is_sent = response is not None and not isinstance(fault, Lose)
        with self._guard:
            self._exchanges.append(
                Exchange(
                    at_s=began,
                    took_s=time.monotonic() - began,
                    method=request.method,
                    target=request.target,
                    label=self._label(request),
                    status=response.status if response and is_sent else None,
                    fault=fault,
                )
            )
        match fault:
            case Silence() | Lose(silently=True):
                await client.until_it_gives_up()
            case Reset() | Lose():
                client.reset()
            case Cut(keep=keep) if response:
                await client.answer_in_part(response, keep=keep)
            case _ if response:
                return await client.answer(response, is_head=request.method == "HEAD")
            case _:  # the service is not there: neither are we
                client.reset()
        return False

    async def _response(self, request: Request, fault: Fault | None) -> Response | None:
        match fault:
            case Reset() | Silence():
                return None
            case Answer():
                headers = (("Content-Type", fault.content_type), *fault.headers)
                return Response(status=fault.status, headers=headers, body=fault.body)
            case Delay():
                await asyncio.sleep(fault.before_s)
                response = await self._ask(request)
                await asyncio.sleep(fault.after_s)
                return response
            case Change():
                response = await self._ask(request)
                return fault.change(response) if response else None
            case Lose() | Cut() | None:
                return await self._ask(request)
            case _:
                assert_never(fault)

    async def _ask(self, request: Request) -> Response | None:
        try:
            response = await ask(*self._service, request)
        except (Gone, OSError):
            return None
        return self._with_addresses_replaced(response)

    def _with_addresses_replaced(self, response: Response) -> Response:
        pattern = self._replacing
        if pattern is None:
            return response

        def put(found: re.Match[str]) -> str:
            return self._replacements[found[0]]

        headers = tuple((name, pattern.sub(put, value)) for name, value in response.headers)
        body = response.body
        if response.header("content-type").startswith(TEXTUAL):
            body = pattern.sub(put, body.decode("utf-8", "surrogateescape")).encode(
                "utf-8", "surrogateescape"
            )
        return replace(response, headers=headers, body=body)

    def _label(self, request: Request) -> str:
        label = f"{request.method} {IDENTITY.sub('{id}', request.path)}"
        more = self._describe(request) if self._describe else ""
        return f"{label} {more}" if more else label
