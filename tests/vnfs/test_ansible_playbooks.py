"""Adapters whose changes are playbooks: Ansible is real, and so is the sshd that it goes through."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bench_parts import document, free_port, until
from bench_unbound import cut, opened

from farsite.model.configuration import Configuration
from farsite.model.errors import Invalid, NotSupported, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode, Outcome, Plan, Running, Wanted
from farsite.vnfs.ansible_adapter import AnsibleAdapter
from farsite.vnfs.broker.jobs import Job, JobAccess, JobVerb
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.dictionary import read
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions
from ssh_device import NEEDED, Device

pytestmark = [
    *NEEDED,
    pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="ansible-playbook is not there"),
    pytest.mark.slow,
]

DICTIONARY = """
name: names
vendor: nobody
product: names
versions: all
access: {method: ansible}
services: [dns, dhcp, native]
parameters: {directory: "%s"}
places:
  - {name: main, path: "{{ directory }}/main", services: [dns], mode: "0644"}
  - {name: pools, path: "{{ directory }}/pools", services: [dhcp], mode: "0644"}
playbook: {file: apply.yaml, within_s: %s}
activate: ":"
errors:
  - {match: 'is full', code: VNF_FULL}
"""
PLAYBOOK = """
- hosts: %s
  gather_facts: false
  tasks:
    - name: Write the names
      ansible.builtin.template: {src: main.j2, dest: "{{ farsite.places.main.path }}"}
      when: "'main' in farsite.places"
"""
BEFORE = "as it was\n"
TEMPLATE = """
{%- for record in farsite.document.dns.records %}
{{ record.name }} {{ record.value }}
{% endfor %}
{% if 'secret:key' in farsite.secrets %}key {{ farsite.secrets['secret:key'] }}
{% endif %}
"""


class Product:
    """A product on this machine, whose configuration is files, and the folder of its adapter."""

    def __init__(self, directory: Path, ssh: Device) -> None:
        self.directory = directory
        self.ssh = ssh
        self.main = directory / "main"
        self.pools = directory / "pools"
        self.places = directory / "adapters"
        self.folder = self.places / "names"
        self.folder.mkdir(parents=True)
        self.main.write_text(BEFORE)
        (self.folder / "main.j2").write_text(TEMPLATE)
        self.speaks()

    def speaks(self, *tasks: str, hosts: str = "device", within_s: float = 60) -> None:
        """Have the playbook do these tasks too, after the first."""
        (self.folder / "adapter.yaml").write_text(DICTIONARY % (self.directory, within_s))
        (self.folder / "apply.yaml").write_text(PLAYBOOK % hosts + "".join(f"    - {one}\n" for one in tasks))

    async def changed(
        self,
        adapter: AnsibleAdapter,
        name: str = "new.example.org",
        *,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """Apply another name; the plan is left out, for each run of Ansible takes its time."""
        plan = Plan(differences=(), against=(await adapter.fetch()).digest)
        wanted = Wanted(document=naming(name), secrets=secrets or {})
        await adapter.apply(wanted, plan, change_id="first", confirm_within_s=60)

    async def outcome(self) -> Outcome:
        """What became of the change, as somebody else hears it."""
        async with self.opened() as adapter:
            return await adapter.outcome("first")

    @contextlib.asynccontextmanager
    async def opened(self, **what: object) -> AsyncIterator[AnsibleAdapter]:
        """The device over a connection of its own."""
        adapter = opened(self.ssh, {}, read(self.folder), **what)  # type: ignore[arg-type]
        try:
            yield adapter
        finally:
            await adapter.close()


def naming(name: str) -> Configuration:
    return document(dns={"records": [{"name": name, "value": "192.0.2.80"}]})


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    ssh = Device(tmp_path)
    ssh.start()
    yield Product(tmp_path, ssh)
    ssh.stop()


async def test_what_looks_like_a_template_is_text_like_any_other(product: Product, tmp_path: Path) -> None:
    """Whoever may write a document would otherwise run programs on the host that manages everything."""
    text = "{{ lookup('pipe', 'touch " + str(tmp_path / "run") + "') }}{% raw %}"
    async with product.opened() as adapter:
        await product.changed(adapter, text)

    assert product.main.read_text() == f"{text} 192.0.2.80\n"
    assert not (tmp_path / "run").exists()


async def test_a_task_that_fails_is_named_and_what_others_did_is_taken_back(product: Product) -> None:
    """A playbook that ends in the middle leaves a device that nobody has planned."""
    product.speaks('{name: Fill the cup, ansible.builtin.fail: {msg: "the cup is full"}}')
    async with product.opened() as adapter:
        with pytest.raises(VnfFault) as failed:
            await product.changed(adapter)

    assert '"Fill the cup"' in failed.value.detail
    assert "the cup is full" in failed.value.detail
    assert "what was before is in place" in failed.value.detail
    assert failed.value.about["code"] is ErrorCode.FULL
    assert product.main.read_text() == BEFORE
    assert await product.outcome() is Outcome.REVERTED


async def test_a_secret_is_in_no_plan_no_error_and_no_command_line(product: Product, tmp_path: Path) -> None:
    """Plans are shown, errors are kept, and command lines are read by every account of the host."""
    listing = tmp_path / "processes"
    wanted = Wanted(document=naming("www.example.org"), secrets={"key": "sEcReT-42"})
    async with product.opened() as adapter:
        plan = await adapter.plan(wanted, await adapter.fetch())
    product.speaks(
        "{name: List, delegate_to: localhost, ansible.builtin.shell: "
        f'"cat /proc/[0-9]*/cmdline >{listing}; true"}}',
        "{name: Say it, ansible.builtin.fail: {msg: \"no {{ farsite.secrets['secret:key'] }} here\"}}",
    )
    async with product.opened() as adapter:
        with pytest.raises(VnfFault) as told:
            await adapter.apply(wanted, plan, change_id="first", confirm_within_s=60)

    assert "+key secret:key" in plan.differences[0].diff
    assert "sEcReT-42" not in plan.differences[0].diff
    assert "no secret:key here" in told.value.detail
    assert b"ansible-playbook" in listing.read_bytes()
    assert b"sEcReT-42" not in listing.read_bytes()


async def test_nothing_but_our_own_configuration_of_ansible_is_read(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account's own may switch host keys off, log everything, or run programs of its own."""
    wrong = "[defaults]\nstdout_callback = nonsense\ninventory = /nowhere\n"
    (tmp_path / ".ansible.cfg").write_text(wrong)
    (tmp_path / "ansible.cfg").write_text(wrong)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "nonsense")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.chdir(tmp_path)
    async with product.opened() as adapter:
        await product.changed(adapter)

    assert product.main.read_text() == "new.example.org 192.0.2.80\n"
    assert not (tmp_path / ".ansible").exists()


