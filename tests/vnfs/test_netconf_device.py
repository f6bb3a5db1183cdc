"""A NETCONF device that goes wrong, other administrators, and ways to it that break: a real netconfd."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from bench_ietf import INTERFACES, KEY, ROUTING, SYSTEM, NetconfDevice, interface, netconf_device
from bench_parts import SHIPPED, applied, document, done, until
from benches import BENCHES

from farsite.model.configuration import Configuration
from farsite.model.errors import Conflict, Invalid, NotSupported, VnfFault, VnfUnreachable
from farsite.model.ids import new_id
from farsite.vnfs.adapter import ErrorCode, Outcome, Wanted
from farsite.vnfs.broker.jobs import Job, JobAccess, JobVerb
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.dictionary import read
from farsite.vnfs.netconf import Netconf, Reply
from farsite.vnfs.netconf_adapter import NetconfAdapter
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions
from ssh_device import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not all(shutil.which(one) for one in BENCHES["ietf"].programs), reason="netconfd is not there"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def device(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NetconfDevice]:
    """One for all tests: each has interfaces of its own and leaves nothing pending."""
    async with netconf_device(tmp_path_factory.mktemp("netconf")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def adapter(device: NetconfDevice) -> AsyncIterator[NetconfAdapter]:
    opened = await device.open()
    yield opened
    await opened.close()


class Gate:
    """A way to the device on which answers can be held up and everything be cut off."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self._copying: set[asyncio.Task[None]] = set()
        self.lets_answers_pass = asyncio.Event()
        self.lets_answers_pass.set()
        self.port = free_port()

    async def __aenter__(self) -> "Gate":
        self._server = await asyncio.start_server(self._come, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._copying:
            task.cancel()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def hold(self) -> None:
        self.lets_answers_pass.clear()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, asks]
        always = asyncio.Event()
        always.set()
        for copying in (_copy(reader, asks, always), _copy(answers, writer, self.lets_answers_pass)):
            task = asyncio.ensure_future(copying)
            self._copying.add(task)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, may: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65_536):
            await may.wait()
            target.write(piece)
            await target.drain()
        target.close()


class Before:
    """A session in which something happens right before an operation is sent."""

    def __init__(self, netconf: Netconf, words: str, happens: Callable[[], Awaitable[None]]) -> None:
        self._netconf, self._words, self._happens = netconf, words, happens

    @property
    def capabilities(self) -> frozenset[str]:
        return self._netconf.capabilities

    async def open(self) -> None:
        await self._netconf.open()

    async def ask(self, operation: str, *, timeout_s: float = 60.0) -> Reply:
        if self._words in operation:
            await self._happens()
        return await self._netconf.ask(operation, timeout_s=timeout_s)

    async def close(self) -> None:
        await self._netconf.close()


COMMIT = "<confirmed/>"


def adapter_over(netconf: Netconf, **parameters: str) -> NetconfAdapter:
    return NetconfAdapter(read(SHIPPED / "ietf"), netconf, device="edge-1", parameters=parameters)


def described(name: str, words: str, **more: object) -> Configuration:
    return document(interfaces=[{"name": name, "description": words, **more}])


async def kept(adapter: NetconfAdapter, wanted: Configuration) -> None:
    change_id = new_id()
    await applied(adapter, wanted, change_id)
    await adapter.confirm(change_id)


# Who may talk to it, and whether anybody answers.


async def test_a_device_with_another_host_key_is_not_talked_to(device: NetconfDevice) -> None:
    """A stranger at the device's address would get its configuration and its secrets."""
    stranger = await device.open(host="stranger")
    with pytest.raises(VnfFault) as refused:
        await stranger.fetch()
    await stranger.close()

    assert refused.value.about["code"] is ErrorCode.IDENTITY
    assert "pin" in refused.value.detail


async def test_a_key_that_the_device_does_not_know_is_named_as_such(device: NetconfDevice) -> None:
    """Trying again does not help, another key does."""
    unknown = await device.open(key="stranger")
    with pytest.raises(VnfFault) as refused:
        await unknown.fetch()
    await unknown.close()

    assert refused.value.about["code"] is ErrorCode.AUTHENTICATION


