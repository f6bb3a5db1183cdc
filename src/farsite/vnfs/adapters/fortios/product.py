"""FortiOS over its REST API v2: objects of tables (`cmdb`), changed in one transaction.

A transaction is FortiOS's workspace mode: what is sent with its id takes effect with
`transaction-commit`, all of it, and is thrown away when it is aborted or left alone. With the change goes
what ran before, packed into the comments of addresses that nobody uses, so whoever comes next can bring
exactly that back and nothing of what others did since. FortiOS's own dead-man's switch (`cfg-save
revert`) is not used: it restarts the device, and takes every unsaved change of everybody with it. If
Farsite dies meanwhile and does not come back, the change stays: nothing on the device ends it.

A transaction of ours that a lost session leaves open is thrown away by FortiOS after five minutes (its
default; ours to state, but the documents differ in the unit); until then it locks the objects that it has
touched, and another change is refused as busy or in conflict.

Sources: Fortinet, FortiOS 7.4 New Features, "View batch transaction commands through the REST API"
(7.4.1: transaction-start, X-TRANSACTION-ID, shape of answers); Administration Guide 7.6.5, "Workspace
mode"; CLI Reference 7.4/7.6 (tables and fields, error words); CLI Reference, "execute cfg save" (what
cfg-save revert does). The reference of `monitor/license/status` is not public: answers of 7.2.5, 7.4 and
6.2.4 that owners of devices published (lab/emulators/licences.py), and of the words for a virtual machine
vm_valid (fortinet-solutions-cse/fortiosapi, tests) and vm_invalid (ry-ops/fortigate-mcp-server).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urlencode

from farsite.model.errors import FarsiteError, VnfFault
from farsite.model.licence import Licence
from farsite.vnfs.adapter import ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.adapters.fortios import rendering
from farsite.vnfs.adapters.fortios.rendering import (
    ADDRESS,
    ADDRESS6,
    FIELDS,
    OURS,
    POLICY,
    REJECTS,
    ROUTE,
    ROUTE6,
    SERVICE,
    body,
    key_of,
)
from farsite.vnfs.objects import Object, changes, moves, objects, packed, text, unpacked
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

_CHANGE, _BEFORE = f"{OURS}-change", f"{OURS}-before-"
_NOWHERE = "0.0.0.0 255.255.255.255"
"""Of the addresses that only bear comments: no packet has it."""
_PIECE = 240
_KEYS = {POLICY: "policyid", ROUTE: "seq-num", ROUTE6: "seq-num"}
_COMMENTS = {POLICY: "comments", ROUTE: "comment", ROUTE6: "comment"}
_PLACES = {"firewall": (ADDRESS, ADDRESS6, SERVICE, POLICY), "routes": (ROUTE, ROUTE6)}
_WORDS = {
    -1: "invalid length of value",
    -3: "entry not found",
    -4: "maximum number of entries has been reached",
    -5: "a duplicate entry already exists",
    -8: "invalid IP address",
    -9: "invalid IP netmask",
    -10: "invalid gateway address",
    -14: "permission denied",
    -15: "duplicate entry found",
    -23: "entry is used",
    -37: "permission denied",
    -56: "empty value is not allowed",
    -61: "input is not as expected",
    -651: "input value is invalid",
}
"""What FortiOS's own numbers mean, where an answer has nothing but one."""

Json = Mapping[str, Any]


def product(device: Device) -> "FortiOs":
    return FortiOs(device)


