"""A firewall of Farsite's own, on a Linux site of its own, reached as every function there is."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

from bench.figures import NotMeasured
from bench.linux_sites import deployment, ready, started_sites, vnfc
from bench.orchestrator import data_directory
from farsite.model.deployment import Port
from farsite.model.ids import VnfcId
from farsite.vnfs import management
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.dictionary import read
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import SHIPPED

_GUARD = VnfcId("guard")


class FirewallFunction:
    """One such function."""

    def __init__(self, site: Any) -> None:
        self._site = site

    async def reach(self) -> socket.socket:
        """A stream to its management address."""
        return await self._site.reach(_GUARD, management.MANAGEMENT_PORT)

    def open(self) -> Adapter:
        """Its adapter."""
        return open_device(
            read(SHIPPED / "builtin"),
            DeviceAccess(host=_GUARD, port=management.MANAGEMENT_PORT, user="", known_by=()),
            device=_GUARD,
            parameters={},
            keep_in="/nowhere",
            through=self.reach,
        )

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request, by the transport alone.

        Raises:
            NotMeasured: it was refused.
        """
        content = b"" if body is None else json.dumps(body).encode()
        answer = await management.request(
            await self.reach(), _GUARD, method=method, path=path, body=content, timeout_s=60.0
        )
        if answer.status >= 400:
            raise NotMeasured(f"builtin:firewall, {method} {path}: {answer.body[:300].decode()}")
        return json.loads(answer.body)


@contextlib.asynccontextmanager
async def firewall_function() -> AsyncIterator[FirewallFunction]:
    """One that stands.

    Raises:
        NotMeasured: this host cannot have a Linux site.
    """
    with data_directory() as directory:
        async with started_sites(directory / "run", "edge") as sites:
            ports = (Port(name="inside"), Port(name="outside"))
            await ready(sites["edge"], deployment(vnfc(_GUARD, "builtin:firewall", *ports)))
            yield FirewallFunction(sites["edge"])