async def test_silence_is_unknown_and_no_refusal(device: NetconfDevice) -> None:
    """Whoever takes silence for a refusal does twice what was done."""
    nobody = await device.open(port=free_port())
    with pytest.raises(VnfUnreachable):
        await nobody.fetch()
    await nobody.close()


async def test_a_device_that_hears_greeting_and_question_at_once_answers(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """netconfd 2.13 lets a question lie that came with the greeting, until something else comes."""
    async with offering(device, lambda line: line.replace('"/', '"(sleep 1; exec cat) | /')):
        found = await adapter.fetch()

    assert found.version.startswith("ietf-interfaces")


@contextlib.asynccontextmanager
async def offering(device: NetconfDevice, changed: Callable[[str], str]) -> AsyncIterator[None]:
    """The SSH server offers the subsystem otherwise for a time."""
    config = device.directory / "sshd_config"
    offered = config.read_text()
    device.ssh.stop()
    config.write_text(
        "".join(changed(line) if "Subsystem" in line else line for line in offered.splitlines(True))
    )
    device.ssh.start()
    try:
        yield
    finally:
        device.ssh.stop()
        config.write_text(offered)
        device.ssh.start()


@pytest.mark.slow
async def test_a_port_without_netconf_is_told_from_a_device_that_is_away(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Waiting for the wrong port is waiting for ever; waiting for a server that starts is not."""
    async with offering(device, lambda _line: ""):
        with pytest.raises(VnfFault) as refused:
            await adapter.fetch()
    await device.stop()
    with pytest.raises(VnfUnreachable) as silent:
        await adapter.fetch()
    await device.start()

    assert refused.value.about["code"] is ErrorCode.NOT_SUPPORTED
    assert "830" in refused.value.detail
    assert "NETCONF server runs" in silent.value.detail
    assert (await adapter.fetch()).version.startswith("ietf-interfaces")


async def test_letters_that_a_device_splits_between_two_chunks_arrive_whole(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Names of places and people are not ASCII, and a session must not end over them."""
    words = "".join(f"{number} für Zürich, Malmö, Kraków – " for number in range(60))
    await kept(adapter, described("eth-letters", words.strip()))

    assert words.strip() in (await adapter.fetch()).texts["interfaces"]


# Other administrators.


async def test_who_holds_the_lock_is_told_by_name(device: NetconfDevice, adapter: NetconfAdapter) -> None:
    """The operator has somebody to talk to, and nothing of either is lost."""
    wanted = Wanted(document=described("eth-lock", "ours"))
    plan = await adapter.plan(wanted, await adapter.fetch())
    async with device.administrator() as other:
        await other.ask("<lock><target><candidate/></target></lock>")
        await other.edit(interface("eth-lock", "<description>theirs</description>"))
        with pytest.raises(Conflict) as refused:
            await adapter.apply(wanted, plan, change_id=new_id(), confirm_within_s=60)
        assert "theirs" in await other.config("candidate")
        await other.ask("<discard-changes/>")

    assert "root from 127.0.0.1" in refused.value.detail
    assert refused.value.about["code"] is ErrorCode.BUSY
    await kept(adapter, wanted.document)


async def test_what_somebody_else_has_pending_is_named_and_left_alone(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Committing half of another's change may cut off his site; throwing it away costs his day."""
    wanted = Wanted(document=described("eth-pending", "ours"))
    plan = await adapter.plan(wanted, await adapter.fetch())
    async with device.administrator() as other:
        await other.edit(interface("eth-theirs", "<description>half done</description>"))
    # He has gone home, and what he did is still there.
    with pytest.raises(Conflict) as refused:
        await adapter.apply(wanted, plan, change_id=new_id(), confirm_within_s=60)
    async with device.administrator() as other:
        left = await other.config("candidate")
        running = await other.config()
        await other.ask("<discard-changes/>")

    assert "half done" in left
    assert "half done" not in running
    assert "(in interfaces)" in refused.value.detail
    assert refused.value.about["code"] is ErrorCode.CONFLICT


async def test_confirming_does_not_commit_what_somebody_else_began_meanwhile(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """A confirming commit takes the whole candidate along."""
    change_id = new_id()
    await applied(adapter, described("eth-meanwhile", "ours"), change_id)
    async with device.administrator() as other:
        await other.edit(interface("eth-theirs", "<description>half done</description>"))
        with pytest.raises(Conflict) as refused:
            await adapter.confirm(change_id)
        assert "half done" in await other.config("candidate")
        await other.ask("<discard-changes/>")
    await adapter.confirm(change_id)

    assert "interfaces" in refused.value.detail
    assert await adapter.outcome(change_id) is Outcome.CONFIRMED


async def test_what_no_document_speaks_of_stays_as_it_is(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """The device has other masters too."""
    async with device.administrator() as other:
        await other.edit(
            interface("eth-other", "<description>not ours</description>")
            + interface(
                "eth-shared", "<link-up-down-trap-enable>enabled</link-up-down-trap-enable>", "tunnel"
            )
            + f'<system xmlns="{SYSTEM}"><contact>not ours</contact><dns-resolver><server><name>theirs</name>'
            "<udp-and-tcp><address>192.0.2.99</address></udp-and-tcp></server></dns-resolver></system>"
        )
        await other.commit()
        system = {"host_name": "edge-7"}
        shared = {"name": "eth-shared", "addresses": ["192.0.2.77/24", "2001:db8::77/64"]}
        await kept(adapter, document(interfaces=[shared], system=system))
        await kept(adapter, document(interfaces=[{**shared, "addresses": []}], system=system))
        running = await other.config()

    assert running.count("not ours") == 2
    assert ":tunnel</type>" in running
    assert "link-up-down-trap-enable" in running
    assert "192.0.2.99" in running
    assert "192.0.2.77" not in running


async def test_routes_of_others_stay_when_ours_come_and_go(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """The route by which the device is reached is as a rule not ours."""
    theirs = (
        f'<routing xmlns="{ROUTING}"><control-plane-protocols><control-plane-protocol>'
        f'<type xmlns:rt="{ROUTING}">rt:static</type><name>theirs</name><static-routes>'
        '<ipv4 xmlns="urn:ietf:params:xml:ns:yang:ietf-ipv4-unicast-routing"><route>'
        "<destination-prefix>0.0.0.0/0</destination-prefix>"
        "<next-hop><next-hop-address>192.0.2.99</next-hop-address></next-hop>"
        "</route></ipv4></static-routes></control-plane-protocol></control-plane-protocols></routing>"
    )
    first = {"prefix": "203.0.113.0/24", "next_hop": "192.0.2.98"}
    async with device.administrator() as other:
        await other.edit(theirs)
        await other.commit()
        await kept(adapter, document(routes=[first, {"prefix": "2001:db8:77::/48", "is_blackhole": True}]))
        both = await other.config()
        change_id = new_id()
        await applied(adapter, document(routes=[{**first, "next_hop": "192.0.2.97"}]), change_id)
        changed = await other.config()
        await adapter.revert(change_id)
        reverted = await other.config()
        await kept(adapter, document(routes=[]))
        alone = await other.config()

    assert all(one in both for one in ("192.0.2.99", "192.0.2.98", "2001:db8:77::/48", ">blackhole<"))
    assert "192.0.2.97" in changed
    assert "192.0.2.98" not in changed
    assert "2001:db8:77::/48" not in changed
    assert "192.0.2.98" in reverted
    assert "2001:db8:77::/48" in reverted
    assert "192.0.2.99" in alone
    assert ">farsite<" not in alone
    assert "192.0.2.98" not in alone


async def test_an_account_that_no_document_ever_named_stays(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Ours go when the document says so: an account that is left is a door that nobody watches."""
    secrets = {"carol": "open sesame"}
    carol = {"name": "carol", "role": "operator", "password": "secret:carol", "ssh_keys": [KEY]}
    async with device.administrator() as other:
        await other.edit(
            f'<system xmlns="{SYSTEM}"><authentication><user><name>theirs</name><password>$1$ab$'
            "0123456789012345678901</password></user></authentication></system>"
            '<nacm xmlns="urn:ietf:params:xml:ns:yang:ietf-netconf-acm"><groups><group><name>wheel</name>'
            "<user-name>theirs</user-name></group></groups></nacm>"
        )
        await other.commit()
        change_id = new_id()
        await applied(adapter, document(users=[carol, {"name": "dave"}]), change_id, secrets=secrets)
        await adapter.confirm(change_id)
        with_ours = await other.config()
        shown = (await adapter.fetch()).texts
        same = await adapter.plan(
            Wanted(document=document(users=[carol, {"name": "dave"}]), secrets=secrets), await adapter.fetch()
        )
        other_password = await adapter.plan(
            Wanted(document=document(users=[carol, {"name": "dave"}]), secrets={"carol": "sesame"}),
            await adapter.fetch(),
        )
        await kept(adapter, document(users=[{"name": "dave", "role": "admin"}]))
        without = await other.config()
        await kept(adapter, document(users=[]))
        none = await other.config()

    assert "<name>carol</name>" in with_ours
    assert KEY.split()[1] in with_ours
    assert "open sesame" not in with_ours
    assert "$6$" in with_ours
    assert "$6$" not in shown["users"]
    assert not same.changes
    assert [one.place for one in other_password.differences if not one.is_empty] == ["users"]
    assert "<name>carol</name>" not in without
    assert "<name>farsite-role-operator</name>" not in without
    assert "<name>farsite-role-admin</name>" in without
    assert "<name>dave</name>" not in none
    assert "farsite-role" not in none
    assert "<user-name>theirs</user-name>" in none
    assert "$1$ab$0123456789012345678901" in none


# What it refuses, and what it says and does not do.


async def test_one_wrong_element_among_many_leaves_nothing_in_place(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Half a change is worse than none; the error names the element by its path."""
    before = await adapter.fetch()
    # The kind of an interface is checked against the model only with the whole candidate.
    native = (
        f'<interfaces xmlns="{INTERFACES}"><interface><name>eth-many</name></interface><interface>'
        "<name>eth-wrong</name><description>has no type</description></interface></interfaces>"
    )
    many = [{"name": f"eth-many{number}"} for number in range(50)]
    wanted = Wanted(document=document(interfaces=many, native={"interfaces": native}))
    plan = await adapter.plan(wanted, before)
    with pytest.raises(VnfFault) as refused:
        await adapter.apply(wanted, plan, change_id=new_id(), confirm_within_s=60)
    async with device.administrator() as other:
        candidate, running = await other.config("candidate"), await other.config()

    assert refused.value.about["code"] is ErrorCode.INVALID
    assert "eth-many']/if:type" in refused.value.detail or "eth-wrong']/if:type" in refused.value.detail
    assert (await adapter.fetch()).digest == before.digest
    assert "eth-many" not in candidate + running


async def test_a_commit_that_the_device_says_it_did_and_did_not_is_found_out(
    device: NetconfDevice,
) -> None:
    """netconfd 2.13 loses a candidate that somebody validates, and answers "ok" to its commit."""

    async def validate() -> None:
        async with device.administrator() as other:
            await other.ask("<validate><source><candidate/></source></validate>")

    adapter = adapter_over(Before(device.client(), COMMIT, validate))
    try:
        before = (await adapter.fetch()).digest
        with pytest.raises(VnfFault) as found_out:
            await applied(adapter, described("eth-lost", "lost"), new_id())
        after = (await adapter.fetch()).digest
    finally:
        await adapter.close()

    assert "does not run it" in found_out.value.detail
    assert "+    <name>eth-lost</name>" in found_out.value.detail
    assert after == before


async def test_what_is_in_no_ietf_model_is_refused_by_name(adapter: NetconfAdapter) -> None:
    """Whoever wrote it would believe that it is there."""
    running = await adapter.fetch()
    for system, word in (({"banner": "hello"}, "banner"), ({"syslog_servers": ["192.0.2.1"]}, "syslog")):
        with pytest.raises(NotSupported, match=word):
            await adapter.plan(Wanted(document=document(system=system)), running)


async def test_a_distance_and_a_key_that_is_none_are_refused_by_name(adapter: NetconfAdapter) -> None:
    """Left out silently, one leads traffic astray and the other locks somebody out."""
    running = await adapter.fetch()
    far = document(routes=[{"prefix": "198.51.100.0/24", "next_hop": "192.0.2.1", "distance": 250}])
    with pytest.raises(NotSupported, match=r"routes\.distance \(198\.51\.100\.0/24\)"):
        await adapter.plan(Wanted(document=far), running)
    for key in ("ssh-ed25519", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIE==", 'from="10.0.0.1" ssh-ed25519 AAAA'):
        with pytest.raises(Invalid, match="no public key"):
            await adapter.plan(Wanted(document=document(users=[{"name": "eve", "ssh_keys": [key]}])), running)


async def test_native_text_says_what_is_wrong_with_it(adapter: NetconfAdapter) -> None:
    """The device would speak of a line that nobody has written."""
    running = await adapter.fetch()
    group = '<nacm xmlns="urn:ietf:params:xml:ns:yang:ietf-netconf-acm"><groups><group><name>wheel</name>'
    for place, native, words in (
        ("interfaces", "<interfaces", "no XML"),
        ("interfaces", "<system/>", "its root has to be <interfaces"),
        ("roles", f"{group}</group></groups></nacm>", "groups/group farsite-role-"),
    ):
        with pytest.raises(Invalid, match=words):
            await adapter.plan(Wanted(document=document(native={place: native})), running)


# Sessions that break, and commits that take their time.


@pytest.mark.slow
async def test_a_session_lost_while_the_device_commits_undoes_itself(device: NetconfDevice) -> None:
    """Nobody knows then what became of the change, so the device must, and it must take it back."""
    change_id = new_id()
    async with Gate(device.ssh.port) as gate:
        lost = adapter_over(Before(device.client(gate.port), COMMIT, gate.hold))
        before = (await lost.fetch()).digest
        applying = asyncio.ensure_future(applied(lost, described("eth-cut", "cut"), change_id, within_s=3))
        async with device.administrator() as other:

            async def is_committed() -> bool:
                return f"farsite pending {change_id}" in await other.config()

            await until(is_committed, within_s=10)
        gate.cut()
        with pytest.raises(VnfUnreachable):
            await applying
        await lost.close()
    again = await device.open()
    try:

        async def is_back() -> bool:
            return await again.outcome(change_id) is Outcome.REVERTED

        await until(is_back, within_s=10)
        assert (await again.fetch()).digest == before
        with pytest.raises(Conflict):
            await again.confirm(change_id)
    finally:
        await again.close()


@pytest.mark.slow
async def test_a_device_that_is_too_busy_to_take_a_change_back_is_told_to(device: NetconfDevice) -> None:
    """netconfd 2.13 looks at its timers only when nobody has asked it anything for a second."""
    first, late_s = adapter_over(device.client()), 0.0
    later = NetconfAdapter(
        read(SHIPPED / "ietf"),
        device.client(),
        device="edge-1",
        parameters={},
        now=lambda: time.time() + late_s,
    )
    change_id = new_id()
    async with device.administrator() as monitoring:

        async def ask_all_the_time() -> None:
            while True:
                await monitoring.config()
                await asyncio.sleep(0.2)

        before = (await first.fetch()).digest
        asking = asyncio.ensure_future(ask_all_the_time())
        try:
            await applied(first, described("eth-busy", "busy"), change_id, within_s=1)
            await asyncio.sleep(2.5)
            assert await first.outcome(change_id) is Outcome.PENDING
            late_s = 1000.0
            assert await later.outcome(change_id) is Outcome.REVERTED
            assert (await later.fetch()).digest == before
        finally:
            asking.cancel()
            await first.close()
            await later.close()


@pytest.mark.slow
async def test_a_commit_slower_than_we_wait_is_unknown_and_can_be_confirmed(device: NetconfDevice) -> None:
    """It is there in the end: taking it for failed would leave the device with what nobody wanted."""
    change_id = new_id()
    async with Gate(device.ssh.port) as gate:
        slow = adapter_over(Before(device.client(gate.port), COMMIT, gate.hold), commit_within="1")
        with pytest.raises(VnfUnreachable) as late:
            await applied(slow, described("eth-slow", "slow"), change_id)
        await slow.close()
    again = await device.open()
    try:
        await again.confirm(change_id)
        assert await again.outcome(change_id) is Outcome.CONFIRMED
        assert "slow" in (await again.fetch()).texts["interfaces"]
    finally:
        await again.close()

    assert late.value.about["code"] is ErrorCode.TIMEOUT


async def test_a_session_lost_before_the_commit_leaves_nothing(device: NetconfDevice) -> None:
    """Neither a lock that nobody can open nor half a change in the candidate."""
    client = device.client()

    async def cut() -> None:
        client.cut()

    lost = adapter_over(Before(client, COMMIT, cut))
    change_id = new_id()
    with pytest.raises(VnfUnreachable):
        await applied(lost, described("eth-before", "before"), change_id)
    await lost.close()
    again = await device.open()
    try:
        assert await again.outcome(change_id) is Outcome.REVERTED
        await kept(again, described("eth-before", "after"))
    finally:
        await again.close()


async def test_a_confirmation_that_broke_off_stands_in_nobodys_way(device: NetconfDevice) -> None:
    """What we left in the candidate ourselves is not somebody's pending change."""
    client = device.client()

    async def cut() -> None:
        client.cut()

    lost = adapter_over(Before(client, "<persist-id>", cut))
    change_id = new_id()
    await applied(lost, described("eth-confirm", "confirmed"), change_id)
    with pytest.raises(VnfUnreachable):
        await lost.confirm(change_id)
    await lost.close()
    again = await device.open()
    try:
        await again.confirm(change_id)
        assert await again.outcome(change_id) is Outcome.CONFIRMED
    finally:
        await again.close()


@pytest.mark.slow
async def test_a_device_that_loses_its_power_comes_back_without_the_unconfirmed_change(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """A change that crashes the device must not be there when it has started again."""
    before = (await adapter.fetch()).digest
    change_id = new_id()
    await applied(adapter, described("eth-power", "lost with the power"), change_id)
    await device.stop()
    await device.start()

    assert await adapter.outcome(change_id) is Outcome.REVERTED
    assert (await adapter.fetch()).digest == before


@pytest.mark.slow
async def test_a_device_that_has_to_be_told_to_save_keeps_what_was_confirmed(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Where `startup` is a configuration of its own, the change would be gone after the next start."""
    await device.stop()
    await device.start("--target=candidate", "--with-startup=true")
    await kept(adapter, described("eth-startup", "saved"))
    await device.stop()
    await device.start()

    assert "saved" in (await adapter.fetch()).texts["interfaces"]


@pytest.mark.slow
async def test_a_device_that_could_not_undo_a_change_gets_none(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """Without a confirmed commit a mistake stays until somebody drives there."""
    await device.stop()
    await device.start("--target=running")
    try:
        with pytest.raises(NotSupported, match="candidate"):
            await applied(adapter, described("eth-none", "none"), new_id())
        assert "eth-none" not in (await adapter.fetch()).texts.get("interfaces", "")
    finally:
        await device.stop()
        await device.start()


async def test_a_broker_does_the_same_job(device: NetconfDevice) -> None:
    """A device that only a jump host reaches is managed in the same way."""
    known = device.access()
    job = Job(
        id="1",
        device="d",
        name="edge-1",
        verb=JobVerb.FETCH,
        adapter="ietf",
        access=JobAccess(
            host=known.host,
            port=known.port,
            user=known.user,
            host_keys=known.known_by,
            private_key=known.private_key,
        ),
        deadline_at=datetime.now(UTC) + timedelta(minutes=1),
    )
    answer = await perform(job, Adapters(), KeptSessions())

    assert answer.running is not None, answer.fault
    assert answer.running.version.startswith("ietf-interfaces")


# What its users see.


@pytest.mark.slow
async def test_an_interface_without_a_link_is_not_well(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """That the device answers says nothing of the traffic."""
    await kept(adapter, document(interfaces=[{"name": "eth1"}]))
    assert [one.is_well for one in await adapter.health()] == [True]
    await done("ip", "-n", device.router, "link", "set", "eth1", "down")

    async def is_told() -> bool:
        # The device keeps what it saw for some seconds.
        return [(one.is_well, one.said) for one in await adapter.health()] == [(False, "eth1")]

    try:
        await until(is_told, within_s=15)
    finally:
        await done("ip", "-n", device.router, "link", "set", "eth1", "up")


async def test_the_device_does_what_its_configuration_says(
    device: NetconfDevice, adapter: NetconfAdapter
) -> None:
    """A datastore that takes everything and does nothing would prove nothing."""
    # netconfd acts on a name that changes, and not on the first one that its configuration gets.
    await kept(adapter, document(system={"host_name": "edge-before"}))
    await kept(adapter, document(system={"host_name": "edge-of-the-tests"}))
    assert device.server is not None
    named = await done("nsenter", "-u", "-t", str(device.server.pid), "hostname")

    assert named.strip() == "edge-of-the-tests"
    assert Path("/proc/sys/kernel/hostname").read_text().strip() != "edge-of-the-tests", "the bench's is ours"
