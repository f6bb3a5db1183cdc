"""One bench per installed driver: how to make a site of it, what to run on it, how to break a VNFC, and
how to leave nothing behind. A driver joins the suite with an entry in `BENCHES`; one without is named as
skipped, so that it cannot be forgotten."""

import asyncio
import importlib.util
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from conformance import openstack_bench
from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    DeploymentStatus,
    NetworkSpec,
    Port,
    ResourceKind,
    WantedVnfc,
)
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.vims.driver import InjectsFaults, VimConnection, VimDriver
from farsite.vims.registry import make_driver

BOUND_S = 300 if os.environ.get("FARSITE_LAB_DIR") else 30
"""How long a test waits for a state before it says that it never came: a real cloud has its own pace."""


class Tenancy(Protocol):
    """Who owns what is made on a site that others use too."""

    def registration(self, name: str) -> Mapping[str, Any]:
        """`auth_url` and `credentials` of the VIM with this name, each VIM a tenant of its own."""
        ...

    def kill(self, vnfc_id: str) -> None:
        """Let a VNFC die as it would by itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the suite has to know of one kind of site."""

    vim_type: str
    image: str
    """Starts quickly and stays."""
    http_image: str
    """Answers on its management port, configured by {"port": N}."""
    transparent_image: str
    """Forwards between its ports `in` and `out`."""
    impossible_image: str
    settings: Mapping[str, object] = field(default_factory=dict)
    has_guests: bool = True
    """VNFCs run what their image says, so they can be spoken to."""
    tenancy: Callable[[], AbstractContextManager[Tenancy | None]] = nullcontext
    why_not: Callable[[], str] = lambda: ""
    remove: tuple[str, ...] = ()
    """Module that removes everything of a run directory."""


