"""F5 BIG-IP over AS3: one application of one tenant, declared whole.

AS3 takes all of a tenant's declaration or none of it, and works on it in a task that is waited for. It
has no commit-confirm, so what was declared before is kept with the change, in the application's constants
(where F5's own FAST templates keep theirs): whoever comes next, ours or another process of ours, finds
what became of the change and can declare the former once more. An unconfirmed declaration is not saved
(`persist: false`): a restart of the device brings the former back too. If Farsite dies meanwhile and does
not come back, the change stays: nothing on the device ends it.

AS3 stores a declaration also when it changes nothing of the device (so a change of the constants alone is
kept), and refuses one whose `optimisticLockKey` is not that of what it holds.

Sources: F5Networks/f5-appsvcs-extension, docs/openapi.yaml 3.44.0 (commit 66d6e8e: /declare,
/declare/{tenant}, /task, /task/{id}; 202, 204, 422, 503), docs/declarations (Constants),
src/lib/declarationHandler.js (commit 0335a61, 2023); F5 iControl REST user guide 14.1+ for
/mgmt/tm/ltm/virtual/NAME/stats. /mgmt/tm/sys/license: f5devcentral/f5-automation-labs,
docs/lab-1/provisioning.rst (commit 11adcaa; TMOS 13.0), F5's own training; the answer of a device without
a licence: F5Networks/f5-adcaas-openstack, app/waf/test/fixtures/datasources/testrest.datasource.ts (commit
8a5a45f; TMOS 13.1.1). The end of modules that are limited in time is in no document that we know, so it is
not told.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, unquote

from farsite.model.errors import VnfFault
from farsite.model.licence import Licence, LicenceState
from farsite.vnfs.adapter import ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.adapters.f5 import onboarding, rendering
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

_DECLARE, _TASK = "/mgmt/shared/appsvcs/declare", "/mgmt/shared/appsvcs/task"
_LICENCE, _LICENSED = "/mgmt/tm/sys/license", "BIG-IP"
_PLACE, _SYSTEM = "load_balancer", "system"
_ONBOARDING = "onboarding"
"""Of a note: what DO holds once all of the change is there."""
_OF_AS3 = frozenset({"class", "template", "constants", "label", "remark", "schemaOverlay", "enable"})
_WORKING = frozenset({"in progress", "Declaration successfully submitted"})
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 2.0

Json = Mapping[str, Any]


def product(device: Device) -> "BigIp":
    return BigIp(device)


class BigIp:
    """One BIG-IP (or pair, at its floating address)."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._tenant = device.parameters["tenant"]
        self._application = device.parameters["application"]
        self._task_within_s = float(device.parameters["task_within"])
        login = base64.b64encode(f"{device.user}:{device.password}".encode()).decode()
        self._lock_key = ""
        self._held: Json = {}
        self._headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    async def fetch(self) -> Found:
        """What AS3 holds as deployed, once it has nothing more to do."""
        await self._until_idle()
        tenant = await self._deployed()
        kept = self._kept(tenant)
        self._held = await self._onboarded()
        entry = (
            Entry(
                change_id=str(kept["change"]),
                outcome=Outcome(kept["outcome"]),
                deadline_s=float(kept.get("deadline") or 0),
                is_whole=kept.get(_ONBOARDING, onboarding.text(self._held)) == onboarding.text(self._held),
            )
            if kept
            else None
        )
        told = {
            _PLACE: _text(self._owned(tenant)),
            _SYSTEM: onboarding.text(self._held),
        }
        return Found(texts={place: text for place, text in told.items() if text}, entry=entry)

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        made: dict[str, str] = {}
        if wanted.document.load_balancer is not None:
            made[_PLACE] = _text(self._named(rendering.objects(wanted.document.load_balancer)))
        if wanted.document.system is not None:
            made[_SYSTEM] = onboarding.wanted(wanted.document.system, running.get(_SYSTEM, ""))
        return made

    async def check(self, found: Found, will: Texts) -> None:
        """Let AS3 and the device judge a declaration without making it."""
        if _PLACE in will:
            await self._declare(_objects(will[_PLACE]), {}, is_trial=True)

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        """AS3 first, with what was before of both and what DO is to hold; then DO, which ends by itself what
        it cannot do."""
        before = found.texts.get(_PLACE, "")
        note = {
            "change": entry.change_id,
            "outcome": Outcome.PENDING.value,
            "deadline": round(entry.deadline_s),
            "before": {place: found.texts.get(place, "") for place in will},
            **({_ONBOARDING: will[_SYSTEM]} if _SYSTEM in will else {}),
        }
        await self._declare(_objects(will.get(_PLACE, before)), note)
        if _SYSTEM in will:
            try:
                await self._onboard(will[_SYSTEM])
            except VnfFault:
                await self._declare(_objects(before), _note(entry, Outcome.REVERTED), is_saved=True)
                raise

    async def keep(self, found: Found, entry: Entry) -> None:
        """Declare the same once more, without what was before; the device saves it."""
        running = _objects(found.texts.get(_PLACE, ""))
        await self._declare(running, _note(entry, Outcome.CONFIRMED), is_saved=True)

    async def take_back(self, found: Found, entry: Entry) -> None:
        """Declare what was before."""
        before = cast(Json, self._kept(await self._deployed()).get("before") or {})
        if _SYSTEM in before and before[_SYSTEM] != found.texts.get(_SYSTEM, ""):
            await self._onboard(str(before[_SYSTEM]))
        running = str(before.get(_PLACE, found.texts.get(_PLACE, "")))
        await self._declare(_objects(running), _note(entry, Outcome.REVERTED), is_saved=True)

    async def health(self) -> Sequence[Probed]:
        """Whether each virtual server has somebody behind it, as the device sees it."""
        looked: list[Probed] = []
        for name, answer in await self._statistics():
            stats: Json = _nested(_object(answer)) if answer.status == 200 else {}
            state = _described(stats, "status.availabilityState")
            why = _described(stats, "status.statusReason") or _words(_object(answer))
            is_well = state in ("available", "unknown")
            said = "" if is_well else f"{state or 'not told'}: {why or 'the device does not say why'}"
            looked.append(Probed(name=f"virtual server {name} is available", is_well=is_well, said=said))
        return looked

    async def metrics(self) -> Sequence[Sample]:
        figures = {
            "f5_virtual_server_connections": "clientside.curConns",
            "f5_virtual_server_connections_total": "clientside.totConns",
            "f5_virtual_server_receive_bits_total": "clientside.bitsIn",
            "f5_virtual_server_transmit_bits_total": "clientside.bitsOut",
        }
        return [
            Sample(name=metric, value=float(value), labels={"virtual_server": name})
            for name, answer in await self._statistics()
            if answer.status == 200
            for metric, word in figures.items()
            if (value := cast(Json, _nested(_object(answer)).get(word) or {}).get("value")) is not None
        ]

    async def licences(self) -> Sequence[Licence]:
        """The device's one licence, with the modules that are active by it. Without an end it is for ever."""
        answer = await self._ask("GET", _LICENCE)
        if answer.status != 200:
            raise self._refused(answer, "does not tell its licence")
        told = _object(answer)
        facts = _nested(told)
        words = cast(Json, told.get("apiRawValues") or {}).get("apiAnonymous")
        if "registrationKey" not in facts and words is not None:
            said = " ".join(str(words).split())
            return [Licence(name=_LICENSED, state=LicenceState.MISSING, said=said)]
        if "registrationKey" not in facts:
            raise self._device.fault("tells its licence in no form that is known", answer.text[:500])
        ends = _described(facts, "licenseEndDate")
        said = f"licenseEndDate {ends}" if ends else "no licenseEndDate"
        if modules := ", ".join(_active_modules(facts)):
            said += f"; active modules {modules}"
        return [self._device.licence(_LICENSED, state=None, expires=ends, said=said)]

    async def _statistics(self) -> list[tuple[str, HttpAnswer]]:
        """What the device itself tells of each virtual server of ours; 404 where it has it not."""
        told: list[tuple[str, HttpAnswer]] = []
        for key in cast(Json, (await self._deployed()).get(self._application) or {}):
            if not key.startswith("vs_"):
                continue
            path = quote(f"~{self._tenant}~{self._application}~{key}", safe="~")
            answer = await self._ask("GET", f"/mgmt/tm/ltm/virtual/{path}/stats")
            if answer.status not in (200, 404):
                raise self._refused(answer, f"does not tell how {key.removeprefix('vs_')} does")
            told.append((key.removeprefix("vs_"), answer))
        return told

    def _named(self, objects: Json) -> Json:
        return {self._application: objects} if objects else {}

    def _owned(self, tenant: Json) -> Json:
        """What the tenant has, of ours and of others: it is declared whole, so all of it is compared."""
        application = cast(Json, tenant.get(self._application) or {})
        ours = {name: one for name, one in application.items() if name not in _OF_AS3}
        others: Json = {
            name: cast(Json, one)
            for name, one in tenant.items()
            if name != self._application and name not in _OF_AS3 and isinstance(one, dict)
        }
        return {**self._named(ours), **others}

    def _kept(self, tenant: Json) -> Json:
        constants = cast(Json, cast(Json, tenant.get(self._application) or {}).get("constants") or {})
        return cast(Json, constants.get("farsite") or {})

    async def _deployed(self) -> Json:
        answer = await self._ask("GET", f"{_DECLARE}/{quote(self._tenant)}?show=base&showHash=true")
        self._lock_key = ""
        if answer.status in (204, 404):
            # No tenant of AS3, or not this one.
            return {}
        if answer.status != 200:
            raise self._refused(answer, "cannot say what it runs")
        told = _object(answer)
        tenant = cast(Json, cast(Json, told.get("declaration", told)).get(self._tenant) or {})
        self._lock_key = str(tenant.get("optimisticLockKey") or "")
        return tenant

    async def _onboarded(self) -> Json:
        """What DO holds; nothing where it is not installed."""
        answer = await self._onboarding_done("cannot say what DO holds")
        # A last declaration that failed is told with its code for as long as there is no other.
        return cast(Json, _object(answer).get("declaration") or {})

    async def _onboard(self, words: str) -> None:
        what = "finds the device-level settings wrong; DO gave back what was before"
        request = onboarding.laid_over(self._held, words)
        answer = await self._ask("POST", onboarding.PATH, request)
        if answer.status == 404:
            raise self._device.fault(
                "has no Declarative Onboarding", "404", code=ErrorCode.NOT_SUPPORTED, step="Install it."
            )
        if answer.status == 202:
            answer = await self._onboarding_done(what)
        result = _result(_object(answer))
        if answer.status >= 400 or int(result.get("code") or answer.status) >= 400:
            raise self._device.refused(answer, what, _words(result) or _words(_object(answer)))

    async def _onboarding_done(self, what: str) -> HttpAnswer:
        pause_s, ends = _FIRST_PAUSE_S, time.monotonic() + self._task_within_s
        while True:
            answer = await self._ask("GET", onboarding.PATH)
            if answer.status in (401, 403):
                raise self._refused(answer, what)
            status = str(_result(_object(answer)).get("status") or "")
            if answer.status != 202 and status not in ("RUNNING", "ROLLING_BACK", "REBOOTING"):
                return answer
            if time.monotonic() >= ends:
                raise self._device.fault(
                    f"has not ended its onboarding within {self._task_within_s:g} s; it is still at it",
                    status or "202",
                    code=ErrorCode.BUSY,
                    step=f"Look at {onboarding.PATH} on the device.",
                )
            await self._device.pause(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _declare(
        self, owned: Json, note: Json, *, is_saved: bool = False, is_trial: bool = False
    ) -> None:
        application = {
            "class": "Application",
            "template": "generic",
            "constants": {"class": "Constants", "farsite": dict(note)},
            **cast(Json, owned.get(self._application) or {}),
        }
        tenant: dict[str, Any] = {"class": "Tenant", **owned, self._application: application}
        if self._lock_key and not is_trial:
            # AS3 refuses when somebody else has declared this tenant since we looked.
            tenant["optimisticLockKey"] = self._lock_key
        declaration: dict[str, Any] = {
            "class": "ADC",
            "schemaVersion": "3.30.0",
            "id": "farsite",
            "updateMode": "selective",
            self._tenant: tenant,
        }
        if is_trial:
            declaration["controls"] = {"class": "Controls", "dryRun": True}
        request = {"class": "AS3", "action": "deploy", "persist": is_saved, "declaration": declaration}
        what = "finds the configuration wrong; nothing was changed"
        answer = await self._ask("POST", f"{_DECLARE}?async=true", request)
        if answer.status not in (200, 202):
            raise self._refused(answer, what)
        told = _object(answer)
        if answer.status == 202:
            answer = await self._done(str(told.get("id", "")), what)
            told = _object(answer)
        failed = [one for one in _results(told) if int(one.get("code") or 0) >= 400]
        if failed or answer.status >= 400:
            words = "; ".join(_words(one) for one in failed) or _words(told)
            raise self._device.fault(what, words)

    async def _done(self, task: str, what: str) -> HttpAnswer:
        pause_s, ends = _FIRST_PAUSE_S, time.monotonic() + self._task_within_s
        while True:
            answer = await self._ask("GET", f"{_TASK}/{quote(task)}")
            if answer.status != 200 or not _is_working(_object(answer)):
                return answer
            if time.monotonic() >= ends:
                raise self._device.fault(
                    f"has not ended its task {task} within {self._task_within_s:g} s; it is still at it",
                    "in progress",
                    code=ErrorCode.BUSY,
                    step=f"Look at {_TASK}/{task} on the device.",
                )
            await self._device.pause(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _until_idle(self) -> None:
        """A task whose answer was lost may still change what runs."""
        answer = await self._ask("GET", _TASK)
        if answer.status != 200:
            raise self._refused(answer, "cannot say what it is at")
        items = _object(answer).get("items")
        for item in cast(list[Json], items) if isinstance(items, list) else []:
            if _is_working(item):
                await self._done(str(item.get("id", "")), "is at something else")

    async def _ask(self, method: str, path: str, body: Json | None = None) -> HttpAnswer:
        return await self._device.rest.ask(
            method,
            path,
            headers=self._headers,
            body=b"" if body is None else json.dumps(body).encode(),
            timeout_s=self._device.timeout_s,
        )

    def _refused(self, answer: HttpAnswer, what: str) -> Exception:
        return self._device.refused(answer, what, _words(_object(answer)) or answer.text[:500])


def _text(objects: Json) -> str:
    return f"{json.dumps(objects, indent=2, sort_keys=True)}\n" if objects else ""


def _objects(text: str) -> Json:
    return cast(Json, json.loads(text)) if text else {}


def _object(answer: HttpAnswer) -> Json:
    told = answer.json()
    return cast(Json, told) if isinstance(told, dict) else {}


def _note(entry: Entry, outcome: Outcome) -> Json:
    return {"change": entry.change_id, "outcome": outcome.value}


def _result(told: Json) -> Json:
    """What DO says of its last task, in the answer or one below."""
    inner = told.get("result")
    return cast(Json, inner) if isinstance(inner, dict) else told


def _results(told: Json) -> list[Json]:
    results = told.get("results")
    listed = cast(list[object], results) if isinstance(results, list) else []
    return [cast(Json, one) for one in listed if isinstance(one, dict)]


def _is_working(task: Json) -> bool:
    return any(str(one.get("message", "")) in _WORKING for one in _results(task))


def _words(told: Json) -> str:
    """What a result or an error of AS3 says, all of it."""
    errors = told.get("errors")
    parts = [
        str(told.get("code") or ""),
        str(told.get("message") or ""),
        str(told.get("response") or ""),
        *(str(one) for one in (cast(list[object], errors) if isinstance(errors, list) else [])),
    ]
    return ": ".join(part for part in parts if part)


def _nested(told: Json) -> Json:
    """The figures in an answer of iControl REST: entries, below the name of the object."""
    entries = cast(Json, told.get("entries") or {})
    for inner in entries.values():
        nested = cast(Json, cast(Json, inner).get("nestedStats") or {})
        if nested:
            return cast(Json, nested.get("entries") or {})
    return entries


def _active_modules(facts: Json) -> Iterator[str]:
    """The names of modules, which are the last part of the addresses of their entries: in quotes, encoded."""
    for place, one in facts.items():
        if place.endswith("/active-modules"):
            inner = cast(Json, cast(Json, cast(Json, one).get("nestedStats") or {}).get("entries") or {})
            yield from (unquote(path.rsplit("/", 1)[-1]) for path in inner)


def _described(stats: Json, word: str) -> str:
    return str(cast(Json, stats.get(word) or {}).get("description") or "")
