"""The proxy makes the fault that was ordered and no other, and tells truly what passed."""

import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.faults import kinds
from lab.faults.proxy import IDENTITY, FaultProxy, Loop

WAIT_S = 10.0


@pytest.fixture
def client(proxy: FaultProxy):
    with httpx2.Client(base_url=proxy.url, timeout=WAIT_S) as made:
        yield made


def test_without_a_fault_nothing_is_changed(client: httpx2.Client, backend, proxy: FaultProxy) -> None:
    """Otherwise a test would blame the orchestrator for the proxy's doing."""
    body = bytes(range(256)) * 4096
    answer = client.post("/v1/stacks?limit=1", content=body)
    assert (answer.status_code, answer.json()["sent"].encode("latin-1")) == (201, body)
    assert answer.json()["host"] == backend.url.removeprefix("http://")
    assert backend.asked == [("POST", "/v1/stacks?limit=1", body)]
    assert client.head("/v1").content == b""
    assert client.delete("/v1").status_code == 200


def test_a_connection_carries_many_requests(client: httpx2.Client, proxy: FaultProxy) -> None:
    """Keep-alive is what clients use, and where a fault on one request must not touch the next."""
    for _ in range(3):
        assert client.get("/v1").status_code == 200
    assert proxy.counts() == Counter({"GET /v1": 3})


@pytest.mark.parametrize(
    ("fault", "is_executed"),
    [
        (kinds.Reset(), False),
        (kinds.Silence(), False),
        (kinds.Lose(), True),
        (kinds.Lose(silently=True), True),
        (kinds.Cut(), True),
    ],
    ids=repr,
)
def test_a_broken_exchange_is_executed_or_not_as_the_fault_says(
    fault: kinds.Fault, is_executed: bool, proxy: FaultProxy, backend
) -> None:
    """Whether it was executed is the one thing the client cannot know, so the test must."""
    struck = proxy.inject(fault, method="POST", path=r"/stacks$")
    with httpx2.Client(base_url=proxy.url, timeout=0.5) as client, pytest.raises(httpx2.TransportError):
        client.post("/v1/stacks", content=b"x")
    struck.wait()
    assert [method for method, _, _ in backend.asked] == (["POST"] if is_executed else [])
    (exchange,) = proxy.exchanges
    assert exchange.fault == fault
    assert exchange.status == (201 if isinstance(fault, kinds.Cut) else None)
    with httpx2.Client(base_url=proxy.url, timeout=WAIT_S) as client:
        assert client.post("/v1/stacks").status_code == 201


@pytest.mark.parametrize(
    ("fault", "status", "type_", "is_executed"),
    [
        (kinds.too_many_requests(retry_after_s=3), 429, "application/json", False),
        (kinds.server_error(500), 500, "application/json", False),
        (kinds.unavailable_page(503), 503, "text/html", False),
        (kinds.short_json(), 201, "application/json", True),
        (kinds.wrong_json({"a": 1}), 201, "application/json", True),
        (kinds.html_instead(), 201, "text/html", True),
        (kinds.html_instead(502), 502, "text/html", True),
    ],
    ids=["429", "500", "503", "short JSON", "wrong JSON", "HTML", "HTML 502"],
)
def test_a_false_answer_arrives_whole(
    fault: kinds.Fault, status: int, type_: str, is_executed: bool, client: httpx2.Client, proxy, backend
) -> None:
    """What is tried is what a client makes of an answer, not how it reads a broken connection."""
    proxy.inject(fault)
    answer = client.post("/v1/stacks", content=b"x")
    assert (answer.status_code, answer.headers["content-type"]) == (status, type_)
    assert len(backend.asked) == is_executed
    if status == 429:
        assert answer.headers["retry-after"] == "3"
    if fault in (kinds.short_json(), kinds.html_instead()):
        with pytest.raises(ValueError, match=r"line \d+ column"):
            answer.json()
    assert client.post("/v1/stacks").status_code == 201


def test_a_late_answer_was_executed_though_the_client_gave_up(proxy: FaultProxy, backend) -> None:
    """The case from which second stacks come."""
    proxy.inject(kinds.Delay(before_s=0.3))
    with httpx2.Client(base_url=proxy.url, timeout=0.1) as client, pytest.raises(httpx2.TimeoutException):
        client.post("/v1/stacks", content=b"x")
    assert backend.asked == []
    assert backend.arrived.acquire(timeout=WAIT_S)
    proxy.inject(kinds.Delay(after_s=0.2))
    began = time.monotonic()
    assert httpx2.get(proxy.url).status_code == 200
    assert time.monotonic() - began >= 0.2


