"""How answers are read off a connection that stays open: framed in every way that HTTP has, broken off, and
from what is no HTTP server."""

import asyncio
import gc
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from farsite.vims.drivers.openstack import lines as lines_of_vims
from farsite.vims.drivers.openstack.lines import Lines, NoAnswer, Question, Reply, question, trust
from vims_openstack.small_cloud import certificate

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(slots=True)
class Server:
    """Answers with these bytes, one after another, in whatever pieces; None: it hangs up instead."""

    answers: Sequence[Sequence[bytes] | None]
    url: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list[bytes])
    is_leaving: bool = False
    """Whether it closes the connection after each answer, without having said so."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                pieces = self.answers[min(len(self.requests), len(self.answers)) - 1]
                if pieces is None:
                    return
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if self.is_leaving:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: Sequence[bytes] | None, is_leaving: bool = False) -> AsyncIterator[Server]:
    server = Server(answers, is_leaving=is_leaving)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v3"
    try:
        yield server
    finally:
        listening.close()


@asynccontextmanager
async def lines_open() -> AsyncIterator[Lines]:
    lines = Lines()
    try:
        yield lines
    finally:
        await lines.close()


def asked(url: str, method: str = "GET") -> Question:
    return question(method, url, {"X-Auth-Token": "t"}, trust(False))


FRAMES: dict[str, tuple[str, Sequence[bytes], Reply, int]] = {
    "a length": ("GET", [PLAIN], Reply(status=200, reason="OK", content=b"{}"), 1),
    "chunks": (
        "GET",
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"],
        Reply(status=200, reason="OK", content=b"{}"),
        1,
    ),
    "byte by byte": (
        "GET",
        [PLAIN[at : at + 1] for at in range(len(PLAIN))],
        Reply(status=200, reason="OK", content=b"{}"),
        1,
    ),
    "a head, with the length of what it is the head of": (
        "HEAD",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 7000\r\n\r\n"],
        Reply(status=200, reason="OK", content=b""),
        1,
    ),
    "a head without a length": (
        "HEAD",
        [b"HTTP/1.1 200 OK\r\nServer: Apache\r\n\r\n"],
        Reply(status=200, reason="OK", content=b""),
        1,
    ),
    "the head of the last": (
        "HEAD",
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"],
        Reply(status=200, reason="OK", content=b""),
        2,
    ),
    "nothing": (
        "GET",
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        Reply(status=204, reason="No Content", content=b""),
        1,
    ),
    "one that is still to come": (
        "GET",
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", PLAIN],
        Reply(status=200, reason="OK", content=b"{}"),
        1,
    ),
    "the last of a connection": (
        "GET",
        [b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"],
        Reply(status=503, reason="Service Unavailable", content=b"no"),
        2,
    ),
    "of HTTP 1.0": (
        "GET",
        [b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\n{}"],
        Reply(status=200, reason="Fine", content=b"{}"),
        2,
    ),
}


@pytest.mark.parametrize(("method", "pieces", "told", "connections"), FRAMES.values(), ids=FRAMES.keys())
async def test_an_answer_ends_where_it_says(
    method: str, pieces: Sequence[bytes], told: Reply, connections: int
) -> None:
    """The next answer over the same connection begins there; where there is none, another is made."""
    async with serving(pieces) as server, lines_open() as lines:
        for _ in range(2):
            assert await asyncio.wait_for(lines.ask(asked(server.url, method)), 10) == told
        assert server.connections == connections


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """Old fronts answer so, and it is an answer."""
    async with (
        serving([b"HTTP/1.1 200 OK\r\n\r\n", b"{}"], is_leaving=True) as server,
        lines_open() as lines,
    ):
        for _ in range(2):
            assert (await asyncio.wait_for(lines.ask(asked(server.url)), 10)).content == b"{}"


async def test_a_connection_that_the_server_has_closed_meanwhile_is_no_miss() -> None:
    """Fronts let go of what was idle for some seconds, and say nothing of it: that is no outage."""
    async with serving([PLAIN], None, [PLAIN]) as server, lines_open() as lines:
        assert (await lines.ask(asked(server.url))).content == b"{}"
        assert (await lines.ask(asked(server.url))).content == b"{}"
        assert server.connections == 2


async def test_a_server_that_hangs_up_on_a_new_connection_is_one() -> None:
    """It has been asked anew already."""
    async with serving(None) as server, lines_open() as lines:
        with pytest.raises(ConnectionResetError, match="without an answer"):
            await lines.ask(asked(server.url))
        assert server.connections == 1


BROKEN = {
    "a length that is not reached": ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"], "broke off"),
    "chunks without an end": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
        "broke off",
    ),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-"], "broke off"),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.2p1\r\n"], "no HTTP"),
    "far too much, in chunks": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
        + [b"80000\r\n" + b"x" * 0x80000 + b"\r\n"] * 3,
        "more than 1 MiB",
    ),
}


@pytest.mark.parametrize(("pieces", "words"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_whole_answer_is_none(pieces: Sequence[bytes], words: str) -> None:
    """Half an answer may be any answer."""
    async with serving(pieces, is_leaving=True) as server, lines_open() as lines:
        with pytest.raises(NoAnswer, match=words):
            await asyncio.wait_for(lines.ask(asked(server.url)), 10)


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one() -> None:
    """Whoever gives up on an answer must not leave it to the next question."""
    late = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", *[b""] * 20, b"late"]
    async with serving(late, [PLAIN]) as server, lines_open() as lines:
        given_up = asyncio.ensure_future(lines.ask(asked(server.url)))
        while not server.requests:
            await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await asyncio.wait_for(lines.ask(asked(server.url)), 10)).content == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize(
    "forged",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O",
    ],
    ids=["whole", "empty", "begun"],
)
async def test_bytes_that_nobody_asked_for_answer_nothing(forged: bytes) -> None:
    """A second answer behind the first would be the answer to whatever is asked next."""
    async with serving([PLAIN + forged], [PLAIN]) as server, lines_open() as lines:
        for _ in range(2):
            assert (await asyncio.wait_for(lines.ask(asked(server.url)), 10)).content == b"{}"
        assert server.connections == 2


async def test_questions_at_the_same_time_have_connections_of_their_own() -> None:
    """A service that hangs holds up no other behind the same front."""
    async with serving([b"", *[b""] * 10, PLAIN]) as server, lines_open() as lines:
        told = await asyncio.gather(*(lines.ask(asked(server.url)) for _ in range(3)))
        assert [one.content for one in told] == [b"{}"] * 3
        assert server.connections == 3
        await lines.ask(asked(server.url))
        assert server.connections == 3, "they are used again"


async def test_a_server_that_refuses_one_connection_is_not_asked_for_others_at_the_same_time() -> None:
    """Hundreds of VIMs that are lost at once have six services each, mostly behind one front; what is tried
    for each of them takes the processor from telling of it. Here the server does not speak TLS."""
    connections = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"no TLS here")
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v3"
    async with lines_open() as lines:
        wanted = question("GET", url, {}, trust(False))
        told = await asyncio.gather(*(lines.ask(wanted) for _ in range(6)), return_exceptions=True)
        assert [isinstance(one, OSError) for one in told] == [True] * 6
        assert connections == 1
        with pytest.raises(OSError, match=r"(?i)ssl|reset"):
            await lines.ask(wanted)
        assert connections == 2, "later it is tried again"
    listening.close()


async def test_whoever_gives_up_on_a_connection_leaves_the_others_theirs() -> None:
    """One that waits for the first to open is not to hang with it."""
    async with serving([PLAIN]) as server, lines_open() as lines:
        first = asyncio.ensure_future(lines.ask(asked(server.url)))
        second = asyncio.ensure_future(lines.ask(asked(server.url)))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).content == b"{}"


async def test_a_name_is_looked_up_and_told_when_nobody_knows_it() -> None:
    """Registrations have names more often than addresses."""
    async with serving([PLAIN]) as server, lines_open() as lines:
        named = server.url.replace("127.0.0.1", "localhost")
        assert (await asyncio.wait_for(lines.ask(asked(named)), 10)).status == 200
        assert server.requests[0].startswith(b"GET /v3 HTTP/1.1\r\nHost: localhost:")
        with pytest.raises(OSError, match=r"Name|name|resol"):
            await asyncio.wait_for(lines.ask(asked("http://nobody.invalid:5000/v3")), 30)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://c:5000/v3", "a\r\nX-Evil: 1"),
        ("http://c:5000/v3 x", "a"),
        ("http://c:5000/v3\r\nX: y", "a"),
        ("c:5000/v3", "a"),
        ("ftp://c/", "a"),
        ("http:///v3", "a"),
    ],
)
def test_what_would_be_another_request_is_refused(url: str, token: str) -> None:
    """Catalogue and token come from a server that may be anybody's."""
    with pytest.raises(ValueError, match=r"URL|asked"):
        question("GET", url, {"X-Auth-Token": token}, ssl.create_default_context())