async def test_a_stranger_at_the_devices_address_gets_nothing_from_ansible_either(product: Product) -> None:
    """Its own check of host keys asks a person, or nobody."""
    async with product.opened(host="stranger") as adapter:
        with pytest.raises(VnfFault) as refused:
            await adapter.plan(Wanted(document=naming("www.example.org")), Running(texts={}))

    assert refused.value.about["code"] is ErrorCode.IDENTITY


async def test_a_task_that_is_at_it_when_the_connection_breaks_is_ended_and_taken_back(
    product: Product, tmp_path: Path
) -> None:
    """It would go on, and write its half of a change after the device has brought everything back."""
    started = tmp_path / "started"
    product.speaks(
        f'{{name: Take time, ansible.builtin.shell: ": >{started}; sleep 600; : >{product.main}"}}'
    )
    async with product.opened() as adapter:
        applying = asyncio.ensure_future(product.changed(adapter))
        await until(lambda: _is(started.exists() or applying.done()))
        assert product.main.read_text() != BEFORE
        await cut(adapter)
        with pytest.raises(VnfUnreachable):
            await applying

    assert await product.outcome() is Outcome.REVERTED
    assert product.main.read_text() == BEFORE
    assert _processes_that_name(started) == []


async def test_a_change_that_cuts_us_off_in_silence_is_taken_back_by_the_device(
    product: Product, tmp_path: Path
) -> None:
    """A wrong rule of a firewall says nothing: nobody's connection ends, and nothing comes through."""
    started = tmp_path / "started"
    product.speaks(f'{{name: Cut us off, ansible.builtin.shell: ": >{started}; sleep 600"}}')
    network = Network(product.ssh.port)
    async with product.opened(through=network.through) as adapter:
        plan = Plan(differences=(), against=(await adapter.fetch()).digest)
        wanted = Wanted(document=naming("new.example.org"))
        applying = asyncio.ensure_future(adapter.apply(wanted, plan, change_id="first", confirm_within_s=5))
        await until(lambda: _is(started.exists() or applying.done()))
        network.is_silent = True
        assert product.main.read_text() != BEFORE
        await until(lambda: _is(product.main.read_text() == BEFORE))
        with pytest.raises(VnfUnreachable):
            await applying
    await network.close()

    assert await product.outcome() is Outcome.REVERTED