class FortiOs:
    """One VDOM of a FortiGate."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._vdom = device.parameters["vdom"]
        self._rows: dict[str, list[Json]] = {}
        self._version = ""

    async def fetch(self) -> Found:
        for kinds in _PLACES.values():
            for kind in kinds:
                self._rows[kind] = await self._table(kind)
        found = {place: text(self._ours(kinds)) for place, kinds in _PLACES.items()}
        texts = {place: told for place, told in found.items() if told}
        return Found(texts=texts, entry=self._entry(), version=self._version)

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        made: dict[str, str] = {}
        if wanted.document.firewall is not None:
            made["firewall"] = rendering.firewall(wanted.document.firewall)
        if wanted.document.routes is not None:
            made["routes"] = rendering.routes(wanted.document.routes)
        return made

    async def check(self, found: Found, will: Texts) -> None:
        """FortiOS judges each object when it is sent; a transaction that is aborted leaves nothing."""

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        note = f"{Outcome.PENDING.value} {entry.change_id} {round(entry.deadline_s)}"
        before = packed({place: found.texts.get(place, "") for place in will}, _PIECE)
        await self._change(found, will, note, before)

    async def keep(self, found: Found, entry: Entry) -> None:
        await self._change(found, {}, f"{Outcome.CONFIRMED.value} {entry.change_id} 0", [])

    async def take_back(self, found: Found, entry: Entry) -> None:
        kept = sorted(
            (row for row in self._rows[ADDRESS] if str(row.get("name", "")).startswith(_BEFORE)),
            key=lambda row: int(str(row["name"]).removeprefix(_BEFORE)),
        )
        try:
            before = unpacked(str(row.get("comment", "")) for row in kept)
        except ValueError as error:
            raise self._device.fault(
                "does not have any more what ran before the change",
                f"addresses {_BEFORE}N: {error}",
                step="Somebody changed these addresses. Apply a version of before.",
            ) from error
        await self._change(found, before, f"{Outcome.REVERTED.value} {entry.change_id} 0", [])

    async def health(self) -> Sequence[Probed]:
        """Whether the routes that are ours are in the routing table."""
        answer = await self._ask("GET", "/api/v2/monitor/router/ipv4", "does not tell its routes")
        active = {rendering.prefix_of(str(one.get("ip_mask", ""))) for one in _list(answer.get("results"))}
        lacking: list[str] = []
        for row in await self._table(ROUTE):
            if not _is_ours(ROUTE, row) or row.get("blackhole") == "enable":
                continue
            prefix = rendering.prefix_of(str(row.get("dst", "")))
            if prefix not in active:
                lacking.append(prefix)
        return (
            Probed(
                name="every static route of ours is in the routing table",
                is_well=not lacking,
                said=f"not there: {', '.join(lacking)}" if lacking else "",
            ),
        )

    async def metrics(self) -> Sequence[Sample]:
        """What the policies of ours have let through."""
        ours = [row for row in await self._table(POLICY) if _is_ours(POLICY, row)]
        names = {row.get("policyid"): row.get("name") for row in ours}
        try:
            answer = await self._ask("GET", "/api/v2/monitor/firewall/policy", "does not tell its counters")
        except VnfFault as fault:
            if fault.about.get("code") == ErrorCode.NOT_SUPPORTED:
                return []
            raise
        figures = {"fortios_policy_bytes_total": "bytes", "fortios_policy_packets_total": "packets"}
        return [
            Sample(name=metric, value=float(one[word]), labels={"policy": str(names[one.get("policyid")])})
            for one in _list(answer.get("results"))
            if one.get("policyid") in names
            for metric, word in figures.items()
            if word in one
        ]

    async def licences(self) -> Sequence[Licence]:
        """What FortiGuard, FortiCare and the virtual machine are licensed for, by the names of FortiOS."""
        answer = await self._ask("GET", "/api/v2/monitor/license/status", "does not tell its licences")
        results = answer.get("results")
        if not isinstance(results, dict):
            raise self._device.fault("tells its licences in no form that is known", str(results)[:500])
        return [self._licence(name, told) for name, told in _licences(cast(Json, results))]

    def _licence(self, name: str, told: Json) -> Licence:
        state, expires = str(told["status"]), str(told.get("expires", ""))
        said = f"status {state}" + (f", expires {expires}" if expires else "")
        return self._device.licence(name, state=state, expires=expires, said=said)

    # What runs.

    def _ours(self, kinds: Sequence[str]) -> list[Object]:
        found: list[Object] = []
        for kind in kinds:
            rows = [row for row in self._rows[kind] if _is_ours(kind, row)]
            told = [_object(kind, row) for row in rows]
            found += told if kind == POLICY else sorted(told, key=lambda one: one.key)
        return found

    def _entry(self) -> Entry | None:
        note = next((row for row in self._rows[ADDRESS] if row.get("name") == _CHANGE), None)
        if note is None:
            return None
        outcome, change_id, deadline = str(note.get("comment", "")).split(" ")
        return Entry(change_id=change_id, outcome=Outcome(outcome), deadline_s=float(deadline))

    # How it is changed.

    async def _change(self, found: Found, will: Texts, note: str, before: Sequence[str]) -> None:
        """All in one transaction, or nothing."""
        started = await self._ask(
            "POST",
            "/api/v2/cmdb?action=transaction-start",
            "does not begin a transaction",
            {},
        )
        number = str(cast(Json, started.get("results") or {}).get("transaction-id", ""))
        transaction = {"X-TRANSACTION-ID": number}
        try:
            for place, wanted in will.items():
                await self._replace(found.texts.get(place, ""), wanted, transaction)
            await self._note(note, before, transaction)
            await self._ask(
                "POST",
                "/api/v2/cmdb?action=transaction-commit",
                "finds the configuration wrong; nothing was changed",
                {},
                transaction,
            )
        except FarsiteError:
            # What is left open is thrown away by FortiOS after its timeout.
            with contextlib.suppress(FarsiteError):
                await self._ask(
                    "POST", "/api/v2/cmdb?action=transaction-abort", "does not abort", {}, transaction
                )
            raise

    async def _replace(self, was: str, will: str, transaction: Mapping[str, str]) -> None:
        told = changes(was, will)
        numbers = {kind: self._numbers(kind) for kind in _KEYS}
        for one in told.new:
            await self._put("POST", one.kind, "", self._row(one, numbers), one, transaction)
        for one in told.altered:
            key = numbers[one.kind][one.key] if one.kind in numbers else one.key
            await self._put("PUT", one.kind, str(key), json.loads(one.body), one, transaction)
        gone = sorted(told.gone, key=lambda one: one.kind != POLICY)
        have = [one.key for one in objects(was) if one.kind == POLICY]
        want = [one.key for one in objects(will) if one.kind == POLICY]
        for one in gone:
            key = numbers[one.kind][one.key] if one.kind in numbers else one.key
            await self._put("DELETE", one.kind, str(key), None, one, transaction)
        standing = [name for name in have if name in want] + [name for name in want if name not in have]
        for name, behind in moves(standing, want):
            numbered = numbers[POLICY]
            where = {"after": str(numbered[behind])} if behind else {"before": str(numbered[standing[0]])}
            await self._ask(
                "PUT",
                f"/api/v2/cmdb/{POLICY}/{numbered[name]}?{urlencode({'action': 'move', **where})}",
                f'does not move the policy "{name}"; nothing was changed',
                {},
                transaction,
            )
            standing.remove(name)
            standing.insert(standing.index(behind) + 1 if behind else 0, name)

    def _numbers(self, kind: str) -> dict[str, int]:
        """What numbers FortiOS has given to ours."""
        ours = [row for row in self._rows[kind] if _is_ours(kind, row)]
        return {_object(kind, row).key: int(row[_KEYS[kind]]) for row in ours}

    def _row(self, one: Object, numbers: dict[str, dict[str, int]]) -> Json:
        content: dict[str, Any] = json.loads(one.body)
        if one.kind not in _KEYS:
            return {"name": one.key, **content}
        key = _KEYS[one.kind]
        taken = [int(row.get(key) or 0) for row in self._rows[one.kind]] + list(numbers[one.kind].values())
        numbers[one.kind][one.key] = number = max(taken, default=0) + 1
        return {key: number, _COMMENTS[one.kind]: OURS, **content}

    async def _note(self, note: str, before: Sequence[str], transaction: Mapping[str, str]) -> None:
        there = {str(row.get("name", "")) for row in self._rows[ADDRESS]}
        wanted = {_CHANGE: note, **{f"{_BEFORE}{index}": piece for index, piece in enumerate(before)}}
        for name, comment in wanted.items():
            one = Object(kind=ADDRESS, key=name, body=comment)
            row = {"name": name, "type": "ipmask", "subnet": _NOWHERE, "comment": comment}
            method = "PUT" if name in there else "POST"
            await self._put(method, ADDRESS, name if method == "PUT" else "", row, one, transaction)
        for name in sorted(there):
            if name.startswith(_BEFORE) and name not in wanted:
                one = Object(kind=ADDRESS, key=name, body="")
                await self._put("DELETE", ADDRESS, name, None, one, transaction)

    async def _put(
        self, method: str, kind: str, key: str, row: Json | None, one: Object, transaction: Mapping[str, str]
    ) -> None:
        verb = {"POST": "make", "PUT": "change", "DELETE": "delete"}[method]
        path = f"/api/v2/cmdb/{kind}" + (f"/{quote(key, safe='')}" if key else "")
        what = f"does not {verb} {kind} {one.key}; nothing was changed"
        await self._ask(method, path, what, row, transaction)

    # How it is asked.

    async def _table(self, kind: str) -> list[Json]:
        try:
            answer = await self._ask("GET", f"/api/v2/cmdb/{kind}", f"cannot say what it has of {kind}")
        except VnfFault as fault:
            if fault.about.get("code") == ErrorCode.NOT_SUPPORTED:
                # A table of IPv6 on a device that has it not; writing to it is refused in its own words.
                return []
            raise
        self._version = str(answer.get("version") or self._version)
        return _list(answer.get("results"))

    async def _ask(
        self,
        method: str,
        path: str,
        what: str,
        content: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        with_vdom = f"{path}{'&' if '?' in path else '?'}vdom={quote(self._vdom)}"
        answer = await self._device.rest.ask(
            method,
            with_vdom,
            headers={
                "Authorization": f"Bearer {self._device.password}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
            body=b"" if content is None else json.dumps(content).encode(),
            timeout_s=self._device.timeout_s,
        )
        told = answer.json()
        content = cast(Json, told) if isinstance(told, dict) else {}
        if answer.status != 200 or content.get("status") != "success":
            raise self._refused(method, answer, content, what)
        return content

    def _refused(self, method: str, answer: HttpAnswer, told: Json, what: str) -> FarsiteError:
        number = told.get("error")
        words = f"HTTP {answer.status}"
        if isinstance(number, int):
            words += f", error {number} ({_WORDS.get(number, 'see the CLI reference')})"
        cli = told.get("cli_error")
        words += f": {cli}" if cli else ""
        if answer.status == 404 and method == "GET":
            return self._device.fault(what, words, code=ErrorCode.NOT_SUPPORTED)
        return self._device.refused(answer, what, words)


def _licences(results: Json) -> Iterator[tuple[str, Json]]:
    """What has a state of its own. That of a cloud service is whether somebody has logged in there; its
    licences are the levels of support below."""
    for name, told in results.items():
        if not isinstance(told, dict):
            continue
        one = cast(Json, told)
        if one.get("type") != "cloud_service_status":
            if "status" in one:
                yield name, one
            continue
        support = one.get("support")
        for level, of_level in cast(Json, support).items() if isinstance(support, dict) else ():
            if isinstance(of_level, dict) and "status" in of_level:
                yield f"{name}/{level}", cast(Json, of_level)


def _is_ours(kind: str, row: Json) -> bool:
    if kind in _COMMENTS:
        return str(row.get(_COMMENTS[kind]) or "").startswith(OURS)
    name = str(row.get("name") or "")
    return name.startswith(f"{OURS}-") and name != _CHANGE and not name.startswith(_BEFORE)


def _object(kind: str, row: Json) -> Object:
    """A row as we would have written it: the fields that are ours, without what is empty or FortiOS's own."""
    content: dict[str, Any] = {}
    for field in FIELDS[kind]:
        value = row.get(field)
        if isinstance(value, list):
            value = [{"name": str(cast(Json, one).get("name", ""))} for one in cast(list[object], value)]
        if kind == POLICY or field == "tcp-portrange" or field == "udp-portrange":
            content[field] = value if value is not None else ([] if "addr" in field else "")
        elif value not in (None, "", "0.0.0.0", "::", 0):  # noqa: S104 - an absent gateway
            content[field] = value
    if kind == POLICY and row.get(REJECTS) == "enable":
        content[REJECTS] = "enable"
    if kind == SERVICE and content.get("protocol") == "IP":
        content = {"protocol": "IP", "protocol-number": content.get("protocol-number", 0)}
    elif kind == SERVICE:
        content.pop("protocol-number", None)
    told = body(content)
    if kind == POLICY:
        return Object(kind=kind, key=str(row.get("name", "")), body=told)
    return Object(kind=kind, key=key_of(told) if kind in _KEYS else str(row["name"]), body=told)


def _list(value: object) -> list[Json]:
    told = cast(list[object], value) if isinstance(value, list) else []
    return [cast(Json, one) for one in told if isinstance(one, dict)]