@dataclass(slots=True)
class Slow:
    """A server over TLS that answers when it may: `one`, `two`, in the order in which it was asked."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    asked: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                content = ("zero", "one", "two", "three")[self.asked].encode()
                await self.may_answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        writer.close()


@asynccontextmanager
async def slow_over_tls(tmp_path: Path) -> AsyncIterator[tuple[Slow, Question]]:
    """Such a server, and the question to ask it."""
    tls, text = certificate(tmp_path)
    (tmp_path / "ca.pem").write_text(text)
    server = Slow()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v3"
    try:
        yield server, question("GET", url, {}, trust(str(tmp_path / "ca.pem")))
    finally:
        listening.close()


async def give_up(lines: Lines, server: Slow, wanted: Question) -> None:
    """Ask, and wait for no answer once the question is there."""
    before = server.asked
    asking = asyncio.ensure_future(lines.ask(wanted))
    async with asyncio.timeout(10):
        while server.asked == before and not asking.done():
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_new_connection_that_owes_an_answer_is_waited_for_by_who_asks_the_same(
    tmp_path: Path,
) -> None:
    """Hundreds of VIMs that hang would else be shaken hands with for every question. What comes late answers
    nothing; it only shows that one may ask again."""
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        await give_up(lines, server, wanted)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(lines.ask(wanted), 0.1)
        assert (server.connections, server.asked) == (1, 1)
        again = asyncio.ensure_future(lines.ask(wanted))
        await asyncio.sleep(0.1)
        server.may_answer.set()
        assert (await asyncio.wait_for(again, 10)).content == b"two"
        assert (server.connections, server.asked) == (1, 2)


async def test_an_answer_that_is_owed_is_waited_for_no_longer_than_the_lines_are_open(tmp_path: Path) -> None:
    """A VIM that is deleted while it hangs leaves no connection behind, and has none opened."""
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        await give_up(lines, server, wanted)
        again = asyncio.ensure_future(lines.ask(wanted))
        await asyncio.sleep(0.1)
        await lines.close()
        with pytest.raises(OSError, match="closed"):
            await asyncio.wait_for(again, 10)
        assert (server.connections, server.asked) == (1, 1)


async def test_who_asks_the_same_at_the_same_time_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """The one that owed an answer is one person's."""
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        await give_up(lines, server, wanted)
        both = [asyncio.ensure_future(lines.ask(wanted)) for _ in range(2)]
        await asyncio.sleep(0.1)
        server.may_answer.set()
        told = await asyncio.wait_for(asyncio.gather(*both), 10)
        assert {one.content for one in told} == {b"two", b"three"}
        assert server.connections == 2


