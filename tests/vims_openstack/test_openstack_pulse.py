"""What a pulse asks and tells: one service at a time while all is well, all of them at the first miss."""

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farsite.model.ids import VimId
from farsite.model.vim import ServiceHealth, VimHealth
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import health, lines
from farsite.vims.drivers.openstack.driver import OpenStackDriver
from farsite.vims.drivers.openstack.trouble import Trouble, trouble_of
from vims_openstack.small_cloud import (
    Answer,
    Script,
    SmallCloud,
    as_json,
    certificate,
    page,
    small_cloud,
    whole_cloud,
)

PERSON = {"username": "nfv_user", "password": "s3cret-word", "project_name": "nfv"}
HEAT = "GET /heat/v1/p1/build_info"
KEYSTONE = "HEAD /v3/auth/tokens"
AT_LENGTH = "GET /v3/auth/tokens"
GLANCE = "GET /glance/v2/images"
NOVA = "GET /nova/v2.1/flavors"
NEUTRON = "GET /neutron/v2.0/networks"
OF_NOBODY = (200, "text/plain", "hello")


@asynccontextmanager
async def driver_of(
    cloud: SmallCloud, run_dir: Path, *, credentials: Mapping[str, str] = PERSON, **settings: object
) -> AsyncIterator[OpenStackDriver]:
    connection = VimConnection(
        vim_id=VimId("v1"), name="turin", site="turin", auth_url=cloud.url,
        settings={"health_timeout_s": 8, **settings},
        credentials=credentials, run_dir=run_dir,
    )  # fmt: skip
    driver = OpenStackDriver(connection)
    try:
        yield driver
    finally:
        await driver.close()


def of(health: VimHealth) -> dict[str, ServiceHealth]:
    return {one.name: one for one in health.services}


def down(health: VimHealth) -> list[str]:
    return [one.name for one in health.services if not one.is_up]


class Changing:
    """A whole cloud whose answers are changed while it runs; an answer may be made by what takes its time."""

    def __init__(self) -> None:
        self.changes: dict[str, Answer | Callable[[], Answer]] = {}
        self.url = ""
        self.go_on = threading.Event()

    def hang(self) -> Answer:
        """Say nothing until one may go on."""
        self.go_on.wait(30)
        return as_json({})

    def script(self, method: str, path: str) -> Answer:
        changed = self.changes.get(f"{method} {path}")
        if callable(changed):
            return changed()
        return changed or whole_cloud(lambda: self.url)(method, path)


@pytest.fixture
def changing() -> Changing:
    return Changing()


async def test_a_pulse_is_one_request_and_the_vital_services_take_turns(tmp_path: Path) -> None:
    """Five thousand VIMs at six requests a second each would be more than a processor can send."""
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        async with driver_of(cloud, tmp_path) as driver:
            assert down(await driver.pulse()) == []
            del cloud.asked[:]
            told = [await driver.pulse() for _ in range(8)]
            assert Counter(cloud.asked) == {KEYSTONE: 4, HEAT: 4}
            assert [sorted(one.asked or ()) for one in told[:2]] in (
                [["keystone"], ["heat"]], [["heat"], ["keystone"]],
            )  # fmt: skip
            assert all(len(one.services) == 5 for one in told), "what was not asked is told as it was"


