"""A product over HTTP that is a page in memory, and modules for it that have a fault, to be found by the kit.

Its whole state is read by one request and written by another: texts by place, the entry of the last change,
and what ran before it. The parameter `fault` plants what an author may get wrong.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farsite.model.configuration import Configuration
from farsite.model.errors import VnfUnreachable
from farsite.store.encoding import decode, encode
from farsite.vnfs.adapter import Adapter, Outcome, Probed, Sample, Wanted
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import Folder, read
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

DICTIONARY = """
name: page
vendor: tests
product: Page
versions: any
access: {method: rest}
module: planted_product
takes_back: at the next contact
services: [dns, system, users]
parameters: {fault: none}
places:
  - {name: dns, services: [dns]}
  - {name: system, services: [system]}
  - {name: users, services: [users]}
"""
FAULTS = {
    "half": "not all of it runs",
    "note afterwards": "something else runs than before",
    "note before": "not all of it runs",
    "repeats": "one revert did not bring back what ran",
    "says refused": "it was told as refused, and is pending",
}
"""By what is planted: what the kit says of it."""


class Page:
    """The device."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"texts": {}, "entry": None, "before": {}}
        self.asked: list[tuple[str, bytes]] = []

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        self.asked.append((method, body))
        assert path == "/page"
        if method == "PUT":
            told = json.loads(body)
            self.state = {**self.state, **told, "texts": {**self.state["texts"], **told.get("texts", {})}}
        return HttpAnswer(status=200, body=json.dumps(self.state, sort_keys=True).encode())

    async def close(self) -> None:
        pass


def product(device: Device) -> "PageProduct":
    return PageProduct(device)


class PageProduct:
    """What the dictionary names; see `Product`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._fault = device.parameters["fault"]

    async def fetch(self) -> Found:
        told = await self._ask("GET")
        entry = told["entry"]
        return Found(
            texts={name: text for name, text in told["texts"].items() if text},
            entry=entry
            and Entry(
                change_id=entry["change"], outcome=Outcome(entry["outcome"]), deadline_s=entry["deadline"]
            ),
            version="1",
        )

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        document = wanted.document
        stated = {"dns": document.dns, "system": document.system, "users": document.users}
        texts = {
            name: json.dumps(encode(one), sort_keys=True) for name, one in stated.items() if one is not None
        }
        for name, value in wanted.secrets.items():
            digest = hashlib.sha256(value.encode()).hexdigest()
            stored = digest if self._fault == "stores digests" else json.dumps(value)[1:-1]
            texts = {place: text.replace(f"secret:{name}", stored) for place, text in texts.items()}
        return texts

    async def check(self, found: Found, will: Texts) -> None:
        pass

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        before = {name: found.texts.get(name, "") for name in will}
        note = {"entry": _told(entry, Outcome.PENDING), "before": before}
        match self._fault:
            case "half" if will:
                for name, text in will.items():
                    await self._ask("PUT", {"texts": {name: text}, **note})
            case "note afterwards":
                await self._ask("PUT", {"texts": will})
                await self._ask("PUT", note)
            case "note before":
                await self._ask("PUT", note)
                await self._ask("PUT", {"texts": will})
            case "repeats":
                try:
                    await self._ask("PUT", {"texts": will, **note})
                except VnfUnreachable:
                    now = (await self.fetch()).texts
                    await self._ask("PUT", {"texts": will, **note, "before": dict(now)})
            case "says refused":
                try:
                    await self._ask("PUT", {"texts": will, **note})
                except VnfUnreachable as silence:
                    raise self._device.fault("refuses the change", silence.detail) from silence
            case _:
                await self._ask("PUT", {"texts": will, **note})

    async def keep(self, found: Found, entry: Entry) -> None:
        await self._ask("PUT", {"entry": _told(entry, Outcome.CONFIRMED)})

    async def take_back(self, found: Found, entry: Entry) -> None:
        before = (await self._ask("GET"))["before"]
        await self._ask("PUT", {"texts": before, "entry": _told(entry, Outcome.REVERTED)})

    async def health(self) -> Sequence[Probed]:
        return [Probed(name="it is a page", is_well=True)]

    async def metrics(self) -> Sequence[Sample]:
        return []

    async def _ask(self, method: str, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = b"" if told is None else json.dumps(told, sort_keys=True).encode()
        headers = {"Authorization": f"Bearer {self._device.password}"}
        answer = await self._device.rest.ask(method, "/page", headers=headers, body=body)
        return json.loads(answer.body)


def _told(entry: Entry, outcome: Outcome) -> Mapping[str, object]:
    return {"change": entry.change_id, "outcome": outcome.value, "deadline": entry.deadline_s}


def folder(directory: Path) -> Folder:
    """The adapter's folder, written there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter.yaml").write_text(DICTIONARY)
    return read(directory)


def naming(host: str, address: str) -> Configuration:
    records = [{"name": "www.example.org", "value": address}]
    return decode(Configuration, {"system": {"host_name": host}, "dns": {"records": records}})


def page(directory: Path, *, fault: str = "none", device: Page | None = None) -> Subject:
    """A device for the kit, by a module with that fault."""
    adapter, there = folder(directory), device or Page()

    async def opened() -> Adapter:
        return RestAdapter(adapter, there, device="page-1", parameters={"fault": fault})

    return Subject(
        open=opened, good=naming("one", "192.0.2.1"), other=naming("two", "192.0.2.2"), expires_s=1.0
    )
