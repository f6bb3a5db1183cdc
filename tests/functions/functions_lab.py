"""A laboratory of network namespaces for the built-in functions: real veth pairs, real processes.

As root it needs nothing; as an ordinary user all of it stands in one user namespace. Everything ends with
the laboratory: namespaces live only as long as their processes, and those are ended by process id.
"""

import inspect
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import farsite.functions

FUNCTIONS = Path(farsite.functions.__file__).parent

_NODE = """
import json, sys, traceback
known = {}
sys.stdout.write("ready\\n"); sys.stdout.flush()
for line in sys.stdin:
    order = json.loads(line)
    try:
        scope = {}
        exec(order["source"], scope)
        answer = {"result": scope[order["name"]](*order["arguments"])}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    sys.stdout.write(json.dumps(answer) + "\\n"); sys.stdout.flush()
"""


def why_not() -> str:
    """Why no laboratory can be built here; empty if it can."""
    command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return "unshare (util-linux) is not installed"
    return "" if done.returncode == 0 else f"namespaces are not allowed here: {done.stderr.strip()}"


def until(condition: Callable[[], Any], *, within_s: float = 5.0) -> Any:
    """The first true value of the condition; fails when there is none in time."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {within_s} s"
        select.select([], [], [], 0.01)


class Node:
    """A network namespace and the process that holds it and does things inside."""

    def __init__(self, lab: "Lab", enter: Sequence[str]) -> None:
        self.lab = lab
        self.process = subprocess.Popen(
            [*enter, sys.executable, "-c", _NODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.run(_bring_up, "lo")

    @property
    def pid(self) -> int:
        return self.process.pid

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of a test module inside the namespace (its source is sent)."""
        self.ask(function, *arguments)
        return self.answer()

    def ask(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Like `run`, without waiting; `answer` waits."""
        source = textwrap.dedent(inspect.getsource(function))
        order = {"source": source, "name": function.__name__, "arguments": arguments}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def wait_for_word(self) -> None:
        """Wait until the function that was asked for has printed a line."""
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def bring_up(self, name: str) -> None:
        """Set an interface up."""
        self.run(_bring_up, name)

    def http(self, method: str, path: str, body: object = None, *, port: int = 8080) -> tuple[int, Any]:
        """One request to 127.0.0.1 inside the namespace: status and decoded document."""
        status, text = self.run(
            _http, "127.0.0.1", port, method, path, None if body is None else json.dumps(body)
        )
        return status, json.loads(text)

    def enter(self, *, pid_namespace: bool = False) -> list[str]:
        """The command that runs another one in this namespace."""
        command = ["nsenter", "--target", str(self.pid), "--net"]
        if os.geteuid() != 0:
            command += ["--user", "--preserve-credentials"]
        return command + (["unshare", "--pid", "--fork", "--kill-child"] if pid_namespace else [])

    def start(
        self,
        name: str,
        ports: Sequence[Mapping[str, object]] = (),
        configuration: object = None,
        *,
        pid_namespace: bool = False,
    ) -> "Running":
        """Start a built-in function here, as a site agent does, and wait until it says that it serves."""
        running = Running(self, name, ports, configuration, pid_namespace=pid_namespace)
        assert running.wait_ready(), running.words()
        return running


class Running:
    """A built-in function that runs in a node."""

    def __init__(
        self,
        node: Node,
        name: str,
        ports: Sequence[Mapping[str, object]],
        configuration: object,
        *,
        pid_namespace: bool = False,
    ) -> None:
        self.node = node
        file = node.lab.directory / f"{name}-{node.pid}-{time.monotonic_ns()}.json"
        document = {"ports": list(ports), "configuration": {} if configuration is None else configuration}
        file.write_text(json.dumps(document))
        self.log = file.with_suffix(".log")
        self._ready, ready = os.pipe()
        environment = {
            "FARSITE_VNFC": f"vnfc-{name}",
            "FARSITE_CONFIG": str(file),
            "FARSITE_READY_FD": str(ready),
            "PATH": os.environ["PATH"],
        }
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *node.enter(pid_namespace=pid_namespace),
                    sys.executable,
                    "-E",
                    "-s",
                    "-S",
                    str(FUNCTIONS),
                    name,
                ],
                env=environment,
                pass_fds=[ready],
                stdout=log,
                stderr=log,
            )
        os.close(ready)
        node.lab.running.append(self)

    def wait_ready(self) -> bool:
        """Whether the function said that it serves (else it ended)."""
        said = b""
        while select.select([self._ready], [], [], 10.0)[0]:
            part = os.read(self._ready, 64)
            if not part:
                break
            said += part
            if b"\n" in said:
                break
        self.ready_after_s = time.monotonic() - self.started
        return said == b"ready\n"

    def words(self) -> str:
        return self.log.read_text()

    def http(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return self.node.http(method, path, body)

    def counters(self) -> Any:
        return self.http("GET", "/counters")[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1
        return code


class Lab:
    """Nodes and the wires between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[Running] = []
        self.nodes: list[Node] = []
        self._root = self._add([] if os.geteuid() == 0 else ["--user", "--map-root-user"], [])

    def node(self) -> Node:
        """Another namespace."""
        into = []
        if os.geteuid() != 0:
            into = ["nsenter", "--target", str(self._root.pid), "--user", "--preserve-credentials"]
        return self._add([], into)

    def wire(self, left: Node, left_name: str, right: Node, right_name: str) -> None:
        """A veth pair, both ends up."""
        self._root.run(_veth, left.pid, left_name, right.pid, right_name)
        left.run(_bring_up, left_name)
        right.run(_bring_up, right_name)

    def close(self) -> None:
        for running in self.running:
            running.stop(signal.SIGKILL)
        for node in reversed(self.nodes):
            assert node.process.stdin is not None
            assert node.process.stdout is not None
            node.process.stdin.close()
            try:
                node.process.wait(5)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
            node.process.stdout.close()

    def _add(self, user: list[str], into: list[str]) -> Node:
        node = Node(self, [*into, "unshare", "--net", *user])
        self.nodes.append(node)
        return node


def address(node: Node, name: str, *addresses: str) -> None:
    """Give an interface addresses (with prefix length), ready to be used at once."""
    node.run(_address, name, list(addresses))


def _bring_up(name):
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", name.encode(), 0x1 | 0x40))
    return


def _take_down(name):
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", name.encode(), 0))
    return


def _veth(left_pid, left_name, right_pid, right_name):
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link(
            "add",
            ifname=left_name,
            kind="veth",
            net_ns_pid=left_pid,
            peer={"ifname": right_name, "net_ns_pid": right_pid},
        )
    return


def _address(name, addresses):
    # By ioctl: netlink libraries take longer to import than most tests run.
    import fcntl
    import socket
    import struct

    if any(":" in entry for entry in addresses):
        with open(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "w") as file:
            file.write("0")
    for entry in addresses:
        host, length = entry.split("/")
        if ":" in host:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
                index = socket.if_nametoindex(name)
                packed = socket.inet_pton(socket.AF_INET6, host)
                fcntl.ioctl(control, 0x8916, struct.pack("=16sIi", packed, int(length), index))
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
            for request, value in ((0x8916, socket.inet_aton(host)), (0x891C, struct.pack("!I", mask))):
                fcntl.ioctl(
                    control, request, struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, value)
                )
    return


def _http(host, port, method, path, body):
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text
