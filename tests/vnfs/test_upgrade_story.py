"""The life of a function's inside in one story, for HAProxy and FRR, talked to directly and by a broker:
deployed, configured, broken, reverted, upgraded, a version that fails its health, rolled back."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bench_frr import DAEMONS
from bench_parts import cable, done, ended, namespace
from upgrade_images import (
    FRR_DAEMONS,
    frr_files,
    frr_version,
    haproxy_files,
    haproxy_version,
    image,
    lay_out,
    next_of,
)

from appliances import Shelf, shelf
from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import NEEDED, Device, free_port

pytestmark = [
    *NEEDED,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("haproxy") or not shutil.which("socat"), reason="haproxy or socat is not there"
    ),
    pytest.mark.skipif(not (DAEMONS / "bgpd").exists(), reason="bgpd is not there"),
]


@dataclass(frozen=True, kw_only=True)
class Function:
    """A product on a device: how it is managed, what it is to run, and whether it serves."""

    adapter: str
    parameters: Mapping[str, str]
    good: Mapping[str, Any]
    breaking: Mapping[str, Any]
    sickness: str
    """A word of what is said when it does not serve."""
    patience_s: float
    """How long a configuration stands unconfirmed; half of that it is looked at."""
    first: str
    files: Callable[..., dict[str, bytes | str]]
    """Programs of a version (deaf or not), as they lie in an image."""
    serves: Callable[[], bool]
    """By the packets of its users."""
    program: Callable[[], str]
    """The file that is at work, as the kernel says."""


@contextlib.asynccontextmanager
async def haproxy(home: Path) -> AsyncIterator[Function]:
    """HAProxy from a directory of versions, with a web server behind it."""
    base, pid = home / "haproxy.cfg", home / "pid"
    base.write_text(
        f"global\n  stats socket {home}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )
    port, web = free_port(), free_port()
    lay_out(home / "software", haproxy_version(), haproxy_files(haproxy_version()))

    def balancing(member: int) -> Mapping[str, Any]:
        members = [{"name": "web-1", "address": "127.0.0.1", "port": member}]
        return {
            "load_balancer": {
                "virtual_servers": [{"name": "web", "address": "127.0.0.1", "port": port, "pool": "webs"}],
                "pools": [{"name": "webs", "members": members, "check": {"interval_s": 0.5}}],
            }
        }

    def serves() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http.server", str(web), "--bind", "127.0.0.1", "--directory", str(home)),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Function(
            adapter="haproxy",
            parameters={
                "base": str(base),
                "config": str(home / "farsite.cfg"),
                "pid_file": str(pid),
                "socket": str(home / "admin"),
                "software": str(home / "software"),
            },
            good=balancing(web),
            breaking=balancing(free_port()),
            sickness="DOWN",
            patience_s=8,
            first=haproxy_version(),
            files=haproxy_files,
            serves=serves,
            program=lambda: os.readlink(f"/proc/{pid.read_text().strip()}/exe"),
        )
    finally:
        await ended(pid)
        server.terminate()
        await server.wait()


@contextlib.asynccontextmanager
async def frr(home: Path) -> AsyncIterator[Function]:
    """FRR from a directory of versions in a namespace, cabled to a router that speaks BGP to it."""
    lay_out(home / "software", frr_version(), frr_files(frr_version()))
    async with namespace() as east, namespace() as west:
        await cable(east, "cable", west, "cable")
        await done("ip", "-n", east, "addr", "add", "192.0.2.1/24", "dev", "cable")
        await done("ip", "-n", west, "addr", "add", "192.0.2.2/24", "dev", "cable")
        for part in ("run", "etc", "west"):
            (home / part).mkdir()
            shutil.chown(home / part, "frr", "frr")
        (home / "etc" / "vtysh.conf").write_text("service integrated-vtysh-config\n")
        restart = home / "restart"
        restart.write_text(_restart(home, east))
        restart.chmod(0o755)
        await done(str(restart))
        await done("sh", "-c", _start(home / "west", west, DAEMONS))
        await done(
            *("vtysh", "--vty_socket", f"{home}/west", "-c", "configure", "-c", "router bgp 65002"),
            *("-c", "no bgp ebgp-requires-policy", "-c", "no bgp network import-check"),
            *("-c", "neighbor 192.0.2.1 remote-as 65001", "-c", "neighbor 192.0.2.1 timers 1 3"),
            *("-c", "neighbor 192.0.2.1 timers connect 1"),
        )

        def speaking(neighbour: int) -> Mapping[str, Any]:
            told = {"remote_as": 65002, "hold_time_s": 3, "keepalive_s": 1}
            return {
                "bgp": {
                    "local_as": 65001,
                    "router_id": "192.0.2.1",
                    "networks": ["198.51.100.0/24"],
                    "neighbours": [{"address": f"192.0.2.{neighbour}", **told}],
                }
            }

        def serves() -> bool:
            """The other router forwards by what it has heard."""
            told = subprocess.run(
                ["ip", "-n", west, "route", "show", "198.51.100.0/24"],
                capture_output=True,
                text=True,
                check=True,
            )
            return "192.0.2.1" in told.stdout

        yield Function(
            adapter="frr",
            parameters={
                "vty_socket": f"{home}/run",
                "config_dir": f"{home}/etc",
                "directory": f"{home}/farsite",
                "software": f"{home}/software",
                "restart": str(restart),
            },
            good=speaking(2),
            breaking=speaking(77),
            sickness="192.0.2.",
            patience_s=14,
            first=frr_version(),
            files=frr_files,
            serves=serves,
            program=lambda: os.readlink(f"/proc/{(home / 'run' / 'bgpd.pid').read_text().strip()}/exe"),
        )


def _start(run: Path, router: str, programs: Path) -> str:
    each = (
        f"ip netns exec {router} {programs}/{name} -d -P 0 -f /dev/null -i {run}/{name}.pid "
        f"-z {run}/zserv.api --vty_socket {run}{' -p 179' if name == 'bgpd' else ''} || exit 1\n"
        for name in FRR_DAEMONS
    )
    return "".join(each)


def _restart(home: Path, router: str) -> str:
    """What an operator's unit does: end what runs, start what `current` leads to with what was saved."""
    return (
        "#!/bin/sh\n"
        f"for one in {home}/run/*.pid; do\n"
        '    pid=$(cat "$one" 2>/dev/null) || continue\n'
        '    kill "$pid" 2>/dev/null\n'
        '    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done\n'
        '    rm -f "$one"\n'
        "done\n"
        + _start(home / "run", router, home / "software" / "current" / "sbin")
        + f"[ ! -e {home}/etc/frr.conf ] ||\n"
        f"    vtysh --vty_socket {home}/run --config_dir {home}/etc -b\n"
    )


