"""PAN-OS over its XML API: the candidate configuration is written, then committed by a job.

What is compared is the running configuration (`action=show`); what is written is the difference to the
candidate (`action=get`), so what a change of ours that broke off has left there is written over. With the
change goes what ran before, packed into the comments of tags that nobody uses: whoever comes next can
bring exactly that back. The field's other way, loading a saved named configuration, would bring back
everybody's configuration of that time; ours brings back ours. A commit that PAN-OS refuses changes
nothing, and the candidate is made what runs again.

Between writing and committing another administrator may commit all that is there; then our change runs
with its entry, which says that it is unconfirmed and until when. If Farsite dies and does not come back,
a change stays: nothing on the device ends it.

Sources: see `answers`; "Configuration API" (actions show, get, set, edit, delete, move), "Commit"
(partial, by administrator), "Run Operational Mode Commands" (show jobs id) of the PAN-OS and Panorama API
Usage Guide 10.1 to 12.1. `request license info`: PaloAltoNetworks/pan-os-upgrade-assurance,
docs/panos-upgrade-assurance/api/firewall_proxy.md (commit 0785fa3) and tests/test_firewall_proxy.py (commit
013e001), the vendor's own; that `expires` may be `Never`: elastic/beats,
x-pack/metricbeat/module/panw/system/license.go (commit 80a6c2b).
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from farsite.model.errors import VnfFault
from farsite.model.licence import Licence
from farsite.vnfs.adapter import ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.adapters.panos import answers, rendering
from farsite.vnfs.adapters.panos.answers import NO_CHANGES, UNKNOWN_COMMAND, Element, Told
from farsite.vnfs.adapters.panos.rendering import ADDRESS, OURS, ROUTE, ROUTE6, RULE, SERVICE
from farsite.vnfs.objects import Object, changes, moves, objects, packed, text, unpacked
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

_DEVICE = "/config/devices/entry[@name='localhost.localdomain']"
_CHANGE, _BEFORE = f"{OURS}change", f"{OURS}before-"
_PIECE = 1000
_PLACES = {"firewall": (ADDRESS, SERVICE, RULE), "routes": (ROUTE, ROUTE6)}
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 3.0


def product(device: Device) -> "PanOs":
    return PanOs(device)


class PanOs:
    """One vsys and one virtual router of a firewall."""

    def __init__(self, device: Device) -> None:
        self._device = device
        vsys = f"{_DEVICE}/vsys/entry[@name='{device.parameters['vsys']}']"
        router = device.parameters["virtual_router"]
        table = f"{_DEVICE}/network/virtual-router/entry[@name='{router}']/routing-table"
        self._commit_within_s = float(device.parameters["commit_within"])
        self._tags = f"{vsys}/tag"
        self._at: Mapping[str, str] = {
            ADDRESS: f"{vsys}/address",
            SERVICE: f"{vsys}/service",
            RULE: f"{vsys}/rulebase/security/rules",
            ROUTE: f"{table}/ip/static-route",
            ROUTE6: f"{table}/ipv6/static-route",
        }

    async def fetch(self) -> Found:
        await self._until_idle()
        texts = await self._texts("show")
        comments = await self._comments("show")
        return Found(texts=texts, entry=_entry(comments.get(_CHANGE, "")), version="")

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        made: dict[str, str] = {}
        if wanted.document.firewall is not None:
            made["firewall"] = rendering.firewall(wanted.document.firewall)
        if wanted.document.routes is not None:
            made["routes"] = rendering.routes(wanted.document.routes)
        return made

    async def check(self, found: Found, will: Texts) -> None:
        """Validation works on the candidate, which everybody shares; a plan writes nothing there."""

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        notes = {_CHANGE: f"{Outcome.PENDING.value} {entry.change_id} {round(entry.deadline_s)}"}
        before = packed({place: found.texts.get(place, "") for place in will}, _PIECE)
        notes |= {f"{_BEFORE}{index}": piece for index, piece in enumerate(before)}
        await self._run(found, will, notes)

    async def keep(self, found: Found, entry: Entry) -> None:
        note = {_CHANGE: f"{Outcome.CONFIRMED.value} {entry.change_id} 0"}
        await self._run(found, {}, note)

    async def take_back(self, found: Found, entry: Entry) -> None:
        comments = await self._comments("show")
        kept = sorted(
            (int(name.removeprefix(_BEFORE)), piece)
            for name, piece in comments.items()
            if name.startswith(_BEFORE)
        )
        try:
            before = unpacked(piece for _, piece in kept)
        except ValueError as error:
            raise self._device.fault(
                "does not have any more what ran before the change",
                f"tags {_BEFORE}N: {error}",
                step="Somebody changed these tags. Apply a version of before.",
            ) from error
        note = {_CHANGE: f"{Outcome.REVERTED.value} {entry.change_id} 0"}
        await self._run(found, before, note)

    async def health(self) -> Sequence[Probed]:
        """Whether the static routes of ours are active."""
        ours = {
            destination
            for kind in (ROUTE, ROUTE6)
            for one in await self._entries(kind, "show")
            if (one.get("name") or "").startswith(OURS)
            and one.find("nexthop/discard") is None
            and (destination := one.findtext("destination"))
        }
        told = await self._told_by(
            "<show><routing><route></route></routing></show>",
            "<show><advanced-routing><route></route></advanced-routing></show>",
        )
        name = "every static route of ours is active"
        if not told.is_success:
            return (Probed(name=name, is_well=not ours, said=told.words if ours else ""),)
        active = {
            one.findtext("destination", "").strip()
            for one in (told.result.iter("entry") if told.result is not None else ())
            if "A" in one.findtext("flags", "")
        }
        lacking = sorted(ours - active)
        return (
            Probed(
                name=name,
                is_well=not lacking,
                said=f"not active: {', '.join(lacking)}" if lacking else "",
            ),
        )

    async def metrics(self) -> Sequence[Sample]:
        """What the firewall as a whole has at hand."""
        told = await self._told_by("<show><session><info></info></session></show>")
        figures = {
            "panos_sessions": "num-active",
            "panos_sessions_limit": "num-max",
            "panos_packets_per_second": "pps",
            "panos_kilobits_per_second": "kbps",
        }
        if told.result is None:
            return []
        return [
            Sample(name=name, value=float(value))
            for name, word in figures.items()
            if (value := told.result.findtext(word)) is not None
        ]

    async def licences(self) -> Sequence[Licence]:
        """What the firewall is licensed for; a support contract is among them."""
        told = await self._op(
            "<request><license><info></info></license></request>", "does not tell its licences"
        )
        if told.result is None or told.result.find("licenses") is None:
            raise self._device.fault("tells its licences in no form that is known", told.words)
        return [self._licence(one) for one in told.result.iterfind("licenses/entry")]

    def _licence(self, entry: Element) -> Licence:
        name, expires, expired = (
            (entry.findtext(tag) or "").strip() for tag in ("feature", "expires", "expired")
        )
        said = f"expires {expires or 'not told'}, expired {expired or 'not told'}"
        return self._device.licence(name, state=expired, expires=expires, said=said)

    # What runs, and what is candidate.

    async def _texts(self, action: str) -> Texts:
        found: dict[str, str] = {}
        for place, kinds in _PLACES.items():
            told: list[Object] = []
            for kind in kinds:
                ours = [
                    Object(kind=kind, key=name, body=answers.canonical(kind, one))
                    for one in await self._entries(kind, action)
                    if (name := one.get("name") or "").startswith(OURS)
                ]
                told += ours if kind == RULE else sorted(ours, key=lambda one: one.key)
            if told:
                found[place] = text(told)
        return found

    async def _comments(self, action: str) -> Mapping[str, str]:
        return {
            one.get("name") or "": (one.findtext("comments") or "").strip()
            for one in await self._container(self._tags, action)
            if (one.get("name") or "").startswith(OURS)
        }

    async def _entries(self, kind: str, action: str) -> Sequence[Element]:
        return await self._container(self._at[kind], action)

    async def _container(self, xpath: str, action: str) -> Sequence[Element]:
        asked = {"type": "config", "action": action, "xpath": xpath}
        told = await self._ask(asked, "cannot say what it runs")
        return answers.entries(told)

    # How it is changed.

    async def _run(self, found: Found, will: Texts, notes: Mapping[str, str]) -> None:
        """Write the candidate and commit it; refused, the candidate is made what runs again."""
        wanted = {**found.texts, **will}
        running_notes = await self._comments("show")
        try:
            await self._write(wanted, notes)
            await self._commit()
        except VnfFault:
            await self._write(found.texts, running_notes)
            raise

    async def _write(self, wanted: Texts, notes: Mapping[str, str]) -> None:
        candidate = await self._texts("get")
        for place in _PLACES:
            await self._replace(candidate.get(place, ""), wanted.get(place, ""))
        there = await self._comments("get")
        told = "".join(
            f'<entry name="{name}"><comments>{escape(comment)}</comments></entry>'
            for name, comment in notes.items()
            if there.get(name) != comment
        )
        if told:
            await self._config("set", self._tags, element=told)
        for name in sorted(set(there) - set(notes)):
            await self._config("delete", f"{self._tags}/entry[@name='{name}']")

    async def _replace(self, was: str, will: str) -> None:
        told = changes(was, will)
        for kind in (ADDRESS, SERVICE, RULE, ROUTE, ROUTE6):
            new = "".join(one.body for one in told.new if one.kind == kind)
            if new:
                await self._config("set", self._at[kind], element=new)
            for one in told.altered:
                if one.kind == kind:
                    await self._config("edit", self._xpath(one), element=one.body)
        for one in sorted(told.gone, key=lambda one: one.kind != RULE):
            await self._config("delete", self._xpath(one))
        have = [one.key for one in objects(was) if one.kind == RULE]
        want = [one.key for one in objects(will) if one.kind == RULE]
        standing = [name for name in have if name in want] + [name for name in want if name not in have]
        for name, behind in moves(standing, want):
            xpath = f"{self._at[RULE]}/entry[@name='{name}']"
            if behind:
                await self._config("move", xpath, where="after", dst=behind)
            else:
                await self._config("move", xpath, where="before", dst=standing[0])
            standing.remove(name)
            standing.insert(standing.index(behind) + 1 if behind else 0, name)

    def _xpath(self, one: Object) -> str:
        return f"{self._at[one.kind]}/entry[@name='{one.key}']"

    async def _config(self, action: str, xpath: str, **more: str) -> None:
        what = f"does not {action} {xpath.removeprefix(_DEVICE)}; nothing was changed"
        await self._ask({"type": "config", "action": action, "xpath": xpath, **more}, what)

    async def _commit(self) -> None:
        """Commit what this administrator has written, and nobody else's."""
        admin = f"<admin><member>{escape(self._device.user)}</member></admin>"
        what = "finds the configuration wrong; nothing was changed"
        told = await self._ask(
            {
                "type": "commit",
                "action": "partial",
                "cmd": f"<commit><partial>{admin}</partial></commit>",
            },
            what,
        )
        job = told.result.findtext("job") if told.result is not None else None
        if job is None:
            if told.code == NO_CHANGES or "no changes" in told.words:
                return
            raise self._device.fault(what, told.words)
        await self._done(job, what)

    async def _done(self, job: str, what: str) -> None:
        pause_s, ends = _FIRST_PAUSE_S, time.monotonic() + self._commit_within_s
        while True:
            command = f"<show><jobs><id>{job}</id></jobs></show>"
            told = await self._op(command, f"does not tell of its job {job}")
            found = told.result.find("job") if told.result is not None else None
            if found is not None and found.findtext("status") == "FIN":
                if found.findtext("result") == "OK":
                    return
                raise self._device.fault(what, answers.details(found) or f"job {job} failed")
            if time.monotonic() >= ends:
                raise self._device.fault(
                    f"has not ended its commit (job {job}) within {self._commit_within_s:g} s",
                    "a commit is in progress",
                    code=ErrorCode.BUSY,
                    step=f"Look at it: show jobs id {job}.",
                )
            await self._device.pause(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    # How it is asked.

    async def _until_idle(self) -> None:
        """A commit whose answer was lost may still change what runs."""
        told = await self._op("<show><jobs><all></all></jobs></show>", "cannot say what it is at")
        for job in told.result.iter("job") if told.result is not None else ():
            if "Commit" in job.findtext("type", "") and job.findtext("status") != "FIN":
                with contextlib.suppress(VnfFault):
                    await self._done(job.findtext("id", ""), "failed")

    async def _told_by(self, *commands: str) -> Told:
        """The answer to the first command that this version knows; else its refusal of the last."""
        told: Told | None = None
        for command in commands:
            told = await self._ask({"type": "op", "cmd": command}, "does not tell", may_refuse=True)
            if told.is_success:
                return told
        assert told is not None
        return told

    async def _op(self, command: str, what: str) -> Told:
        return await self._ask({"type": "op", "cmd": command}, what)

    async def _ask(self, parameters: Mapping[str, str], what: str, *, may_refuse: bool = False) -> Told:
        answer = await self._device.rest.ask(
            "POST",
            "/api/",
            headers={
                "X-PAN-KEY": self._device.password,
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=urlencode(parameters).encode(),
            timeout_s=self._device.timeout_s,
        )
        told = answers.read(answer.body)
        if told is None:
            raise self._device.refused(answer, what, f"HTTP {answer.status}, which is no answer of its API")
        if parameters.get("action") in ("show", "get") and told.is_absent:
            return told
        if may_refuse and told.code == UNKNOWN_COMMAND:
            return told
        if not told.is_success:
            raise self._device.refused(answer, what, told.words)
        return told


def _entry(comment: str) -> Entry | None:
    if not comment:
        return None
    outcome, change_id, deadline = comment.split(" ")
    return Entry(change_id=change_id, outcome=Outcome(outcome), deadline_s=float(deadline))
