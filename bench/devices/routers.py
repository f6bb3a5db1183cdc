"""Linux routers to configure: network namespaces with an sshd each.

Each has packet filter, interfaces, routes, address, host key, home and directories of its own, and is
managed over SSH as a router in a rack would be. Kernel, disk and processors are shared by all of them and
with whoever manages them; how many such routers one machine carries is therefore no figure of the
orchestrator's.
"""

import contextlib
import functools
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.figures import NotMeasured
from bench.orchestrator import die_with_parent
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.dictionary import read
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import SHIPPED

ADAPTER = "linux"
MANAGED_BY = "mgmt"
"""The interface of a router that its management address is on."""
_NEEDED = {
    "ip": "iproute2",
    "nft": "nftables",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "unshare": "util-linux",
}
# Set aside for benchmarks of networks (RFC 2544); a pair of addresses per router.
_NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
_MOST = 512
_ANSWERS_WITHIN_S = 60.0
_START = """
ip link set lo up && ip addr add "$1" dev mgmt && ip link set mgmt up &&
echo 1 >/proc/sys/net/ipv4/ip_forward && exec "$2" -D -e -f "$3"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One router, and the ways to it. `interface` is our end of its management cable."""

    name: str
    namespace: str
    interface: str
    gateway: str
    address: str
    mac: str
    host_key: str
    """As it is pinned: `TYPE BASE64`."""
    private_key: str
    """Ours, in OpenSSH's form."""
    directory: Path

    @property
    def keep_in(self) -> Path:
        return self.directory / "kept"

    @property
    def files(self) -> Path:
        return self.directory / "files"

    @property
    def parameters(self) -> dict[str, str]:
        return {"directory": str(self.files)}

    def open(self) -> Adapter:
        """The adapter of this router, on a connection of its own."""
        access = DeviceAccess(
            host=self.address,
            port=22,
            user="root",
            known_by=(self.host_key,),
            private_key=self.private_key,
        )
        return open_device(
            read(SHIPPED / ADAPTER),
            access,
            device=self.name,
            parameters=self.parameters,
            keep_in=str(self.keep_in),
        )

    def management(self, *, broker: str = "", confirm_within_s: float = 60.0) -> dict[str, Any]:
        """How a VNF is managed whose inside this router is; the VNF has our key as its secret `key`."""
        return {
            "adapter": ADAPTER,
            "way": "broker" if broker else "direct",
            "broker": broker,
            "access": {
                "host": self.address,
                "port": 22,
                "host_keys": [self.host_key],
                "private_key": "secret:key",
            },
            "parameters": self.parameters,
            "keep_in": str(self.keep_in),
            "confirm_within_s": confirm_within_s,
        }

    def run(self, *words: str) -> str:
        """Run a program in the router's namespace, past its management; what it printed."""
        return _done("ip", "netns", "exec", self.namespace, *words)

    def pin(self) -> None:
        """Know its hardware address for good, so that it hears us as soon as it has its address again, and
        not when this host next asks who has it."""
        known = ("lladdr", self.mac, "dev", self.interface, "nud", "permanent")
        _done("ip", "neigh", "replace", self.address, *known)

    def switch_of(self, change_id: str) -> Path:
        """The file by which the router knows the process that takes a change back."""
        return self.keep_in / ADAPTER / "changes" / change_id / "switch"


@contextlib.contextmanager
def routers(count: int) -> Iterator[Sequence[Router]]:
    """So many routers, answering; they end with the block, and everything in their namespaces.

    Raises:
        NotMeasured: something is missing here, or one of them did not start.
    """
    _refuse_where_it_cannot_be(count)
    directory = Path(tempfile.mkdtemp(prefix="fsd-", dir="/tmp"))
    planned = _planned(directory, count)
    running: list[subprocess.Popen[bytes]] = []
    try:
        _batch(f"netns add {one.namespace}" for one in planned)
        _batch(
            f"link add {one.interface} type veth peer name {MANAGED_BY} address {one.mac} "
            f"netns {one.namespace}\n"
            f"addr add {one.gateway}/31 dev {one.interface}\n"
            f"link set {one.interface} up"
            for one in planned
        )
        with (directory / "log").open("ab") as log:
            # One after another into the list, so that those before one that fails are ended.
            running.extend(_started(one, log) for one in planned)
        for one, process in zip(planned, running, strict=True):
            _await(one, process)
        yield planned
    finally:
        _end(planned, running)
        shutil.rmtree(directory, ignore_errors=True)