def why_no_namespaces() -> str:
    for module in ("driver", "agent.remove"):
        if importlib.util.find_spec(f"farsite.vims.drivers.linux.{module}") is None:
            return f"the linux driver is not whole in this checkout: {module} is missing"
    command = ["unshare", "--net", "true"] if os.geteuid() == 0 else ["unshare", "-Urn", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"neither root nor user namespaces: {tried.stderr.strip()}" if tried.returncode else ""


BENCHES: Mapping[str, Bench] = {
    "simulated-memory": Bench(
        vim_type="simulated",
        image="host:shell",
        http_image="builtin:webserver",
        transparent_image="builtin:firewall",
        impossible_image="builtin:no-such-function",
        settings={"world": "memory", "images": ["host:shell", "builtin:webserver", "builtin:firewall"]},
    ),
    "simulated-file": Bench(
        vim_type="simulated",
        image="host:shell",
        http_image="builtin:webserver",
        transparent_image="builtin:firewall",
        impossible_image="builtin:no-such-function",
        settings={"deploy_delay_s": 0.1, "images": ["host:shell", "builtin:webserver", "builtin:firewall"]},
    ),
    "linux": Bench(
        vim_type="linux",
        image="host:shell",
        http_image="builtin:webserver",
        transparent_image="builtin:firewall",
        impossible_image="builtin:no-such-function",
        why_not=why_no_namespaces,
        remove=("farsite.vims.drivers.linux.agent.remove",),
    ),
    "openstack": Bench(
        vim_type="openstack",
        image="cirros",
        http_image="cirros",
        transparent_image="cirros",
        impossible_image="no-such-image",
        has_guests=False,
        tenancy=openstack_bench.tenancy,
        why_not=openstack_bench.why_no_laboratory,
    ),
}


class Site:
    """A place with VIMs of one type: a run directory and the drivers made on it."""

    def __init__(self, name: str, bench: Bench, run_dir: Path, tenancy: Tenancy | None = None) -> None:
        self.bench = bench
        self._tenancy = tenancy
        self.run_dir = run_dir
        self._tag = f"{name}-{run_dir.name}"
        self._drivers: list[VimDriver] = []

    def vim_id(self, name: str = "north") -> VimId:
        return VimId(f"{name}-{self._tag}")

    def driver(self, name: str = "north", **settings: object) -> VimDriver:
        """A driver object, made anew, of the VIM with this name."""
        connection = VimConnection(
            vim_id=self.vim_id(name),
            name=name,
            site=name,
            settings={**self.bench.settings, **settings},
            run_dir=self.run_dir,
            **(self._tenancy.registration(name) if self._tenancy else {}),
        )
        driver = make_driver(self.bench.vim_type, connection)
        self._drivers.append(driver)
        return driver

    async def kill(self, driver: VimDriver, vnfc_id: str) -> None:
        """Let a VNFC die as it would by itself: a process by SIGKILL, where it is one."""
        for resource in await driver.find(""):
            is_process = resource.kind is ResourceKind.COMPUTE and "pid" in resource.details
            if resource.vnfc_id == vnfc_id and resource.is_alive and is_process:
                os.kill(int(resource.details["pid"]), signal.SIGKILL)
                return
        if self._tenancy is not None:
            await asyncio.to_thread(self._tenancy.kill, vnfc_id)
            return
        assert isinstance(driver, InjectsFaults)
        await driver.inject("kill_vnfc", vnfc_id, {})

    async def close(self) -> None:
        for driver in self._drivers:
            await driver.close()


# -- what to deploy


def vnfc(name: str, image: str, **more: object) -> WantedVnfc:
    """A VNFC with one port on the internal network of its deployment unless `ports` says otherwise. Its name
    is the deployment's, and a number."""
    stem, _, number = name.rpartition("-")
    place = 5 + (int(number) if number.isdigit() else 0)
    addresses = (f"10.9.0.{place}/24", f"fd00:9::{place}/64")
    port = Port(name="data", network_id=inside(stem).id, addresses=addresses)
    fields: dict[str, object] = {"ports": (port,), **more}
    return WantedVnfc(id=VnfcId(name), vdu="worker", image=image, **fields)  # type: ignore[arg-type]


def deployment(name: str, *vnfcs: WantedVnfc, revision: str = "operation-1", **more: object) -> Deployment:
    """VNFCs with the internal network of the deployment, where one of them has a port on it."""
    needed = inside(name)
    if any(port.network_id == needed.id for one in vnfcs for port in one.ports):
        more.setdefault("networks", (needed,))
    return Deployment(
        name=name,
        vnf_id=VnfInstanceId(f"vnf-{name}"),
        revision=revision,
        vnfcs=vnfcs,
        **more,  # type: ignore[arg-type]
    )


def inside(name: str) -> NetworkSpec:
    """An internal virtual link."""
    return NetworkSpec(id=f"net-{name}", name="inside", cidr_v4="10.9.0.0/24", cidr_v6="fd00:9::/64")


# -- waiting for a state


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look until it is so, with a bound."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + BOUND_S
    while not await is_so():
        assert loop.time() < ends, f"never came within {BOUND_S} s: {what}"
        await asyncio.sleep(0.02)


async def settled(driver: VimDriver, name: str) -> DeploymentStatus:
    """The status of a deployment once it is no longer in progress."""
    last: list[DeploymentStatus] = []

    async def is_settled() -> bool:
        last[:] = await driver.watch([name])
        return last[0].state is not DeploymentState.IN_PROGRESS

    await until(is_settled, f"{name} settled")
    return last[0]


async def ready(driver: VimDriver, wanted: Deployment) -> DeploymentStatus:
    """Deploy and wait until READY."""
    await driver.deploy(wanted)
    status = await settled(driver, wanted.name)
    assert status.state is DeploymentState.READY, f"{status.reason} ({status.resource})"
    return status


async def gone(driver: VimDriver, name: str, owner: str) -> None:
    """Wait until a deployment is ABSENT and nothing of its owner is left."""

    async def is_gone() -> bool:
        status, *_ = await driver.watch([name])
        return status.state is DeploymentState.ABSENT and not await driver.find(owner)

    await until(is_gone, f"{name} gone")


Identity = tuple[str, int, tuple[str, ...]]


def identities(status: DeploymentStatus) -> dict[str, list[Identity]]:
    """What tells one incarnation of a VNFC from the next: VNFC id -> its compute resources."""
    found: dict[str, list[Identity]] = {}
    for resource in status.resources:
        if resource.kind is ResourceKind.COMPUTE:
            facts = tuple(resource.details.get(key, "") for key in ("pid", "netns", "started"))
            found.setdefault(str(resource.vnfc_id), []).append((resource.id, resource.incarnation, facts))
    return found


def faces(status: DeploymentStatus) -> dict[tuple[str, str], tuple[str, Sequence[str]]]:
    """What neighbours see: (VNFC id, port) -> MAC and addresses."""
    return {
        (str(resource.vnfc_id), resource.name): (resource.mac, resource.addresses)
        for resource in status.resources
        if resource.kind is ResourceKind.LINKPORT
    }