FUNCTIONS = {"haproxy": haproxy, "frr": frr}


@dataclass(frozen=True)
class Told:
    """The VNF by Farsite's API."""

    service: Service
    vnf: str

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, f"/vnfs/{self.vnf}{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def done(self, verb: str, **body: object) -> Mapping[str, Any]:
        """The operation at its end."""
        operation = self.ask("POST", f"/{verb}", 202, json=body)
        return self.service.until(
            lambda: self.service.native("GET", f"/operations/{operation['id']}").json(),
            lambda seen: seen["state"] in ("COMPLETED", "ROLLED_BACK", "FAILED_TEMP", "FAILED"),
            within_s=240,
        )


@contextlib.contextmanager
def managed(service: Service, home: Path, device: Device, function: Function, way: str) -> Any:
    """The VNF, and how it is managed: directly, or by a broker that is a process of its own."""
    told = Told(service, service.create_vnf(name="one"))
    told.ask("PUT", "/secrets/key", 204, json={"value": (device.directory / "user").read_text()})
    access = {
        "host": "127.0.0.1",
        "port": device.port,
        "host_keys": [device.key("host")],
        "private_key": "secret:key",
    }
    body: dict[str, object] = {
        "adapter": function.adapter,
        "access": access,
        "parameters": dict(function.parameters),
        "keep_in": str(home / "kept"),
    }
    if way == "direct":
        told.ask("PUT", "/management", json=body)
        yield told
        return
    token = home / "broker-token"
    token.touch(0o600)
    token.write_text(service.native("POST", "/brokers", json={"name": "edge"}).json()["token"])
    words = [
        "--name",
        "edge",
        "--url",
        service.url,
        "--token-file",
        str(token),
        "--state-dir",
        str(home / "broker"),
    ]
    process = subprocess.Popen([str(Path(sys.executable).parent / "farsite"), "broker", "run", *words])
    try:
        told.ask("PUT", "/management", json={**body, "way": "broker", "broker": "edge"})
        yield told
    finally:
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", ["direct", "brokered"])
@pytest.mark.parametrize("product", sorted(FUNCTIONS))
async def test_a_function_is_deployed_configured_broken_reverted_upgraded_and_rolled_back(
    product: str, way: str
) -> None:
    """Everything that an operator does to the inside of a function, seen by the packets of its users."""
    home = Path(tempfile.mkdtemp(prefix="fsu-", dir="/tmp"))
    home.chmod(0o755)
    (home / "ssh").mkdir()
    device = Device(home / "ssh")
    device.start()
    try:
        async with FUNCTIONS[product](home) as function:
            with shelf(home / "shelf") as images, running(Settings(data_dir=home / "data")) as service:
                service.register("sim")
                service.onboard("webserver")
                with managed(service, home, device, function, way) as told:
                    await asyncio.to_thread(_story, told, function, images, home)
    finally:
        device.stop()
        shutil.rmtree(home, ignore_errors=True)