async def test_a_service_that_is_not_vital_is_asked_each_ten_seconds_in_place_of_a_vital_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is dead shall be seen, at no request more."""
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
            now = time.monotonic()
            monkeypatch.setattr(driver._health, "_now_s", lambda: now)
            asked: list[frozenset[str]] = []
            for _ in range(20):
                now += 1
                asked.append((await driver.pulse()).asked or frozenset())
    assert all(len(one) == 1 for one in asked)
    counted = Counter(name for one in asked for name in one)
    assert counted["nova"] in (1, 2)
    assert counted["glance"] in (1, 2)
    assert counted["keystone"] + counted["heat"] >= 14
    others = [not one & {"keystone", "heat"} for one in asked]
    assert (True, True) not in pairwise(others), "the vital ones wait two turns"


async def test_a_keystone_that_answers_short_questions_only_is_told_with_the_way_there(
    changing: Changing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where large packets are lost every pulse is well, and nothing can be deployed."""
    monkeypatch.setattr(health, "_AT_LENGTH_S", 0.0)
    monkeypatch.setattr(health, "_AT_LENGTH_AGAIN_S", 0.0)
    monkeypatch.setattr(health, "_AT_LENGTH_LIMIT_S", 0.2)
    changing.changes[AT_LENGTH] = changing.hang
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path) as driver:
            try:
                silent = 0
                async with asyncio.timeout(20):
                    while not (told := down(await driver.pulse())):
                        silent = cloud.asked.count(AT_LENGTH)
                        await asyncio.sleep(0.01)
                assert told == ["keystone at length"]
                assert silent >= 3, "one or two are an accident"
                said = of(await driver.pulse())["keystone at length"]
                assert not said.is_vital
                assert f"{cloud.url}/v3/auth/tokens" in said.detail
                assert "MTU" in said.detail
            finally:
                changing.go_on.set()
            async with asyncio.timeout(20):
                while down(await driver.pulse()):
                    await asyncio.sleep(0.01)


FAULTS: dict[str, tuple[dict[str, Answer], list[str], str]] = {
    "Keystone 503": ({KEYSTONE: (503, "text/plain", "")}, ["keystone"], "503"),
    "Heat 500": ({HEAT: as_json({}, 500)}, ["heat"], "500"),
    "Heat a page": ({HEAT: page("502 Proxy Error")}, ["heat"], "200, but no answer of an OpenStack API"),
    "Heat of nobody": ({HEAT: OF_NOBODY}, ["heat"], "200, but no answer of an OpenStack API"),
    "a whole front 503": (
        {KEYSTONE: page("no", 503), HEAT: page("no", 503), GLANCE: page("no", 503)},
        ["keystone", "heat", "glance"],
        "503",
    ),
}


@pytest.mark.parametrize(("changes", "names", "words"), FAULTS.values(), ids=FAULTS.keys())
async def test_the_first_miss_tells_how_far_it_goes(
    changes: dict[str, Answer], names: list[str], words: str, changing: Changing, tmp_path: Path
) -> None:
    """Whether it is one service or all of them decides what an operator does, and a second later is late."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
            changing.changes.update(changes)
            told = await driver.pulse()
            if not down(told):  # it was the other one's turn
                told = await driver.pulse()
            assert sorted(down(told)) == sorted(names)
            assert told.asked == {one.name for one in told.services}
            assert words in of(told)[names[0]].detail
            changing.changes.clear()
            assert down(await driver.pulse()) == [], "what was down is asked in every pulse"


async def test_of_a_lost_vim_the_vital_services_are_asked_until_one_answers(
    changing: Changing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds that are lost at once would else be asked seven times as much as before, just when each of
    them is to be told of; what else they run is known since the first miss."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
            now = time.monotonic()
            monkeypatch.setattr(driver._health, "_now_s", lambda: now)
            changing.changes.update(dict.fromkeys((KEYSTONE, HEAT, GLANCE, NOVA, NEUTRON), page("no", 503)))
            told = await driver.pulse()
            assert sorted(down(told)) == sorted(one.name for one in told.services)
            for _ in range(3):
                now += 1
                assert (await driver.pulse()).asked == {"keystone", "heat"}
            now += 10
            asked = [(await driver.pulse()).asked or frozenset() for _ in range(3)]
            assert sorted(name for one in asked for name in one - {"keystone", "heat"}) == [
                "glance", "neutron", "nova",
            ], "each of the others once in ten seconds"  # fmt: skip
            del changing.changes[KEYSTONE]
            told = await driver.pulse()
            assert told.asked == {one.name for one in told.services}
            changing.changes.clear()
            assert down(await driver.pulse()) == []


async def test_a_service_that_hangs_has_the_others_asked_while_it_is_waited_for(
    changing: Changing, tmp_path: Path
) -> None:
    """A check ends in time and says which service it is, not that nothing is known."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path, health_timeout_s=1) as driver:
            while down(await driver.pulse()):
                pass  # the SDK is being imported
            changing.changes[HEAT] = changing.hang
            began = time.monotonic()
            told = await driver.pulse()
            if not down(told):
                told = await driver.pulse()
            took_s = time.monotonic() - began
            assert down(told) == ["heat"]
            assert "no answer within 1 s" in of(told)["heat"].detail
            assert told.asked == {one.name for one in told.services}
            assert took_s < 5
            changing.go_on.set()