async def test_another_question_does_not_wait_for_an_answer_that_is_owed(tmp_path: Path) -> None:
    """A service that hangs holds up no other behind the same front."""
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        await give_up(lines, server, wanted)
        other = question("GET", f"{wanted.leads_to}/other", {}, wanted.server.trust or trust(False))
        await give_up(lines, server, other)
        assert server.connections == 2


async def test_what_is_owed_for_long_is_asked_for_over_another_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to the first may be broken, and nobody says so."""
    monkeypatch.setattr(lines_of_vims, "_OWING_S", 0.0)
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        await give_up(lines, server, wanted)
        await give_up(lines, server, wanted)
        assert (server.connections, server.asked) == (2, 2)


async def test_a_connection_that_was_kept_and_is_silent_is_not_waited_for(tmp_path: Path) -> None:
    """A firewall that was started anew has forgotten it, and the server is well."""
    async with slow_over_tls(tmp_path) as (server, wanted), lines_open() as lines:
        server.may_answer.set()
        await lines.ask(wanted)
        server.may_answer.clear()
        await give_up(lines, server, wanted)
        await give_up(lines, server, wanted)
        assert (server.connections, server.asked) == (2, 3)


async def test_a_connection_over_tls_keeps_little_and_reads_answers_of_any_length(tmp_path: Path) -> None:
    """asyncio keeps a quarter of a MiB for every one, and thousands of VIMs have several each."""
    tls, text = certificate(tmp_path)
    content = b"{" + b" " * 300_000 + b"}"
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    server = Server([[whole]])
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    (tmp_path / "ca.pem").write_text(text)
    trusted = trust(str(tmp_path / "ca.pem"))
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v3"
    async with lines_open() as lines:
        for _ in range(3):
            reply = await lines.ask(question("GET", url, {}, trusted))
            assert reply.content == content
        gc.collect()
        # The server's side is asyncio's own, with all of it.
        assert sorted(_kept_for_tls()) == [16 << 10, 256 << 10]
        assert server.connections == 1
    listening.close()


def _kept_for_tls() -> list[int]:
    """Bytes that each TLS connection of this process has ready for what it reads next."""
    return [len(vars(one)["_ssl_buffer"]) for one in gc.get_objects() if isinstance(one, SSLProtocol)]
