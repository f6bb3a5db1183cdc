"""VyOS over its HTTPS API, with the commit-confirm of the device itself.

A change is one request `/configure` with all its commands and `confirm_time`: VyOS commits them and takes
them back after that many minutes unless `/config-file` is told `confirm`. If Farsite dies meanwhile the
device is back by itself: with `system config-management commit-confirm action reload` by loading its last
archived configuration, else (the default) by restarting into the saved one. What became of a change is
told by two empty network groups, which have no effect: `farsite-intent` names the last change that was
begun, and is committed before it; `farsite-change` is committed with it, so it goes away when the change
does.

Three things of the API that one would not expect, from its source: `/configure` commits before it arms
the timer, so where another confirm is pending it answers 400 and the change stands, unguarded; a device
whose API does not know `confirm_time` ignores it; and a commit that fails may have done a part. In all
three what ran before is loaded again.

Sources: VyOS documentation, Automation, VyOS API (docs/automation/vyos-api.md of vyos/vyos-documentation,
commit 580f68d, 2025; sections /retrieve, /configure, /config-file, Commit-confirm, /info, /show);
vyos/vyos-1x, src/services/api/rest/{routers,models}.py (commits 1736807, 1362e6a) and
python/vyos/config_mgmt.py for the words of answers.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import urlencode

from farsite.model.errors import Conflict, NotSupported, VnfFault
from farsite.vnfs.adapter import ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.adapters.vyos import rendering
from farsite.vnfs.adapters.vyos.lines import below, commands, paths, text
from farsite.vnfs.rest_product import Device, Entry, Found, Texts

_INTENT, _CHANGE = "farsite-intent", "farsite-change"
_GROUPS = ("firewall", "group", "network-group")
_OWNED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "routes": (("protocols", "static", "route"), ("protocols", "static", "route6")),
    "firewall": (("firewall", "ipv4", "forward", "filter"), ("firewall", "ipv6", "forward", "filter")),
    "nat": (("nat", "source"), ("nat", "destination"), ("nat", "static")),
}
_FLOORS: Mapping[str, int] = {"routes": 3, "firewall": 4, "nat": 2}
_OF_INTERFACES = frozenset({"address", "description", "mtu", "disable"})
_GUARDED = re.compile(r"commit-confirm|minutes to confirm", re.IGNORECASE)
_PENDING = re.compile(r"Another confirm is pending", re.IGNORECASE)


def product(device: Device) -> "Vyos":
    return Vyos(device)


class Vyos:
    """One VyOS router."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def fetch(self) -> Found:
        """What runs, and what became of the last change."""
        tree = await self._ask("/retrieve", {"op": "showConfig", "path": []}, "cannot say what it runs")
        texts = {
            name: text(path for root in roots for path in paths(below(tree, *root), root) if path != root)
            for name, roots in _OWNED.items()
        }
        interfaces = paths(below(tree, "interfaces"), ("interfaces",))
        texts["interfaces"] = text(path for path in interfaces if _is_ours(path))
        return Found(texts=_without_empty(texts), entry=_entry(tree), version=await self._version())

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        return rendering.texts(wanted.document, running)

    async def check(self, found: Found, will: Texts) -> None:
        """The API has no way to try a commit."""

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        """Commit with the device's own dead-man's switch."""
        await self._configure([_mark(_INTENT, entry.change_id)], "cannot note that a change is begun")
        before = self._device.parameters["before"]
        await self._ask("/config-file", {"op": "save", "file": before}, "cannot keep what it runs")
        told = [
            one
            for name, new in will.items()
            for one in commands(found.texts.get(name, ""), new, _FLOORS.get(name))
        ]
        told.append(_mark(_CHANGE, f"pending {entry.change_id} {round(entry.deadline_s)}"))
        try:
            said = await self._configure(
                told,
                "finds the configuration wrong; what ran before runs",
                minutes=max(1, round(within_s / 60)),
            )
        except VnfFault as fault:
            await self._undo_what_a_refused_commit_left(found)
            if _PENDING.search(fault.detail):
                raise Conflict(
                    f"{self._device.name} has a commit-confirm of somebody else at work; what ran before "
                    f"runs. Confirm that first, or wait until it is over.",
                    about={"code": ErrorCode.BUSY},
                ) from fault
            raise
        if not _GUARDED.search(said):
            await self._load_before()
            raise NotSupported(
                f"{self._device.name} ({self._device.product}) does not know confirm_time: it committed "
                f"without a word of commit-confirm. What ran before runs again. Upgrade it to VyOS 1.5."
            )

    async def keep(self, found: Found, entry: Entry) -> None:
        """Stop the device's timer, note it, and save."""
        await self._ask("/config-file", {"op": "confirm"}, "does not confirm the change")
        now = (await self.fetch()).entry
        if now is None or now.change_id != entry.change_id or now.outcome is Outcome.REVERTED:
            raise Conflict(f"Change {entry.change_id} of {self._device.name} was taken back by the device.")
        await self._configure([_mark(_CHANGE, f"confirmed {entry.change_id} 0")], "cannot note the change")
        await self._ask("/config-file", {"op": "save"}, "cannot save its configuration")

    async def take_back(self, found: Found, entry: Entry) -> None:
        """Load what ran before, then stop the timer: in the other order a death of ours in between would
        leave the change without anybody who takes it back."""
        await self._load_before()
        await self._ask("/config-file", {"op": "confirm"}, "does not stop its timer")

    async def health(self) -> Sequence[Probed]:
        """Whether an interface that is to be up has lost its link."""
        told = await self._show("interfaces")
        down = [name for name, admin, link in _interfaces(told) if admin == "u" and link == "D"]
        return (
            Probed(
                name="every interface that is to be up has a link",
                is_well=not down,
                said=f"no link: {', '.join(down)}" if down else "",
            ),
        )

    async def metrics(self) -> Sequence[Sample]:
        """How many interfaces are in which state."""
        states = _interfaces(await self._show("interfaces"))
        return [
            Sample(
                name="vyos_interface_up",
                value=float(link == "u" and admin == "u"),
                labels={"interface": name},
            )
            for name, admin, link in states
        ]

    async def _undo_what_a_refused_commit_left(self, found: Found) -> None:
        now = await self.fetch()
        was = found.entry
        # Of the entry too: a refused commit may have done the part that has it.
        is_marked = now.entry is not None and now.entry.outcome is Outcome.PENDING and now.entry != was
        if now.texts != found.texts or is_marked:
            await self._load_before()

    async def _load_before(self) -> None:
        before = self._device.parameters["before"]
        await self._ask("/config-file", {"op": "load", "file": before}, "cannot load what ran before")

    async def _configure(
        self, told: Sequence[Mapping[str, object]], what: str, *, minutes: int | None = None
    ) -> str:
        data: object = list(told) if minutes is None else {"commands": list(told), "confirm_time": minutes}
        return str(await self._ask("/configure", data, what) or "")

    async def _show(self, *path: str) -> str:
        return str(await self._ask("/show", {"op": "show", "path": list(path)}, "does not show its state"))

    async def _version(self) -> str:
        answer = await self._device.rest.ask("GET", "/info", timeout_s=self._device.timeout_s)
        # Without it before VyOS 1.5; nothing hangs on it.
        return str(below(answer.json(), "data", "version") or "") if answer.status == 200 else ""

    async def _ask(self, path: str, data: object, what: str) -> object:
        answer = await self._device.rest.ask(
            "POST",
            path,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode({"data": json.dumps(data), "key": self._device.password}).encode(),
            timeout_s=self._device.timeout_s,
        )
        told = answer.json()
        if not isinstance(told, dict):
            raise self._device.refused(answer, what, f"HTTP {answer.status}, which is no answer of its API")
        content = cast(Mapping[str, object], told)
        if answer.status != 200 or not content.get("success"):
            raise self._device.refused(answer, what, html.unescape(str(content.get("error") or "")))
        return content.get("data")