@asynccontextmanager
async def connecting_to_a_crowd() -> AsyncIterator[None]:
    """Hundreds a second are connected to over TLS; nobody there shakes hands."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked = lines.question("GET", f"https://127.0.0.1:{port}/", {}, lines.trust(False))

    async def connect_for_ever() -> None:
        while True:
            with suppress(OSError):
                await lines.Lines().ask(asked)
            await asyncio.sleep(0.02)

    connecting = [asyncio.create_task(connect_for_ever()) for _ in range(10)]
    async with asyncio.timeout(20):
        while not lines.is_crowded():
            await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for one in connecting:
            one.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        server.close()
    async with asyncio.timeout(10):
        while lines.is_crowded():
            await asyncio.sleep(0.01)


async def test_while_hundreds_are_connected_to_one_that_falls_silent_is_asked_no_more_than_tells_so(
    changing: Changing, tmp_path: Path
) -> None:
    """Hundreds that hang at once, over TLS, would else be shaken hands with five times each before the first
    of them is known to be lost, and again when they are back."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path, health_timeout_s=1) as driver:
            while down(await driver.pulse()):
                pass  # the SDK is being imported
            async with connecting_to_a_crowd():
                changing.changes.update(dict.fromkeys((KEYSTONE, HEAT), changing.hang))
                told = await driver.pulse()
                if not down(told):
                    told = await driver.pulse()
                missed = down(told)
                assert len(missed) == 1
                assert told.asked == set(missed)
                assert (await driver.pulse()).asked == set(missed)
                changing.changes.clear()
                changing.go_on.set()
                told = await driver.pulse()
                assert (told.asked, down(told)) == ({"keystone", "heat"}, [])


async def test_a_vim_that_is_back_is_not_said_to_lack_what_was_not_asked_since(
    changing: Changing, tmp_path: Path
) -> None:
    """Five hundred that were back at once had alarms of services that were well."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path, health_timeout_s=1) as driver:
            while down(await driver.pulse()):
                pass  # the SDK is being imported
            everything = (KEYSTONE, HEAT, GLANCE, NOVA, NEUTRON)
            changing.changes.update(dict.fromkeys(everything, changing.hang))
            while len(down(await driver.pulse())) < len(everything):
                pass
            async with connecting_to_a_crowd():
                changing.changes.clear()
                changing.changes[NOVA] = page("no", 503)
                changing.go_on.set()
                told = await driver.pulse()
                assert (told.asked, down(told)) == ({"keystone", "heat"}, [])
            assert down(await driver.pulse()) == ["nova"], "what is asked, and does not work"


async def test_a_server_that_is_gone_is_named_with_its_port(tmp_path: Path) -> None:
    """Connections that were open end with it, and the next one is refused."""
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        pass
    async with driver_of(cloud, tmp_path) as driver:
        told = await driver.pulse()
        assert set(down(told)) == {"keystone", "heat"}
        assert "connection refused" in of(told)["keystone"].detail


async def test_a_service_that_has_answered_is_asked_what_it_speaks_only_when_it_fails_so_again(
    changing: Changing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds that are lost at once close their connections: nobody could ask all of them in time."""
    asked: list[bool] = []

    def recorded(error: BaseException, url: str, *, may_ask: bool = True) -> Trouble | None:
        asked.append(may_ask)
        return trouble_of(error, url, may_ask=may_ask)

    def breaks_off() -> Answer:
        raise ConnectionAbortedError

    monkeypatch.setattr(health, "trouble_of", recorded)
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
            assert not down(await driver.pulse())
            changing.changes[HEAT] = breaks_off
            while not down(told := await driver.pulse()):
                pass
            assert down(told) == ["heat"]
            assert "closed the connection without an answer" in of(told)["heat"].detail
            assert asked == [False]
            assert down(await driver.pulse()) == ["heat"]
            assert asked == [False, True]
            # What was found is kept while it fails so.
            assert down(await driver.pulse()) == ["heat"]
            assert asked == [False, True]


