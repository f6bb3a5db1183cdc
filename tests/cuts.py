"""A network of a test's own, and what befalls packets in it.

Hosts are network namespaces with a cable each to one switch, so processes on them are real processes that
speak real TCP. What befalls packets does so at the switch (nftables in its forwarding path, queueing at its
ports): the hosts at both ends learn nothing of it, as with a switch, a firewall or a provider between them.
Every injector says how much it has struck, so that a test knows that it tested something.

Loss is by nftables and not by netem, which not every kernel has.
"""

import ctypes
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

NEEDED = ("ip", "bridge", "nft", "tc")
_SWITCH = "fabric"
_CLONE_NEWNET = 0x40000000
_UP_WITHIN_S = 30.0
_numbers = itertools.count(1)


def missing(*programs: str) -> str:
    """What this machine lacks for a network of a test's own, and for these programs; empty: nothing."""
    if os.geteuid() != 0:
        return "network namespaces with cables between them need root"
    lacking = [name for name in (*NEEDED, *programs) if shutil.which(name) is None]
    return f"{', '.join(lacking)} is not there" if lacking else ""


def on_a_lan(*programs: str) -> list[pytest.MarkDecorator]:
    """Marks of tests on such a network, which need these programs too. They are skipped where `missing` says
    what is not to be had: who is not root can lay no cable."""
    lacking = missing(*programs)
    return [
        pytest.mark.slow,
        pytest.mark.linux,
        pytest.mark.skipif(bool(lacking), reason=lacking),
    ]


@dataclass(frozen=True, slots=True)
class Struck:
    """What has befallen packets; counted by the kernel."""

    count: Callable[[], int]

    @property
    def packets(self) -> int:
        return self.count()