def _story(told: Told, function: Function, images: Shelf, home: Path) -> None:
    first, second, third = function.first, next_of(function.first, 7), next_of(function.first, 8)
    put = {
        version: images.put(f"{version}.tar", image(function.files(version, is_deaf=version == third)))
        for version in (second, third)
    }

    configured = told.done("configure", document=function.good)
    assert configured["state"] == "COMPLETED", configured["error"]
    _until(function.serves)

    # A configuration that the product takes and that breaks its service is reverted.
    broken = told.done("configure", document=function.breaking, confirm_within_s=function.patience_s)
    assert broken["state"] == "ROLLED_BACK", broken["error"]
    assert function.sickness in broken["error"]["detail"]
    _until(function.serves)
    running_before = told.ask("GET", "/software")
    assert (running_before["running"], running_before["previous"]) == (first, "")

    upgraded = told.done("upgrade", image=put[second], cause="security advisory")
    assert upgraded["state"] == "COMPLETED", upgraded["error"]
    software = told.ask("GET", "/software")
    assert (software["running"], software["previous"]) == (second, first)
    assert f"/versions/{second}/" in function.program()
    _until(function.serves)

    # A version that starts, answers and passes nothing.
    failed = told.done("upgrade", image=put[third], confirm_within_s=120, well_within_s=5)
    assert failed["state"] == "ROLLED_BACK", failed["error"]
    assert f"With version {third} the function was not well" in failed["error"]["detail"]
    assert function.sickness in failed["error"]["detail"]
    software = told.ask("GET", "/software")
    assert (software["running"], software["previous"]) == (second, first)
    assert {one["version"] for one in software["installed"]} == {first, second}
    assert f"/versions/{second}/" in function.program()
    _until(function.serves)
    assert not told.ask("GET", "/configuration/drift")["has_drifted"]

    accounts = told.ask("GET", "/upgrades")
    assert [(one["state"], one["from_version"], one["to_version"]) for one in accounts] == [
        ("ROLLED_BACK", second, third),
        ("UPGRADED", first, second),
    ]
    assert f"Version {second} runs again, with the configuration of before." in accounts[0]["said"]
    assert accounts[0]["running_version"] == second
    assert accounts[-1]["cause"] == "security advisory"
    # What ran before is kept on the device, where the account says.
    assert list(Path(accounts[-1]["backup"]).iterdir())
    assert accounts[-1]["backup"].startswith(str(home / "kept"))


def _until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
