"""The life of a function's inside in one story, for HAProxy and FRR on a Linux site, talked to directly and
by a broker: deployed, configured, broken, reverted, upgraded, with a version that fails, rolled back."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from story_site import CLIENT, DIRECTORY, FUNCTION, MANAGED, SERVER, Site, package
from upgrade_images import (
    FRR_DAEMONS,
    frr_files,
    frr_version,
    haproxy_files,
    haproxy_version,
    image,
    next_of,
)

from appliances import Shelf, shelf
from boot_keys import Keys
from farsite.settings import Settings
from farsite.vims.drivers.linux.agent import trial
from service_bench import Service, running

FRR = Path("/usr/lib/frr")
pytestmark = [
    pytest.mark.linux,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for functions with users of their own"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("/usr/sbin/sshd", "haproxy", "socat"))),
        reason="sshd, haproxy or socat is not there",
    ),
    pytest.mark.skipif(not (FRR / "bgpd").exists(), reason="bgpd is not there"),
]


@dataclass(frozen=True, kw_only=True)
class Function:
    """A product in a VDU: what its first boot lays down, how it is managed, and what it is to run."""

    adapter: str
    parameters: Mapping[str, str]
    boot: tuple[str, ...]
    client_boot: tuple[str, ...] = ()
    good: Mapping[str, Any]
    breaking: Mapping[str, Any]
    sickness: str
    """A word of what is said when it does not serve."""
    patience_s: float
    """How long a configuration stands unconfirmed; half of that it is looked at."""
    first: str
    files: Callable[..., dict[str, bytes | str]]
    """Programs of a version (deaf or not), as they lie in an image."""
    url: str
    """What its users ask for."""


def _first_version(version: str, *programs: Path) -> tuple[str, ...]:
    """The programs of this machine as the first of a directory of versions, at work."""
    there = f"software/versions/{version}/sbin"
    return (
        f"mkdir -p {there}",
        *(f"cp {program} {there}/" for program in programs),
        f"ln -s versions/{version} software/current",
    )


def haproxy() -> Function:
    """HAProxy from a directory of versions, between a client and a web server."""
    timeouts = "\n".join(f"  timeout {name}s" for name in ("connect 1", "client 5", "server 5"))
    base = f"global\n  stats socket {DIRECTORY}/admin mode 600 level admin\ndefaults\n{timeouts}\n"

    def balancing(port: int) -> Mapping[str, Any]:
        members = [{"name": "web-1", "address": SERVER, "port": port}]
        return {
            "load_balancer": {
                "virtual_servers": [{"name": "web", "address": "0.0.0.0", "port": 80, "pool": "webs"}],
                "pools": [{"name": "webs", "members": members, "check": {"interval_s": 0.5}}],
            }
        }

    return Function(
        adapter="haproxy",
        parameters={
            "base": f"{DIRECTORY}/haproxy.cfg",
            "config": f"{DIRECTORY}/farsite.cfg",
            "pid_file": f"{DIRECTORY}/pid",
            "socket": f"{DIRECTORY}/admin",
            "software": f"{DIRECTORY}/software",
        },
        boot=(
            *_first_version(haproxy_version(), Path("/usr/sbin/haproxy")),
            f"cat >haproxy.cfg <<'END'\n{base}END",
        ),
        good=balancing(8080),
        breaking=balancing(8081),
        sickness="DOWN",
        patience_s=8,
        first=haproxy_version(),
        files=haproxy_files,
        url=f"http://{FUNCTION}/",
    )


def frr() -> Function:
    """FRR from a directory of versions, which tells the client's router of the web server's network."""
    neighbour = "\n".join(
        (
            *("router bgp 65002", "no bgp ebgp-requires-policy", "no bgp network import-check"),
            *(f"neighbor {FUNCTION} remote-as 65001", f"neighbor {FUNCTION} timers 1 3"),
            f"neighbor {FUNCTION} timers connect 1",
        )
    )

    def speaking(neighbour: str) -> Mapping[str, Any]:
        told = {"remote_as": 65002, "hold_time_s": 3, "keepalive_s": 1}
        return {
            "bgp": {
                "local_as": 65001,
                "router_id": FUNCTION,
                "networks": ["198.51.100.0/24"],
                "neighbours": [{"address": neighbour, **told}],
            }
        }

    return Function(
        adapter="frr",
        parameters={
            "vty_socket": f"{DIRECTORY}/run",
            "config_dir": f"{DIRECTORY}/etc",
            "directory": f"{DIRECTORY}/farsite",
            "software": f"{DIRECTORY}/software",
            "restart": f"{DIRECTORY}/restart",
        },
        boot=(
            *_first_version(frr_version(), *(FRR / name for name in FRR_DAEMONS)),
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            "mkdir run etc",
            "chown frr:frr run etc",
            "echo 'service integrated-vtysh-config' >etc/vtysh.conf",
            f"cat >restart <<'END'\n{_RESTART}END",
            "chmod 755 restart",
            "./restart",
        ),
        client_boot=(
            "mkdir run",
            "chown frr:frr run",
            _start(FRR),
            f"cat >neighbour <<'END'\n{neighbour}\nEND",
            f"vtysh --vty_socket {DIRECTORY}/run -f neighbour",
        ),
        good=speaking(CLIENT),
        breaking=speaking("192.0.2.77"),
        sickness="192.0.2.",
        patience_s=14,
        first=frr_version(),
        files=frr_files,
        url=f"http://{SERVER}:8080/",
    )


def _start(programs: Path) -> str:
    run = f"{DIRECTORY}/run"
    each = (
        f"{programs}/{name} -d -P 0 -f /dev/null -i {run}/{name}.pid "
        f"-z {run}/zserv.api --vty_socket {run}{' -p 179' if name == 'bgpd' else ''} || exit 1\n"
        for name in FRR_DAEMONS
    )
    return "".join(each)


# What an operator's unit does: end what runs, start what `current` leads to with what was saved.
_RESTART = (
    "#!/bin/sh\n"
    f"for one in {DIRECTORY}/run/*.pid; do\n"
    '    pid=$(cat "$one" 2>/dev/null) || continue\n'
    '    kill "$pid" 2>/dev/null\n'
    '    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done\n'
    '    rm -f "$one"\n'
    "done\n"
    + _start(Path(DIRECTORY) / "software" / "current" / "sbin")
    + f"[ ! -e {DIRECTORY}/etc/frr.conf ] ||\n"
    f"    vtysh --vty_socket {DIRECTORY}/run --config_dir {DIRECTORY}/etc -b\n"
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
def managed(site: Site, vnf: str, home: Path, keys: Keys, function: Function, way: str) -> Iterator[Told]:
    """The VNF, and how it is managed: directly, through its site; or by a broker on a jump host."""
    service = site.service
    told = Told(service, vnf)
    told.ask("PUT", "/secrets/key", 204, json={"value": keys.private("operator")})
    access = {"port": 22, "host_keys": [keys.public("host")], "private_key": "secret:key"}
    body: dict[str, object] = {
        "adapter": function.adapter,
        "parameters": dict(function.parameters),
        "keep_in": f"{DIRECTORY}/kept",
    }
    if way == "direct":
        told.ask("PUT", "/management", json={**body, "access": {**access, "vnfc": site.vnfc("function")}})
        yield told
        return
    token = home / "broker-token"
    token.touch(0o600)
    token.write_text(service.native("POST", "/brokers", json={"name": "edge"}).json()["token"])
    words = ["--name", "edge", "--url", service.url, "--token-file", str(token)]
    broker = [str(Path(sys.executable).parent / "farsite"), "broker", "run", *words]
    with site.jump_host():
        process = subprocess.Popen([*broker, "--state-dir", str(home / "broker")])
        try:
            brokered = {"way": "broker", "broker": "edge", "access": {**access, "host": MANAGED}}
            told.ask("PUT", "/management", json={**body, **brokered})
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
    tier, findings = trial.choose()
    if tier != "root":
        pytest.skip(trial.refusal(findings))
    function = FUNCTIONS[product]()
    home = Path(tempfile.mkdtemp(prefix="fsu-", dir="/tmp"))
    keys = Keys(home)
    try:
        with shelf(home / "shelf") as images, running(Settings(data_dir=home / "data")) as service:
            site = Site(service)
            try:
                await asyncio.to_thread(_live, site, function, images, home, keys, way)
            finally:
                site.remove()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _live(site: Site, function: Function, images: Shelf, home: Path, keys: Keys, way: str) -> None:
    site.register()
    boots = keys.script(*function.boot), "\n".join(("#!/bin/sh", "set -e", *function.client_boot))
    vnf = site.deployed(package(*boots))
    with managed(site, vnf, home, keys, function, way) as told:
        _story(told, site, function, images)


def _story(told: Told, site: Site, function: Function, images: Shelf) -> None:
    def serves() -> bool:
        return site.client_gets(function.url)

    first, second, third = function.first, next_of(function.first, 7), next_of(function.first, 8)
    put = {
        version: images.put(f"{version}.tar", image(function.files(version, is_deaf=version == third)))
        for version in (second, third)
    }

    configured = told.done("configure", document=function.good)
    assert configured["state"] == "COMPLETED", configured["error"]
    _until(serves)

    # A configuration that the product takes and that breaks its service is reverted.
    broken = told.done("configure", document=function.breaking, confirm_within_s=function.patience_s)
    assert broken["state"] == "ROLLED_BACK", broken["error"]
    assert function.sickness in broken["error"]["detail"]
    _until(serves)
    running_before = told.ask("GET", "/software")
    assert (running_before["running"], running_before["previous"]) == (first, "")

    upgraded = told.done("upgrade", image=put[second], cause="security advisory")
    assert upgraded["state"] == "COMPLETED", upgraded["error"]
    software = told.ask("GET", "/software")
    assert (software["running"], software["previous"]) == (second, first)
    assert site.versions_at_work() == {second}
    _until(serves)

    # A version that starts, answers and passes nothing.
    failed = told.done("upgrade", image=put[third], confirm_within_s=120, well_within_s=5)
    assert failed["state"] == "ROLLED_BACK", failed["error"]
    assert f"With version {third} the function was not well" in failed["error"]["detail"]
    assert function.sickness in failed["error"]["detail"]
    software = told.ask("GET", "/software")
    assert (software["running"], software["previous"]) == (second, first)
    assert {one["version"] for one in software["installed"]} == {first, second}
    assert site.versions_at_work() == {second}
    _until(serves)
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
    assert accounts[-1]["backup"].startswith(f"{DIRECTORY}/kept/")
    assert list(site.file(accounts[-1]["backup"]).iterdir())


def _until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
