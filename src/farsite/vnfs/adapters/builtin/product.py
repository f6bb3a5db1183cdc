"""Functions of our own, by their management interface.

Their configuration is one JSON document. For the vocabulary it has two places: `firewall`, which is the rules
and the default action of a firewall, and `document`, which is everything else.

Source: `farsite.functions.vnfc` and `farsite.functions.changes`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from farsite.model.configuration import Firewall, FirewallRule, Protocol, RuleAction
from farsite.model.errors import Conflict, Invalid, NotSupported
from farsite.vnfs.adapter import ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

_FIREWALL, _DOCUMENT = "firewall", "document"
_OF_FIREWALL = ("default_action", "rules")
_PROTOCOLS: Mapping[Protocol, str] = {
    Protocol.ANY: "any",
    Protocol.TCP: "tcp",
    Protocol.UDP: "udp",
    Protocol.ICMP: "icmp",
}
Json = Mapping[str, Any]


def product(device: Device) -> "Builtin":
    return Builtin(device)


class Builtin:
    """One function."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def fetch(self) -> Found:
        """Its document, in two places, and what became of the last change."""
        runs = await self._ask("GET", "/configuration", "cannot say what it runs")
        last = await self._ask("GET", "/change", "cannot say what became of the last change")
        entry = None
        if last["outcome"] != "NONE":
            entry = Entry(
                change_id=str(last["id"]),
                outcome=Outcome(str(last["outcome"])),
                deadline_s=float(last["until"]),
            )
        health = await self._ask("GET", "/health", "does not tell its health")
        return Found(texts=_texts(runs), entry=entry, version=str(health["function"]))

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        """The text of the places that the document speaks of."""
        will: dict[str, str] = {}
        if wanted.document.firewall is not None:
            if _FIREWALL not in running:
                raise NotSupported(
                    f"{self._device.name} is a built-in function that filters nothing, so it takes no "
                    f"firewall rules. Write what it takes under native.{_DOCUMENT}."
                )
            sides = cast("Json", json.loads(running[_DOCUMENT]))
            will[_FIREWALL] = _written(_firewall(wanted.document.firewall, sides))
        if stated := wanted.document.native.get(_DOCUMENT, ""):
            will[_DOCUMENT] = _written({**json.loads(running[_DOCUMENT]), **_read(stated)})
        return will

    async def check(self, found: Found, will: Texts) -> None:
        """A function takes a document whole or not at all, so there is nothing to be tried before."""

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        """Put it on trial: the function takes it back by itself."""
        document: dict[str, Any] = {}
        for text in {**found.texts, **will}.values():
            document |= json.loads(text)
        body = {"id": entry.change_id, "configuration": document, "within_s": max(1, math.ceil(within_s))}
        what = "finds the configuration wrong; what ran before runs"
        await self._ask("PUT", "/change", what, body)

    async def keep(self, found: Found, entry: Entry) -> None:
        """Confirm it."""
        await self._ask("POST", "/change/confirm", "does not confirm the change", {"id": entry.change_id})

    async def take_back(self, found: Found, entry: Entry) -> None:
        """Have what ran before run again."""
        await self._ask("POST", "/change/revert", "cannot take the change back", {"id": entry.change_id})

    async def health(self) -> Sequence[Probed]:
        """What the function says of itself; of one that forwards, whether packets pass."""
        said = await self._ask("GET", "/health", "does not tell its health")
        found = [Probed(name="it is in order", is_well=said["status"] == "ok", said=str(said["status"]))]
        passes = said.get("passes_packets")
        if passes is not None:
            found.append(
                Probed(name="it passes packets", is_well=bool(passes), said="" if passes else "none pass")
            )
        return found

    async def metrics(self) -> Sequence[Sample]:
        """Every counter of the function; those of a firewall's rules by the rule's name."""
        told = await self._ask("GET", "/counters", "does not tell its counters")
        return list(_samples(told, "builtin"))

    async def _ask(self, method: str, path: str, what: str, body: object = None) -> dict[str, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        answer = await self._device.rest.ask(
            method,
            path,
            headers={"Content-Type": "application/json"},
            body=content,
            timeout_s=self._device.timeout_s,
        )
        document = answer.json()
        if answer.status == 409:
            raise Conflict(
                f"{self._device.name} {what}. It says: {_words(answer)}", about={"code": ErrorCode.CONFLICT}
            )
        if answer.status >= 400 or not isinstance(document, dict):
            raise self._device.refused(answer, what, _words(answer))
        return cast("dict[str, Any]", document)


def _words(answer: HttpAnswer) -> str:
    """A problem document in one line, every fault with its path."""
    said = answer.json()
    if not isinstance(said, dict):
        return answer.text[:500]
    document = cast("Json", said)
    faults = [
        f"{one['path'] or 'document'}: {one['found']} (expected {one['expected']})"
        for one in document.get("faults", ())
    ]
    return " ".join((str(document.get("detail", "")), "; ".join(faults))).strip()


# -- documents ----------------------------------------------------------------------------------------------


def _texts(runs: Json) -> Texts:
    rest = {name: value for name, value in runs.items() if name not in _OF_FIREWALL}
    if "default_action" not in runs:
        return {_DOCUMENT: _written(dict(runs))}
    return {_FIREWALL: _written({name: runs[name] for name in _OF_FIREWALL}), _DOCUMENT: _written(rest)}


def _written(document: Json) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _read(stated: str) -> Json:
    try:
        document: object = json.loads(stated)
    except ValueError as error:
        raise Invalid(f"native.{_DOCUMENT} is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Invalid(f"native.{_DOCUMENT} is {type(document).__name__}; give a JSON object.")
    owned = sorted(set(cast("Json", document)) & set(_OF_FIREWALL))
    if owned:
        raise Invalid(
            f"native.{_DOCUMENT} has {', '.join(owned)}, which are of the service firewall. State them there."
        )
    return cast("Json", document)


def _firewall(stated: Firewall, sides: Json) -> Json:
    return {
        "default_action": _action(stated.default_action, "the default action"),
        "rules": [_rule(one, sides) for one in stated.rules if one.is_enabled],
    }


def _rule(rule: FirewallRule, sides: Json) -> Json:
    where = f"rule {rule.name}"
    if rule.source_ports or rule.is_logged:
        what = "source ports" if rule.source_ports else "logging"
        raise NotSupported(f"The built-in firewall knows no {what}, which {where} asks for.")
    if rule.protocol not in _PROTOCOLS:
        raise NotSupported(
            f"The built-in firewall knows no protocol {rule.protocol}, which {where} asks for. It knows "
            f"{', '.join(_PROTOCOLS.values())}; icmp stands for both versions."
        )
    found: dict[str, Any] = {
        "name": rule.name,
        "action": _action(rule.action, where),
        "protocol": _PROTOCOLS[rule.protocol],
        "direction": _direction(rule, sides),
    }
    if rule.source:
        found["source"] = rule.source
    if rule.destination:
        found["destination"] = rule.destination
    if rule.destination_ports:
        found["destination_ports"] = [_ports(one) for one in rule.destination_ports]
    return found


def _action(action: RuleAction, where: str) -> str:
    if action is RuleAction.REJECT:
        raise NotSupported(f"The built-in firewall accepts or drops; it cannot reject, as {where} says.")
    return action.value


def _direction(rule: FirewallRule, sides: Json) -> str:
    inside, outside = str(sides["inside"]), str(sides["outside"])
    known = {"": "any", inside: "inside_to_outside", outside: "outside_to_inside"}
    other = {inside: outside, outside: inside}
    came = rule.in_interface or other.get(rule.out_interface, rule.out_interface)
    if came not in known or (rule.in_interface and rule.out_interface == rule.in_interface):
        raise NotSupported(
            f"Rule {rule.name} speaks of {rule.in_interface or rule.out_interface}. The firewall's sides are "
            f"{inside} (inside) and {outside} (outside), and what comes in at one goes out at the other."
        )
    return known[came]


def _ports(stated: str) -> object:
    first, dash, last = stated.partition("-")
    return [int(first), int(last)] if dash and first != last else int(first)


# -- counters -----------------------------------------------------------------------------------------------


def _samples(told: object, name: str, labels: Mapping[str, str] | None = None) -> Iterator[Sample]:
    """Numbers by the path to them; members of a list are told apart by a label."""
    if isinstance(told, bool):
        return
    if isinstance(told, int | float):
        yield Sample(name=f"{name}_total", value=float(told), labels=labels or {})
    elif isinstance(told, dict):
        for key, value in cast("Json", told).items():
            if key not in ("rule", "name"):
                yield from _samples(value, f"{name}_{key}", labels)
    elif isinstance(told, list):
        for index, member in enumerate(cast("list[object]", told)):
            known = cast("Json", member).get("name") if isinstance(member, dict) else None
            yield from _samples(cast(object, member), name, {**(labels or {}), "of": str(known or index)})