class Lan:
    """Hosts by name, each a namespace with an `eth0` on one switch. An address is one of a /24 network."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        self._prefix = f"fsp{os.getpid()}-{next(_numbers)}-"
        self._made: list[str] = []
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def lay(self) -> None:
        """Make all of it."""
        self._namespace(_SWITCH)
        self.run(_SWITCH, "ip", "link", "add", "br0", "type", "bridge")
        self.run(_SWITCH, "ip", "link", "set", "br0", "up")
        for host, address in self.addresses.items():
            self._namespace(host)
            peer = ("peer", "name", "eth0", "netns", self.name(host))
            self.run(_SWITCH, "ip", "link", "add", host, "type", "veth", *peer)
            self.run(_SWITCH, "ip", "link", "set", host, "master", "br0", "up")
            # Packets as they are on a wire: a kernel hands itself 64 KiB at once; one lost would be forty.
            self.run(_SWITCH, "ip", "link", "set", host, "gso_max_segs", "1")
            self.run(host, "ip", "link", "set", "eth0", "gso_max_segs", "1")
            self.run(host, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            self.run(host, "ip", "link", "set", "eth0", "up")
        give_up_at = time.monotonic() + _UP_WITHIN_S
        while not self._is_up():
            assert time.monotonic() < give_up_at, "the switch forwards nothing"
            time.sleep(0.02)

    def _is_up(self) -> bool:
        ports: Any = json.loads(self.run(_SWITCH, "bridge", "-j", "link", "show"))
        states = [one["state"] for one in ports if one.get("master") == "br0"]
        return len(states) == len(self.addresses) and set(states) == {"forwarding"}

    def remove(self) -> None:
        for threads in self._threads.values():
            threads.shutdown()
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def name(self, host: str) -> str:
        return self._prefix + host

    def _namespace(self, host: str) -> None:
        subprocess.run(["ip", "netns", "add", self.name(host)], check=True)
        self._made.append(self.name(host))
        self.run(host, "ip", "link", "set", "lo", "up")

    # -- being on a host

    def within(self, host: str) -> list[str]:
        """What to put before a command, to have it run there."""
        return ["ip", "netns", "exec", self.name(host)]

    def run(self, host: str, *command: str, text: str = "") -> str:
        """Run a command on a host; what it says."""
        done = subprocess.run(
            [*self.within(host), *command], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)} on {host}: {done.stderr or done.stdout}"
        return done.stdout

    def enter(self, host: str) -> None:
        """Have this thread, and what it starts, be on that host."""
        with Path(f"/run/netns/{self.name(host)}").open("rb") as namespace:
            _enter(namespace.fileno(), host)

    def at(self, host: str, do: Callable[..., T], /, *arguments: object, **named: object) -> T:
        """Do something on that host."""
        if host not in self._threads:
            self._threads[host] = ThreadPoolExecutor(1, initializer=self.enter, initargs=(host,))
        return self._threads[host].submit(do, *arguments, **named).result()

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """This thread is on that host for as long as the block lasts."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            self.enter(host)
            try:
                yield
            finally:
                _enter(home.fileno(), "where it was")

    @contextmanager
    def resolves_by(self, host: str, server: str) -> Iterator[None]:
        """What is run on the host within the block asks the name server on the other (ip-netns(8))."""
        own = Path("/etc/netns") / self.name(host)
        own.mkdir(parents=True)
        try:
            (own / "resolv.conf").write_text(f"nameserver {self.addresses[server]}\n", encoding="ascii")
            yield
        finally:
            shutil.rmtree(own)
            with suppress(OSError):
                own.parent.rmdir()

    # -- cables

    def cut(self, host: str) -> None:
        """Pull a host's cable."""
        self.run(_SWITCH, "ip", "link", "set", host, "down")

    def mend(self, host: str) -> None:
        self.run(_SWITCH, "ip", "link", "set", host, "up")

    def part(self, *hosts: str, is_parted: bool) -> None:
        """Have these reach everybody but one another."""
        for host in hosts:
            word = "on" if is_parted else "off"
            self.run(_SWITCH, "bridge", "link", "set", "dev", host, "isolated", word)

    @contextmanager
    def also_has(self, host: str, address: str) -> Iterator[None]:
        """The host has the address of another, too, and everybody has just heard so. At the end everybody has
        heard the one whose it is."""
        owner = next(name for name, its in self.addresses.items() if its == address)
        self.run(host, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        try:
            self.at(host, _announce, address)
            yield
        finally:
            self.run(host, "ip", "address", "del", f"{address}/24", "dev", "eth0")
            self.at(owner, _announce, address)

    # -- what befalls packets between hosts

    @contextmanager
    def deaf(self, host: str, to: str) -> Iterator[Struck]:
        """Nothing of `to` arrives at the host any more; what the host sends arrives there."""
        with self._dropped(to, host, "") as struck:
            yield struck

    @contextmanager
    def parted(self, one: str, other: str) -> Iterator[Struck]:
        """Neither hears the other; both hear everybody else."""
        with self._dropped(one, other, "") as there, self._dropped(other, one, "") as back:
            yield Struck(lambda: there.packets + back.packets)

    @contextmanager
    def lossy(self, one: str, other: str, *, percent: int) -> Iterator[Struck]:
        """Of all packets between the two, in either direction, so many in a hundred are lost, by chance."""
        chance = f"numgen random mod 100 < {percent} "
        with self._dropped(one, other, chance) as there, self._dropped(other, one, chance) as back:
            yield Struck(lambda: there.packets + back.packets)

    @contextmanager
    def swallows_large(self, source: str, target: str, *, above_bytes: int) -> Iterator[Struck]:
        """Packets from source to target that are larger vanish, and nobody is told that they were so."""
        with self._dropped(source, target, f"meta length > {above_bytes} ") as struck:
            yield struck

    @contextmanager
    def narrow(self, host: str, *, kbit_s: int) -> Iterator[Struck]:
        """No more than that goes over a host's cable in either direction; what waits longer than a second is
        dropped, as by a modem with a queue of its own. Counted is what had to wait."""
        rate = ("tbf", "rate", f"{kbit_s}kbit", "burst", "2kb", "latency", "1s")
        ends = ((_SWITCH, host), (host, "eth0"))
        with ExitStack() as closing:
            for where, device in ends:
                self.run(where, "tc", "qdisc", "add", "dev", device, "root", *rate)
                closing.callback(self.run, where, "tc", "qdisc", "del", "dev", device, "root")
            yield Struck(lambda: sum(self._waited(where, device) for where, device in ends))

    def _waited(self, where: str, device: str) -> int:
        (shown, *_) = json.loads(self.run(where, "tc", "-s", "-j", "qdisc", "show", "dev", device))
        return int(shown["overlimits"])

    @contextmanager
    def _dropped(self, source: str, target: str, which: str) -> Iterator[Struck]:
        """Packets of IP only: whose name for the other's address has grown old could send nothing either,
        and a cut in one direction would soon be one in both."""
        table = f"cut{next(_numbers)}"
        rules = f"""
            table bridge {table} {{
                counter struck {{ }}
                chain forward {{
                    type filter hook forward priority 0
                    iifname "{source}" oifname "{target}" ether type ip {which}counter name struck drop
                }}
            }}
        """
        self.run(_SWITCH, "nft", "-f", "-", text=rules)
        try:
            yield Struck(lambda: self._counted(table))
        finally:
            self.run(_SWITCH, "nft", "delete", "table", "bridge", table)

    def _counted(self, table: str) -> int:
        told: Any = json.loads(self.run(_SWITCH, "nft", "-j", "list", "counter", "bridge", table, "struck"))
        return next(one["counter"]["packets"] for one in told["nftables"] if "counter" in one)


@contextmanager
def laid(addresses: Mapping[str, str]) -> Iterator[Lan]:
    """A network with these hosts; nothing of it is left at the end."""
    made = Lan(addresses)
    try:
        made.lay()
        yield made
    finally:
        made.remove()


def _announce(address: str) -> None:
    """Say to all on the network that this host has that address (gratuitous ARP, RFC 5227)."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        mine, everybody = raw.getsockname()[4], b"\xff" * 6
        ours = socket.inet_aton(address)
        head = everybody + mine + (0x0806).to_bytes(2, "big")
        asks = b"\x00\x01\x08\x00\x06\x04\x00\x01"
        raw.send(head + asks + mine + ours + bytes(6) + ours)


def _enter(namespace: int, host: str) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {host}")