def test_a_fault_strikes_by_method_path_and_number(client: httpx2.Client, proxy: FaultProxy) -> None:
    """The second creation of a stack must fail, not the first look at one."""
    proxy.inject(kinds.server_error(), method="POST", path=r"/stacks$", skip=1, times=2)
    statuses = [client.post("/v1/stacks").status_code for _ in range(4)]
    assert statuses == [201, 500, 500, 201]
    always = proxy.inject(kinds.server_error(503), path="^/v2", times=None)
    assert [client.get(path).status_code for path in ("/v2/a", "/v1/v2", "/v2")] == [503, 200, 503]
    proxy.withdraw(always)
    assert (always.hits, client.get("/v2").status_code) == (2, 200)
    with pytest.raises(TimeoutError, match="POST /never"):
        proxy.inject(kinds.Reset(), method="POST", path="/never").wait(within_s=0.05)


@given(skip=st.integers(0, 4), times=st.integers(0, 4), requests=st.integers(0, 10))
def test_as_many_are_struck_as_were_ordered(skip: int, times: int, requests: int) -> None:
    """An off-by-one here would move a fault to another step of an operation."""
    # Without its server: which requests are struck is decided before anything is done to them.
    proxy = FaultProxy.__new__(FaultProxy)
    proxy._guard, proxy._injections = threading.Lock(), []
    proxy.inject(kinds.Reset(), skip=skip, times=times)
    request = kinds.Request(method="GET", target="/", headers=(), body=b"")
    struck = [proxy._take(request) is not None for _ in range(requests)]
    assert struck == [skip <= number < skip + times for number in range(requests)]


def test_a_service_that_refuses_and_one_that_stands_still_come_back(client, proxy: FaultProxy) -> None:
    """Killed and frozen services look different to a client; both end."""
    assert client.get("/").status_code == 200
    proxy.refuse()
    with pytest.raises(httpx2.TransportError):
        client.get("/")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 1)
    proxy.mend()
    assert client.get("/").status_code == 200
    proxy.hold()
    # A connection is made, by the kernel and by the proxy, and nothing comes.
    for attempt in (client, httpx2):
        with pytest.raises(httpx2.ReadTimeout):
            attempt.get(proxy.url, timeout=0.2)
    proxy.mend()
    assert httpx2.get(proxy.url).status_code == 200


def test_a_proxy_before_nothing_breaks_off_as_nothing_would(loop: Loop) -> None:
    """A service that is down behind its proxy must not look like an answer of 502 that nobody gave."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = FaultProxy(f"http://127.0.0.1:{taken.getsockname()[1]}", loop=loop)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(proxy.url)
        assert [exchange.status for exchange in proxy.exchanges] == [None]
        proxy.close()


def test_addresses_in_answers_are_those_of_the_proxy(client, proxy: FaultProxy, backend) -> None:
    """A client that follows a link past the proxy is no longer tested."""
    proxy.replace_in_answers({backend.url: proxy.url, backend.url[:-1]: "http://wrong:1"})
    answer = client.get("/v1/x")
    assert answer.json()["self"] == f"{proxy.url}/v1/x"
    assert answer.headers["location"] == f"{proxy.url}/made"


def test_requests_are_counted_per_path_without_identities(client: httpx2.Client, backend, loop) -> None:
    """A figure per operation must not have a row per stack."""
    proxy = FaultProxy(
        backend.url, loop=loop, describe=lambda request: "big" if len(request.body) > 3 else ""
    )
    base = proxy.url
    for body in ("", "12345"):
        httpx2.post(f"{base}/v1/{uuid.uuid4().hex}/stacks/{uuid.uuid4()}?x=1", content=body)
    with proxy.counting() as counted:
        httpx2.get(base)
    assert counted == Counter({"GET /": 1})
    assert proxy.counts() == Counter(
        {"POST /v1/{id}/stacks/{id}": 1, "POST /v1/{id}/stacks/{id} big": 1, "GET /": 1}
    )
    proxy.forget()
    assert proxy.exchanges == []
    proxy.close()


def test_what_does_not_speak_http_is_let_go(proxy: FaultProxy) -> None:
    """HTTPS sent to an HTTP port ends soon, as it does with the real service."""
    with socket.create_connection(("127.0.0.1", proxy.port), WAIT_S) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n")
        plain.settimeout(WAIT_S)
        assert plain.recv(100) == b""
    assert proxy.exchanges == []


def test_many_clients_at_once_are_served(proxy: FaultProxy) -> None:
    """Fifty operations share the proxy; a lock held too long would be measured as the orchestrator's time."""

    def ask(number: int) -> int:
        return client.get(f"/{number}").status_code

    with ThreadPoolExecutor(16) as clients, httpx2.Client(base_url=proxy.url, timeout=WAIT_S) as client:
        assert set(clients.map(ask, range(200))) == {200}
    assert sum(proxy.counts().values()) == 200


@given(st.uuids(), st.sampled_from([str, lambda value: value.hex]))
def test_every_identity_is_recognised(identity: uuid.UUID, spell: Callable[[uuid.UUID], str]) -> None:
    """OpenStack writes them both ways: Keystone without dashes, the others with."""
    assert IDENTITY.sub("{id}", f"/v1/{spell(identity)}/x") == "/v1/{id}/x"