def _mark(group: str, words: str) -> Mapping[str, object]:
    return {"op": "set", "path": [*_GROUPS, group, "description", words]}


def _entry(tree: object) -> Entry | None:
    def description(group: str) -> str:
        said = below(tree, *_GROUPS, group, "description")
        return said if isinstance(said, str) else ""

    begun = description(_INTENT)
    state, _, rest = description(_CHANGE).partition(" ")
    change_id, _, deadline = rest.partition(" ")
    if not begun:
        return None
    if change_id != begun:
        return Entry(change_id=begun, outcome=Outcome.REVERTED)
    outcome = Outcome.CONFIRMED if state == "confirmed" else Outcome.PENDING
    return Entry(change_id=begun, outcome=outcome, deadline_s=float(deadline or 0))


def _is_ours(path: tuple[str, ...]) -> bool:
    """Whether a fact below `interfaces` is one of those that documents state."""
    at = 5 if len(path) > 5 and path[3] == "vif" else 3
    if len(path) <= at or path[at] not in _OF_INTERFACES:
        return False
    # Those of DHCP are words.
    return path[at] != "address" or "/" in path[at + 1]


def _without_empty(texts: Mapping[str, str]) -> Mapping[str, str]:
    return {name: found for name, found in texts.items() if found}


def _interfaces(told: str) -> list[tuple[str, str, str]]:
    """Name, administrative state (u, A) and link (u, D) of the lines of `show interfaces`."""
    return re.findall(r"^(\S+)\s.*\s([uAD])/([uD])\b", told, re.MULTILINE)