async def test_a_playbook_that_takes_too_long_is_ended_and_taken_back(product: Product) -> None:
    """A task that waits for ever would hold the device for ever."""
    product.speaks("{name: Wait, ansible.builtin.command: sleep 600}", within_s=5)
    async with product.opened() as adapter:
        with pytest.raises(VnfFault, match="within 5 s") as late:
            await product.changed(adapter)

    assert late.value.about["code"] is ErrorCode.TIMEOUT
    assert product.main.read_text() == BEFORE


async def test_it_goes_through_the_way_that_a_vim_gives(product: Product) -> None:
    """Most functions have no route from here."""
    network = Network(product.ssh.port)
    # So that there is no other way.
    product.ssh.port = free_port()
    async with product.opened(through=network.through) as adapter:
        await product.changed(adapter)
    await network.close()

    assert product.main.read_text() == "new.example.org 192.0.2.80\n"


async def test_what_the_document_does_not_speak_of_is_nobodys_to_bring_back(product: Product) -> None:
    """Somebody else changes his own file while our change stands unconfirmed."""
    product.pools.write_text("his\n")
    async with product.opened() as adapter:
        await product.changed(adapter)
        product.pools.write_text("his, changed\n")
        await adapter.revert("first")

    assert product.pools.read_text() == "his, changed\n"
    assert product.main.read_text() == BEFORE


async def test_a_broker_plays_it_as_we_do(product: Product) -> None:
    """It stands where the device can be reached, and has the adapters that were given to it."""

    async def answered(verb: JobVerb, **what: object):
        job = Job(
            id=verb,
            device="ns-1",
            name="ns-1",
            verb=verb,
            adapter="names",
            access=JobAccess(
                host="127.0.0.1",
                port=product.ssh.port,
                host_keys=(product.ssh.key("host"),),
                private_key=(product.ssh.directory / "user").read_text(),
            ),
            keep_in=str(product.directory / "kept"),
            deadline_at=datetime.now(UTC) + timedelta(minutes=5),
            document=naming("www.example.org"),
            change_id="first",
            confirm_within_s=60,
            **what,  # type: ignore[arg-type]
        )
        answer = await perform(job, Adapters((product.places,)), KeptSessions())
        assert answer.fault is None, answer.fault
        return answer

    plan = (await answered(JobVerb.PLAN)).plan
    assert plan is not None
    assert plan.changes
    await answered(JobVerb.APPLY, plan=plan)
    await answered(JobVerb.CONFIRM)

    assert (await answered(JobVerb.OUTCOME)).outcome is Outcome.CONFIRMED
    assert "www.example.org" in product.main.read_text()


async def test_a_playbook_that_does_not_speak_of_the_device_is_a_fault(product: Product) -> None:
    """Ansible itself finds nothing to do, and says that all is well."""
    product.speaks(hosts="web_servers")
    async with product.opened() as adapter:
        with pytest.raises(VnfFault, match="of the host device"):
            await product.changed(adapter)


async def test_without_ansible_it_is_said_what_to_install(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no dependency of ours, so it may be missing where everything else is there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").symlink_to(shutil.which("ssh") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    async with product.opened() as adapter:
        with pytest.raises(NotSupported, match="apt-get install ansible-core"):
            await adapter.plan(Wanted(document=naming("www.example.org")), Running(texts={}))


def test_a_folder_without_its_playbook_is_no_adapter(product: Product) -> None:
    """It would be found out in the middle of a change."""
    (product.folder / "apply.yaml").unlink()
    with pytest.raises(Invalid, match=r"apply\.yaml"):
        read(product.folder)


async def _is(holds: bool) -> bool:
    return holds


def _processes_that_name(path: Path) -> list[str]:
    found: list[str] = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes()
        except OSError:
            continue
        if os.fsencode(path) in words:
            found.append(words.decode())
    return found


class Network:
    """A way to an sshd here; a silent one lets nothing through, and ends nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.is_silent = False
        self._copying: list[asyncio.Task[None]] = []
        self._ends: list[socket.socket] = []

    async def through(self) -> socket.socket:
        """Opens a stream; see `Through`."""
        ours, theirs = socket.socketpair()
        there = socket.create_connection(("127.0.0.1", self.port))
        for one in (ours, theirs, there):
            one.setblocking(False)
        self._ends += [theirs, there]
        for source, target in ((theirs, there), (there, theirs)):
            self._copying.append(asyncio.ensure_future(self._copy(source, target)))
        return ours

    async def close(self) -> None:
        for task in self._copying:
            task.cancel()
        await asyncio.gather(*self._copying, return_exceptions=True)
        for one in self._ends:
            one.close()

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, 65_536):
            if not self.is_silent:
                await loop.sock_sendall(target, piece)
        if not self.is_silent:
            target.shutdown(socket.SHUT_WR)
