"""Real VDUs, real packets: how long a hundred take to deploy, and how long a death cuts the traffic."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, NotMeasured, percentile
from bench.orchestrator import data_directory
from farsite.model.deployment import (
    Chain,
    ChainEnd,
    ChainHop,
    ChainInstance,
    Deployment,
    DeploymentState,
    NetworkSpec,
    Port,
    WantedVnfc,
)
from farsite.model.errors import FarsiteError
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.vims.driver import VimConnection
from farsite.vims.registry import make_driver

_BOUND_S = 60.0
_ROOMY = {"vcpus": 1024, "memory_mib": 1024 * 1024}
_CLIENT, _SERVER = "10.20.0.1", "10.20.0.2"
_RUN_S = 1.2
_KILL_AFTER_S = 0.3


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Figures of Linux sites on this host."""
    with data_directory() as directory:
        yield from asyncio.run(_deployed(directory / "run", 20 if is_quick else 100))
    with data_directory() as directory:
        yield from asyncio.run(_restored(directory / "run", 5 if is_quick else 50))


@contextlib.asynccontextmanager
async def started_sites(run_dir: Path, *names: str) -> AsyncIterator[dict[str, Any]]:
    """Drivers of Linux sites on this host, by name.

    Raises:
        NotMeasured: this host cannot have them.
    """
    found = {
        name: make_driver(
            "linux", VimConnection(vim_id=VimId(name), name=name, site=name, settings=_ROOMY, run_dir=run_dir)
        )
        for name in names
    }
    try:
        await asyncio.gather(*(site.validate() for site in found.values()))
    except FarsiteError as refusal:
        raise NotMeasured(refusal.detail) from refusal
    try:
        yield found
    finally:
        await asyncio.gather(*(site.close() for site in found.values()))


def vnfc(name: str, image: str, *ports: Port, incarnation: int = 0, **configuration: object) -> WantedVnfc:
    return WantedVnfc(
        id=VnfcId(name), vdu=name, image=image, ports=ports, incarnation=incarnation,
        configuration=configuration,
    )  # fmt: skip


def deployment(*vnfcs: WantedVnfc) -> Deployment:
    name = vnfcs[0].id
    return Deployment(
        name=name, vnf_id=VnfInstanceId(f"vnf-{name}"), revision=str(vnfcs[0].incarnation), vnfcs=vnfcs
    )


async def ready(site: Any, *wanted: Deployment) -> None:
    """Deploy, and wait until all of it stands."""
    await asyncio.gather(*(site.deploy(one) for one in wanted))
    revisions = {one.name: one.revision for one in wanted}
    give_up_at = time.monotonic() + _BOUND_S
    while True:
        statuses = await site.watch(list(revisions))
        for status in statuses:
            if status.state is DeploymentState.FAILED and status.revision == revisions[status.name]:
                raise NotMeasured(f"{status.name}: {status.reason}")
        if all(
            one.state is DeploymentState.READY and one.revision == revisions[one.name] for one in statuses
        ):
            return
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"Deployments did not become ready within {_BOUND_S:g} s.")
        await asyncio.sleep(0.005)


async def _deployed(run_dir: Path, count: int) -> list[Figure]:
    async with started_sites(run_dir, "bench") as sites:
        site = sites["bench"]
        await site.ensure_network(NetworkSpec(id="lan", owner="ns"))
        wanted = [
            deployment(
                vnfc(
                    f"vdu-{number}",
                    "builtin:webserver",
                    Port(
                        name="data",
                        network_id="lan",
                        addresses=(f"10.30.{number // 200}.{number % 200 + 1}/16",),
                    ),
                )
            )
            for number in range(count)
        ]
        one_started = time.monotonic()
        await ready(site, deployment(vnfc("first", "builtin:webserver", Port(name="data", network_id="lan"))))
        one_s = time.monotonic() - one_started
        started = time.monotonic()
        await ready(site, *wanted)
        all_s = time.monotonic() - started
    return [
        Figure(what="Linux site: 1 VDU deployed (web server answers)", value=one_s * 1000, unit="ms"),
        Figure(
            what=f"Linux site: {count} VDUs at once deployed",
            value=all_s,
            unit="s",
            note=f"{all_s / count * 1000:.0f} ms each, driver directly",
        ),
    ]


async def _restored(run_dir: Path, runs: int) -> list[Figure]:
    """Kill the inspector that carries the flow, again and again; the flow has a packet a millisecond."""
    outages: list[float] = []
    lost: list[int] = []
    async with started_sites(run_dir, "north", "south") as sites:
        await _stand(sites)
        incarnations = {"inspector-1": 0, "inspector-2": 0}
        where = {"inspector-1": "north", "inspector-2": "south"}
        for _ in range(runs):
            result, victim = await _one_death(sites, where)
            outages.append(max((each["ms"] for each in result["outages"]), default=0.0))
            lost.append(int(result["lost"]))
            incarnations[victim] += 1
            await ready(sites[where[victim]], _inspector(victim, incarnations[victim]))
            await _until_carrying(sites, incarnations)
    note = f"{runs} SIGKILLs, 1 ms probes, lost p50 {percentile(lost, 50)} p99 {percentile(lost, 99)}"
    return [
        Figure(
            what="VDU killed -> traffic restored, p50",
            value=percentile(outages, 50), unit="ms", to_reach=100, note=note,
        ),
        Figure(
            what="VDU killed -> traffic restored, p99",
            value=percentile(outages, 99), unit="ms", to_reach=100,
        ),
    ]  # fmt: skip


