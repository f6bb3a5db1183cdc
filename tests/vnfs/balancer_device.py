"""An HAProxy on a device, behind an sshd, that a running service manages: directly, or through a broker."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import Device, free_port


@dataclass(frozen=True)
class Balancer:
    """An HAProxy on a device, and the VNF that it is the inside of."""

    service: Service
    device: Device
    directory: Path
    vnf: str
    port: int
    web: int
    broker: str = ""
    process: "BrokerProcess | None" = None

    def document(self, weight: int = 1, **over: object) -> Mapping[str, Any]:
        member = {"name": "web-1", "address": "127.0.0.1", "port": self.web, "weight": weight}
        virtual = {"name": "web", "address": "127.0.0.1", "port": self.port, "pool": "webs"}
        pool = {"name": "webs", "members": [member], "check": {"interval_s": 1}}
        return {"load_balancer": {"virtual_servers": [virtual], "pools": [pool | over]}}

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{self.vnf}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def configure(self, **body: object) -> Mapping[str, Any]:
        """The operation at its end."""
        return self.ended(self.ask("POST", "/configure", 202, json=body))

    def ended(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        """It once it has ended."""
        ends = time.monotonic() + 60
        while True:
            found = self.service.native("GET", f"/operations/{operation['id']}").json()
            if found["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED_TEMP", "FAILED"):
                return found
            assert time.monotonic() < ends, found
            time.sleep(0.1)

    @property
    def runs(self) -> str:
        return (self.directory / "farsite.cfg").read_text()


class Web:
    """A server that the load balancer has behind it."""

    def __init__(self) -> None:
        import http.server
        import threading

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        # Nobody reads what it was asked.
        self.server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextlib.contextmanager
def balancers(database_url: str, way: str) -> Iterator[Balancer]:
    """An HAProxy that a service of ours manages by that way, watched every second."""
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    (directory / "haproxy.cfg").write_text(
        f"global\n  stats socket {directory}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )
    (directory / "ssh").mkdir()
    device, web = Device(directory / "ssh"), Web()
    device.start()
    try:
        with running(
            Settings(
                data_dir=directory / "data",
                database_url=database_url,
                function_watch_period_s=1.0,
                function_drift_period_s=1.0,
            )
        ) as service:
            service.register("sim")
            package = service.onboard("webserver")
            created = service.native("POST", "/vnfs", json={"package": package["id"], "name": "lb"}).json()
            found = Balancer(service, device, directory, created["id"], free_port(), web.port)
            found.ask("PUT", "/secrets/key", 204, json={"value": (directory / "ssh" / "user").read_text()})
            with brokered(found) if way == "brokered" else contextlib.nullcontext(found) as ready:
                ready.ask("PUT", "/management", json=managed(ready))
                yield ready
    finally:
        device.stop()
        web.server.shutdown()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
        shutil.rmtree(directory, ignore_errors=True)


class BrokerProcess:
    """A broker that can be killed and started again."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.running = subprocess.Popen(command)

    def strike(self) -> None:
        self.running.kill()
        self.running.wait()
        self.running = subprocess.Popen(self._command)


@contextlib.contextmanager
def brokered(one: Balancer) -> Iterator[Balancer]:
    """The same with a broker in between: a process of its own with a connection of its own."""
    made = one.service.native("POST", "/brokers", json={"name": "edge"})
    assert made.status_code == 201, made.text
    token = one.directory / "broker-token"
    token.touch(0o600)
    token.write_text(made.json()["token"])
    words = ["--name", "edge", "--url", one.service.url, "--token-file", str(token)]
    words += ["--state-dir", str(one.directory / "broker")]
    command = (str(Path(sys.executable).parent / "farsite"), "broker", "run", *words)
    process = BrokerProcess(command)
    try:
        yield replace(one, broker="edge", process=process)
    finally:
        process.running.terminate()
        assert process.running.wait(20) in (0, -signal.SIGTERM)


def managed(one: Balancer, **access: object) -> Mapping[str, Any]:
    directory = one.directory
    return {
        "adapter": "haproxy",
        "way": "broker" if one.broker else "direct",
        "broker": one.broker,
        "access": {
            "host": "127.0.0.1",
            "port": one.device.port,
            "host_keys": [one.device.key("host")],
            "private_key": "secret:key",
            **access,
        },
        "parameters": {
            "base": str(directory / "haproxy.cfg"),
            "config": str(directory / "farsite.cfg"),
            "pid_file": str(directory / "pid"),
            "socket": str(directory / "admin"),
        },
        "keep_in": str(directory / "kept"),
        "confirm_within_s": 20,
    }


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