async def test_a_certificate_that_has_expired_is_said_to_have(tmp_path: Path) -> None:
    """It is the outage that everybody has once a year."""
    tls, text = certificate(tmp_path, begins_in_days=-2, ends_in_days=-1)
    with small_cloud(whole_cloud(lambda: cloud.url), tls=tls) as cloud:
        async with driver_of(cloud, tmp_path, credentials=PERSON | {"ca_cert": text}) as driver:
            told = await driver.pulse()
            assert set(down(told)) == {"keystone", "heat"}
            # In our words: OpenSSL's own come after them, whatever we make of its code.
            assert (
                f"the certificate of {urlsplit(cloud.url).netloc} has expired" in of(told)["keystone"].detail
            )


async def test_vims_with_different_cas_trust_only_their_own(tmp_path: Path) -> None:
    """A connection that one VIM's CA vouches for must not carry another one's token."""
    tls, text = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_text = certificate(tmp_path / "other")
    with small_cloud(whole_cloud(lambda: cloud.url), tls=tls) as cloud:
        trusting = driver_of(cloud, tmp_path, credentials=PERSON | {"ca_cert": text})
        careless = driver_of(cloud, tmp_path, credentials=PERSON | {"cert_verify": "False"})
        async with trusting as one, careless as other:
            assert down(await one.pulse()) == down(await other.pulse()) == []
            mistrusting = lines.Lines()
            asked = lines.question("GET", f"{cloud.url}/v3", {}, _trust_of(tmp_path, other_text))
            with pytest.raises(OSError, match=r"certificate|CERTIFICATE"):
                await mistrusting.ask(asked)
            await mistrusting.close()


def _trust_of(directory: Path, text: str) -> ssl.SSLContext:
    path = directory / "ca.pem"
    path.write_text(text)
    return lines.trust(str(path))


async def test_connections_close_with_their_driver_and_are_no_other_s(tmp_path: Path) -> None:
    """Thousands of connections that nobody uses are somebody else's open files."""
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        async with driver_of(cloud, tmp_path) as one:
            async with driver_of(cloud, tmp_path) as other:
                await one.pulse()
                await other.pulse()
                both = _connections_to(cloud)
            for _ in range(100):
                if _connections_to(cloud) < both:
                    break
                await asyncio.sleep(0.05)
            assert 0 < _connections_to(cloud) < both
            assert down(await one.pulse()) == [], "the other's end is not ours"


def _connections_to(cloud: SmallCloud) -> int:
    """How many connections of this process lead there."""
    port = f":{urlsplit(cloud.url).port:04X}"
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows)