def _refuse_where_it_cannot_be(count: int) -> None:
    if os.geteuid() != 0:
        raise NotMeasured("Routers are network namespaces with an sshd each, which only root can start.")
    lacking = [package for program, package in _NEEDED.items() if _program(program) is None]
    if lacking:
        raise NotMeasured(f"Routers need {' '.join(lacking)}. Install: apt-get install {' '.join(lacking)}")
    if count > _MOST:
        raise NotMeasured(f"There are addresses for {_MOST} routers, not for {count}.")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _planned(directory: Path, count: int) -> list[Router]:
    # Two runs beside each other have names and addresses of their own.
    tag = os.getpid() % 10_000
    block = (os.getpid() % (_NETWORK.num_addresses // (2 * _MOST))) * 2 * _MOST
    ours = Ed25519PrivateKey.generate()
    (directory / "authorized").write_text(_public(ours) + "\n")
    found: list[Router] = []
    for number in range(count):
        host = Ed25519PrivateKey.generate()
        place = directory / str(number)
        place.mkdir()
        (place / "host").touch(0o600)
        (place / "host").write_text(_private(host))
        (place / "sshd_config").write_text(
            f"ListenAddress 0.0.0.0\nHostKey {place}/host\nAuthorizedKeysFile {directory}/authorized\n"
            "PidFile none\nStrictModes no\nPasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
            f"LogLevel ERROR\nSetEnv HOME={place}\n"
        )
        found.append(
            Router(
                name=f"router-{number}",
                namespace=f"fsb{tag}-{number}",
                interface=f"fsb{tag}-{number}",
                gateway=str(_NETWORK[block + 2 * number]),
                address=str(_NETWORK[block + 2 * number + 1]),
                mac=f"02:fb:{number >> 8:02x}:{number & 255:02x}:00:01",
                host_key=_public(host),
                private_key=_private(ours),
                directory=place,
            )
        )
    return found


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _started(one: Router, log: IO[bytes]) -> subprocess.Popen[bytes]:
    # Where sshd's own unprivileged half lives; a package's service would make it.
    Path("/run/sshd").mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            *("ip", "netns", "exec", one.namespace, "sh", "-c", _START, "sh"),
            *(f"{one.address}/31", str(_program("sshd")), str(one.directory / "sshd_config")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=functools.partial(die_with_parent, os.getpid()),
    )


def _await(one: Router, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _ANSWERS_WITHIN_S
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((one.address, 22), timeout=1).close()
            return
        time.sleep(0.02)
    said = (one.directory.parent / "log").read_text(errors="replace")[-500:]
    raise NotMeasured(f"{one.name} ({one.address}) does not answer: {said or 'no words of its sshd'}")


def _end(planned: Sequence[Router], running: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what runs in the routers, each by its number, and remove them."""
    for process in running:
        process.terminate()
    ours: set[int] = set()
    for one in planned:
        with contextlib.suppress(OSError):
            ours.add(Path(f"/run/netns/{one.namespace}").stat().st_ino)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in ours:
                    os.kill(int(entry.name), signal.SIGKILL)
    for process in running:
        process.wait(30)
    # The kernel ends a namespace when it comes to that, and its cable with it, which the next would meet.
    _batch((f"link del {one.interface}" for one in planned), is_lenient=True)
    _batch((f"netns del {one.namespace}" for one in planned), is_lenient=True)


def _batch(lines: Iterator[str], *, is_lenient: bool = False) -> None:
    given = "\n".join(lines) + "\n"
    options = ["-force"] if is_lenient else []
    words = ["ip", *options, "-batch", "-"]
    done = subprocess.run(words, input=given.encode(), capture_output=True, check=False)
    if done.returncode and not is_lenient:
        raise NotMeasured(f"Routers cannot be made here: {done.stderr.decode().strip()[:500]}")


def _done(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise NotMeasured(f"{' '.join(words)}: {done.stderr.decode().strip()[:500]}")
    return done.stdout.decode()
