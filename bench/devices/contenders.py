"""Devices with a firewall, each with two ways to put the same rules there: its adapter, and its adapter's
transport used plainly, as a script of the operator's would."""

import asyncio
import contextlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx2

from bench.devices.emulated import SECRET, Emulated, emulated
from bench.devices.functions import FirewallFunction, firewall_function
from bench.devices.routers import ADAPTER, Router, routers
from bench.figures import NotMeasured
from farsite.vnfs.adapter import Adapter, Wanted
from farsite.vnfs.adapters.fortios.rendering import OURS, POLICY
from farsite.vnfs.adapters.panos.rendering import ADDRESS, RULE, SERVICE
from farsite.vnfs.adapters.vyos.lines import commands
from farsite.vnfs.dictionary import read
from farsite.vnfs.objects import objects
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import SHIPPED
from farsite.vnfs.transports.https import known_by


class Device(Protocol):
    """A device that runs."""

    async def empty(self) -> None:
        """Have no rules."""
        ...

    def open(self) -> Adapter:
        """Its adapter, on a connection of its own."""
        ...

    def text(self, wanted: Wanted, told: str, /) -> str:
        """The native text of the rules. `told` is what the device says that it runs, once it runs them."""
        ...

    async def send(self, text: str) -> None:
        """Have the device run the text and keep it, by the transport alone, on a connection of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """`plain` is what the adapter is compared with, `more` what the adapter does and that does not."""

    what: str
    plain: str
    more: str
    start: Callable[[], AbstractAsyncContextManager[Device]]


# -- A Linux router -----------------------------------------------------------------------------------------


class _Linux:
    def __init__(self, router: Router) -> None:
        self._router = router
        self._file = f"{router.files}/firewall.nft"
        (router.directory / "key").touch(0o600)
        (router.directory / "key").write_text(router.private_key)
        (router.directory / "known").write_text(f"{router.address} {router.host_key}\n")

    async def empty(self) -> None:
        gone = f"nft delete table inet farsite_firewall 2>/dev/null; rm -f {self._file}"
        self._router.run("sh", "-c", gone)

    def open(self) -> Adapter:
        return self._router.open()

    def text(self, wanted: Wanted, _told: str, /) -> str:
        # The device tells it with a layout of its own.
        folder = read(SHIPPED / ADAPTER)
        return folder.render(wanted, folder.parameters(self._router.parameters))["firewall"]

    async def send(self, text: str) -> None:
        place, table = self._router.directory, "table inet farsite_firewall"
        options = {
            "UserKnownHostsFile": place / "known",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        process = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-T", "-i", str(place / "key"), *words, f"root@{self._router.address}"),
            f"mkdir -p {self._router.files} && cat >{self._file} && nft -f {self._file}",
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate(f"{table}\ndelete {table}\n{text}".encode())
        if process.returncode:
            raise NotMeasured(f"Plain ssh to {self._router.name}: {said.decode()[:300]}")


@contextlib.asynccontextmanager
async def _linux() -> AsyncIterator[Device]:
    with routers(1) as (router,):
        yield _Linux(router)


# -- A function of our own ----------------------------------------------------------------------------------


class _Builtin:
    def __init__(self, function: FirewallFunction, first: Mapping[str, Any]) -> None:
        self._function = function
        self._first = first

    async def empty(self) -> None:
        await self._function.ask("PUT", "/configuration", self._first)

    def open(self) -> Adapter:
        return self._function.open()

    def text(self, _wanted: Wanted, told: str, /) -> str:
        return told

    async def send(self, text: str) -> None:
        await self._function.ask("PUT", "/configuration", {**self._first, **json.loads(text)})


@contextlib.asynccontextmanager
async def _builtin() -> AsyncIterator[Device]:
    async with firewall_function() as function:
        yield _Builtin(function, await function.ask("GET", "/configuration"))


# -- Emulated devices ---------------------------------------------------------------------------------------


class _OverHttps(ABC):
    """A device over HTTPS. To have no rules is to be a new one."""

    product = ""

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        self._at: Emulated | None = None
        self._secret = SECRET

    async def empty(self) -> None:
        self._running.close()
        self._at = self._running.enter_context(emulated(self.product))

    def close(self) -> None:
        self._running.close()

    def open(self) -> Adapter:
        access = DeviceAccess(
            host="127.0.0.1",
            port=self.at.port,
            user="admin",
            known_by=(known_by(self.at.authority),),
            password=self._secret,
        )
        return open_device(
            read(SHIPPED / self.product),
            access,
            device=f"{self.product}-1",
            parameters={},
            keep_in="/nowhere",
        )

    @property
    def at(self) -> Emulated:
        assert self._at is not None
        return self._at

    def text(self, _wanted: Wanted, told: str, /) -> str:
        return told

    async def send(self, text: str) -> None:
        async with self.at.client() as http:
            await self._send(http, text)

    @abstractmethod
    async def _send(self, http: httpx2.AsyncClient, text: str) -> None: ...

    def _check(self, answer: httpx2.Response, *, holds: bool) -> None:
        if not answer.is_success or not holds:
            raise NotMeasured(f"Plain HTTPS to {self.product}: {answer.status_code} {answer.text[:300]}")


class _Vyos(_OverHttps):
    product = "vyos"

    async def _send(self, http: httpx2.AsyncClient, text: str) -> None:
        for path, told in (
            ("/configure", commands("", text, None)),
            ("/config-file", {"op": "save"}),
        ):
            answer = await http.post(path, data={"data": json.dumps(told), "key": SECRET})
            self._check(answer, holds=answer.json()["success"])


class _FortiOs(_OverHttps):
    product = "fortios"

    async def _send(self, http: httpx2.AsyncClient, text: str) -> None:
        """An object a request, all in one transaction."""
        http.headers["Authorization"] = f"Bearer {SECRET}"
        begun = await self._post(http, "?action=transaction-start", {})
        http.headers["X-TRANSACTION-ID"] = str(begun["results"]["transaction-id"])
        for number, one in enumerate(objects(text), start=1):
            row = {"policyid": number, "comments": OURS} if one.kind == POLICY else {"name": one.key}
            await self._post(http, f"/{one.kind}", {**row, **json.loads(one.body)})
        await self._post(http, "?action=transaction-commit", {})

    async def _post(self, http: httpx2.AsyncClient, path: str, body: object) -> dict[str, Any]:
        answer = await http.post(f"/api/v2/cmdb{path}", json=body)
        self._check(answer, holds=answer.json().get("status") == "success")
        return answer.json()


class _PanOs(_OverHttps):
    product = "panos"
    _VSYS = "/config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']"
    _AT: Mapping[str, str] = {ADDRESS: "address", SERVICE: "service", RULE: "rulebase/security/rules"}

    async def empty(self) -> None:
        await super().empty()
        async with self.at.client() as http:
            told = await self._ask(http, type="keygen", user="admin", password=SECRET)
        self._secret = told.partition("<key>")[2].partition("</key>")[0]

    async def _send(self, http: httpx2.AsyncClient, text: str) -> None:
        """A request for all objects of a kind, then a commit that is waited for."""
        http.headers["X-PAN-KEY"] = self._secret
        found = objects(text)
        for kind, place in self._AT.items():
            element = "".join(one.body for one in found if one.kind == kind)
            await self._ask(http, type="config", action="set", xpath=f"{self._VSYS}/{place}", element=element)
        begun = await self._ask(http, type="commit", cmd="<commit></commit>")
        job = re.search(r"<job>(\d+)</job>", begun)
        if job is None:
            raise NotMeasured(f"Plain HTTPS to panos: no job in {begun[:300]}")
        command = f"<show><jobs><id>{job[1]}</id></jobs></show>"
        while True:
            told = await self._ask(http, type="op", cmd=command)
            if "<status>FIN</status>" in told:
                break
            await asyncio.sleep(0.1)
        if "<result>OK</result>" not in told:
            raise NotMeasured(f"Plain HTTPS to panos: {told[:300]}")

    async def _ask(self, http: httpx2.AsyncClient, **asked: str) -> str:
        answer = await http.post(
            "/api/",
            content=urlencode(asked).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        self._check(answer, holds='status="success"' in answer.text)
        return answer.text


def _started(kind: type[_OverHttps]) -> Callable[[], AbstractAsyncContextManager[Device]]:
    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Device]:
        with contextlib.closing(kind()) as device:
            yield device

    return start


CONTENDERS: Mapping[str, Contender] = {
    "linux": Contender(
        what="linux (nftables in a namespace, over SSH)",
        plain="ssh",
        more="fetches and compares what runs, has nftables check the candidate apart and print it in its "
        "own words, keeps what was there, arms the switch, confirms",
        start=_linux,
    ),
    "builtin": Contender(
        what="builtin (a function on a Linux site, through its agent)",
        plain="a PUT on the same way",
        more="fetches and compares what runs, twice; the change is on trial until it is confirmed",
        start=_builtin,
    ),
    "vyos": Contender(
        what="emulated vyos (HTTPS)",
        plain="httpx2",
        more="fetches and compares what runs, twice; notes the change, saves what was there, commits with "
        "confirm, confirms, notes, saves",
        start=_started(_Vyos),
    ),
    "fortios": Contender(
        what="emulated fortios (HTTPS)",
        plain="httpx2",
        more="fetches and compares what runs, three times; keeps what was there in the device; a second "
        "transaction confirms",
        start=_started(_FortiOs),
    ),
    "panos": Contender(
        what="emulated panos (HTTPS)",
        plain="httpx2",
        more="fetches and compares what runs, three times, and the candidate; keeps what was there in the "
        "device; a second commit confirms",
        start=_started(_PanOs),
    ),
}
"""By the name of the adapter: all that take firewall rules."""