async def test_an_answer_without_an_end_is_none(changing: Changing, tmp_path: Path) -> None:
    """What stands in a service's place may send a disk image."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
            changing.changes[HEAT] = (200, "application/json", "[" + "1," * (1 << 20) + "1]")
            told = await driver.pulse()
            if not down(told):
                told = await driver.pulse()
            assert down(told) == ["heat"]
            assert "more than 1 MiB" in of(told)["heat"].detail


async def test_a_closed_driver_tells_and_does_not_raise(tmp_path: Path) -> None:
    """A heartbeat may race with a change of the registration."""
    with small_cloud(whole_cloud(lambda: cloud.url)) as cloud:
        async with driver_of(cloud, tmp_path) as driver:
            await driver.pulse()
        assert down(await driver.pulse()) == ["keystone", "heat"]


def test_a_script_is_needed_for_every_fault() -> None:
    """The table above is the list of what an operator meets; each row changes something."""
    script: Script = whole_cloud(lambda: "http://x")
    for changes, _, _ in FAULTS.values():
        for key, answer in changes.items():
            assert script(*key.split(" ")) != answer


async def test_an_endpoint_that_is_none_is_told_as_its_service_s_trouble(
    changing: Changing, tmp_path: Path
) -> None:
    """A catalogue is written by hand once, and a VIM that is never given a state is the worst of answers."""
    with small_cloud(changing.script) as cloud:
        changing.url = cloud.url
        status, kind, body = whole_cloud(lambda: cloud.url)("POST", "/v3/auth/tokens")
        spoilt = body.replace(f"{cloud.url}/glance", "htp://glance.example")
        assert spoilt != body
        changing.changes["POST /v3/auth/tokens"] = status, kind, spoilt
        async with driver_of(cloud, tmp_path) as driver:
            told = await driver.pulse()
            assert down(told) == ["glance"]
            assert "htp://glance.example" in of(told)["glance"].detail


@dataclass(slots=True)
class Relay:
    """A way to a server that can be cut: a port that leads there, or an HTTP proxy."""

    to: int
    port: int = 0
    heads: list[str] = field(default_factory=list[str])
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    is_proxy: bool = False

    async def begin(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Nobody listens any more, and what is open is reset."""
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        self._open |= {writer, back}
        try:
            if self.is_proxy:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                self.heads.append(f"{method.decode()} {target.decode()}")
                if method == b"CONNECT":
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    back.write(head)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in (writer, back):
                self._open.discard(one)
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def relay(to: str, *, is_proxy: bool = False) -> AsyncIterator[Relay]:
    found = Relay(urlsplit(to).port or 0, is_proxy=is_proxy)
    await found.begin()
    try:
        yield found
    finally:
        found.cut()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
async def test_a_vim_is_heard_through_a_proxy_while_its_first_path_is_cut(
    is_tls: bool, tmp_path: Path
) -> None:
    """The network between is what breaks most often, and it says nothing of what runs there."""
    tls, text = certificate(tmp_path) if is_tls else (None, "")
    way = ""
    with small_cloud(whole_cloud(lambda: way), tls=tls) as cloud:
        async with relay(cloud.url) as direct, relay(cloud.url, is_proxy=True) as proxy:
            way = f"{urlsplit(cloud.url).scheme}://127.0.0.1:{direct.port}"
            reached = replace(cloud, url=way)
            settings = {"second_proxy": f"http://127.0.0.1:{proxy.port}"}
            credentials = PERSON | ({"ca_cert": text} if text else {})
            async with driver_of(reached, tmp_path, credentials=credentials, **settings) as driver:
                told = await driver.pulse()
                assert down(told) == []
                assert [(one.name, one.is_up, one.detail) for one in told.paths] == [
                    ("first", True, ""), ("second", True, ""),
                ]  # fmt: skip
                asked = (
                    f"CONNECT 127.0.0.1:{direct.port}" if is_tls else f"HEAD {way}/v3/auth/tokens?nocatalog"
                )
                assert set(proxy.heads) == {asked}
                direct.cut()
                told = await driver.pulse()
                assert [one.is_up for one in told.paths] == [False, True]
                assert "connection refused" in told.paths[0].detail
                assert down(told) == [], "what its services said last counts"
                assert told.asked == {"keystone"}
                await direct.begin()
                assert [one.is_up for one in (await driver.pulse()).paths] == [True, True]
                proxy.cut()
                told = await driver.pulse()
                assert [one.is_up for one in told.paths] == [True, False]
                assert down(told) == []
                direct.cut()
                told = await driver.pulse()
                assert [one.is_up for one in told.paths] == [False, False]
                assert set(down(told)) >= {"keystone", "heat"}


async def test_a_service_that_fails_is_no_lost_path(changing: Changing, tmp_path: Path) -> None:
    """Whoever answers 503 is reached."""
    with small_cloud(changing.script) as cloud, small_cloud(whole_cloud(lambda: cloud.url)) as other:
        changing.url = cloud.url
        async with driver_of(cloud, tmp_path, second_auth_url=other.url) as driver:
            await driver.pulse()
            changing.changes.update({KEYSTONE: page("no", 503), HEAT: page("no", 503)})
            for _ in range(2):
                told = await driver.pulse()
            assert [one.is_up for one in told.paths] == [True, True]
            assert set(down(told)) >= {"keystone", "heat"}