def _inspector(name: str, incarnation: int = 0) -> Deployment:
    ports = (Port(name="inside"), Port(name="outside"))
    return deployment(vnfc(name, "builtin:inspector", *ports, incarnation=incarnation))


async def _stand(sites: dict[str, Any]) -> None:
    """client -> {inspector, inspector} -> server over both sites."""
    offered = {name: await site.capabilities() for name, site in sites.items()}
    endpoints = {VimId(name): each.tunnel_endpoint for name, each in offered.items()}
    for name, site in sites.items():
        peers = tuple(each for other, each in endpoints.items() if other != name)
        await site.ensure_network(NetworkSpec(id="data", vni=4096, peers=peers, owner="ns"))
    client = Port(name="data", network_id="data", addresses=(f"{_CLIENT}/24",))
    server = Port(name="data", network_id="data", addresses=(f"{_SERVER}/24",))
    await asyncio.gather(
        ready(sites["north"], deployment(vnfc("client", "builtin:probe", client)), _inspector("inspector-1")),
        ready(
            sites["south"],
            deployment(vnfc("server", "builtin:webserver", server)),
            _inspector("inspector-2"),
        ),
    )
    chain = Chain(
        id="chain",
        owner="ns",
        revision=1,
        source=ChainEnd(vnfc_id=VnfcId("client"), vim_id=VimId("north"), port="data"),
        target=ChainEnd(vnfc_id=VnfcId("server"), vim_id=VimId("south"), port="data"),
        hops=(
            ChainHop(
                name="inspector",
                instances=tuple(
                    ChainInstance(
                        vnfc_id=VnfcId(name), vim_id=VimId(vim), ingress_port="inside", egress_port="outside"
                    )
                    for name, vim in (("inspector-1", "north"), ("inspector-2", "south"))
                ),
            ),
        ),
        vni_first=5000,
        vni_count=32,
        endpoints=endpoints,
        agents={VimId(name): each.details["agent"] for name, each in offered.items()},
    )
    await asyncio.gather(*(site.apply_chain(chain) for site in sites.values()))


async def _one_death(sites: dict[str, Any], where: dict[str, str]) -> tuple[dict[str, Any], str]:
    """One traffic run with the death of the instance that carries it; the score and who died."""
    before = await _carried(sites)
    order = {
        "kind": "udp", "target": _SERVER, "port": 80, "flows": 1, "rate_pps": 1000,
        "duration_s": _RUN_S, "timeout_s": 0.2,
    }  # fmt: skip
    await _manage(sites["north"], "client", "POST", "/traffic", order)
    await asyncio.sleep(_KILL_AFTER_S)
    grown = {name: count - before[name] for name, count in (await _carried(sites)).items()}
    victim = max(grown, key=lambda name: grown[name])
    os.kill(await _pid(sites[where[victim]], victim), signal.SIGKILL)
    await asyncio.sleep(_RUN_S - _KILL_AFTER_S)
    give_up_at = time.monotonic() + _BOUND_S
    while True:
        result = await _manage(sites["north"], "client", "GET", "/traffic")
        if not result["running"]:
            return result, victim
        if time.monotonic() > give_up_at:
            raise NotMeasured("The traffic run did not end.")
        await asyncio.sleep(0.02)


async def _counters(sites: dict[str, Any]) -> dict[str, Any]:
    answers: Sequence[Any] = await asyncio.gather(*(site.chain_counters("chain") for site in sites.values()))
    return {each.vnfc_id: each for answer in answers for each in answer}


async def _carried(sites: dict[str, Any]) -> dict[str, int]:
    return {name: each.forward_packets for name, each in (await _counters(sites)).items()}


async def _until_carrying(sites: dict[str, Any], names: dict[str, int]) -> None:
    give_up_at = time.monotonic() + _BOUND_S
    while True:
        counters = await _counters(sites)
        if all(counters[name].is_alive for name in names):
            return
        if time.monotonic() > give_up_at:
            raise NotMeasured("The successor of a killed inspector was not taken into the chain.")
        await asyncio.sleep(0.02)


async def _pid(site: Any, vnfc_id: str) -> int:
    for resource in await site.find(""):
        if resource.vnfc_id == vnfc_id and "pid" in resource.details and resource.is_alive:
            return int(resource.details["pid"])
    raise NotMeasured(f"{vnfc_id} has no process.")


async def _manage(site: Any, vnfc_id: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One request to the management address inside a VNFC."""
    stream = await site.reach(VnfcId(vnfc_id), 8080)
    reader, writer = await asyncio.open_connection(sock=stream)
    content = b"" if body is None else json.dumps(body).encode()
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: vdu\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    answer = await asyncio.wait_for(reader.read(), _BOUND_S)
    writer.close()
    head, _, payload = answer.partition(b"\r\n\r\n")
    if not head.split()[1:2] or not head.split()[1].startswith(b"2"):
        raise NotMeasured(f"{vnfc_id} {method} {path}: {answer[:300]!r}")
    return json.loads(payload or b"{}")
