"""The engine of adapters whose method is `netconf`: a dictionary and YANG models make an adapter.

The device does the careful part by the protocol's own means: its candidate configuration is locked, edited,
and committed with a timer that takes it back (confirmed commit with `persist`), so a session that breaks off
leaves either nothing or a change that undoes itself. Only what differs is sent, as a merge, so nothing is
replaced that a document does not own. What somebody else has pending in the candidate is left alone: the
device refuses the lock then, and who stands in the way is told.

What became of a change is kept on the device, in two objects without effect: the *intent* names the last
change that was begun and is committed before it; the *mark* is committed with the change, so it goes away
when the change does.

Two things are done otherwise than one would expect from the RFC, for what devices really do
([record 38](docs/decisions/0038-netconf-by-what-devices-do.md)): the candidate is never validated by an
operation of its own, and after a commit what runs is fetched and compared.

Source: RFC 6241, 7 and 8.3 to 8.6; RFC 6022 for who holds a lock.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from farsite.model.errors import Conflict, Invalid, NotSupported, VnfFault
from farsite.model.licence import Licence
from farsite.vnfs.adapter import (
    About,
    Backup,
    Difference,
    ErrorCode,
    Outcome,
    Plan,
    Probed,
    Running,
    Sample,
    Wanted,
)
from farsite.vnfs.between import Between, InterposedNetconf
from farsite.vnfs.dictionary import Folder, Place, Subtree
from farsite.vnfs.licences import figures_of, lacking
from farsite.vnfs.netconf import BASE, Netconf
from farsite.vnfs.netconf_operations import Datastores, data_of
from farsite.vnfs.texts import diff, digest, masked
from farsite.vnfs.yang import (
    VALUE,
    Node,
    Rules,
    are_alike,
    canonical,
    edits,
    facts,
    laid_over,
    looked_at,
    parse,
    selected,
    text,
)
from farsite.vnfs.yang_secrets import hidden, with_hashes

_VALUE = re.compile(r"farsite (intent|pending|confirmed) (\S+)(?: (\d+))?")
_COMMIT_S = "commit_within"
"""The parameter with the seconds that a commit may take."""
_IDLE_S = 1.5
_LATE_S = 10.0
"""How long after its time, and that of a commit, an unconfirmed change is left to the device."""


_Trees = Mapping[str, Node | None]
"""By the name of the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a device runs, and what became of the last change that was begun there."""

    trees: _Trees
    change_id: str = ""
    outcome: Outcome = Outcome.NONE
    deadline_s: float = 0.0
    """POSIX time at which an unconfirmed change is over, if its commit took no time."""

    @property
    def digest(self) -> str:
        """Of all that runs, also of what is not shown."""
        return digest({name: text(tree) for name, tree in self.trees.items() if tree is not None})

    def became_of(self, change_id: str) -> Outcome:
        return self.outcome if self.change_id == change_id else Outcome.NONE


class NetconfAdapter:
    """One device, managed by the dictionary of its product."""

    def __init__(
        self,
        folder: Folder,
        netconf: Netconf,
        *,
        device: str,
        parameters: Mapping[str, str],
        timeout_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`device` is what people call it; `parameters` are laid over the adapter's defaults; `timeout_s`
        bounds every operation but commits; `now` is POSIX time.

        Raises:
            Invalid: the adapter has no such parameter.
        """
        self._folder = folder
        self._name = device
        self._now = now
        self._pause: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._parameters = folder.parameters(parameters)
        self._device = Datastores(
            device=device,
            product=folder.dictionary.product,
            netconf=netconf,
            meaning=folder.meaning,
            is_mark=lambda value: _VALUE.fullmatch(value) is not None,
            timeout_s=timeout_s,
            commit_s=float(self._parameters.get(_COMMIT_S, timeout_s)),
        )
        self._subtrees = {place.name: _subtree(place) for place in folder.dictionary.places}

    def interpose(self, between: Between) -> None:
        """Put something between this adapter and its device; see `Interposable`."""
        clock, passes = self._now, self._pause
        self._device = replace(self._device, netconf=InterposedNetconf(self._device.netconf, between))
        self._now = lambda: between.now(clock)
        self._pause = lambda seconds: between.pause(seconds, passes)

    @property
    def about(self) -> About:
        return self._folder.about

    async def fetch(self) -> Running:
        """What runs now; see `Adapter.fetch`."""
        await self._device.open()
        found = await self._look()
        shown = {name: self._shown(name, tree) for name, tree in found.trees.items() if tree is not None}
        return Running(texts=shown, version=self._version(), digest=found.digest)

    async def back_up(self) -> Backup:
        """All that runs now; see `Adapter.back_up`."""
        await self._device.open()
        found = await self._look()
        texts = {name: None if tree is None else text(tree) for name, tree in found.trees.items()}
        return Backup(texts=texts, version=self._version())

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """What would change, place by place; see `Adapter.plan`."""
        await self._device.open()
        self._device.refuse_what_cannot_undo()
        trees: _Trees = {name: parse(one)[0] for name, one in running.texts.items()}
        shown = running.texts
        places = self._folder.dictionary.places if wanted.backup else self._folder.places_of(wanted.document)
        if any(self._subtrees[one.name].rules.hashed for one in places):
            # What is shown holds no hashes, and without them nobody knows whether a password changes.
            found = await self._read()
            if found.digest == running.digest:
                trees = found.trees
                shown = {name: self._shown(name, tree) for name, tree in trees.items() if tree is not None}
        will = await self._will(wanted, trees)
        # Without `test-only` the device judges when the change is made; refused then, nothing is left of it.
        tried = self._edits(trees, will) if self._device.has("validate:1.1") else ()
        for edit in tried:
            await self._device.edit(
                (edit,), "finds the configuration wrong; nothing was changed", wanted.secrets, is_trial=True
            )
        differences = tuple(
            Difference(
                place=name,
                diff=masked(diff(name, shown.get(name, ""), self._shown(name, tree)), wanted.secrets),
            )
            for name, tree in will.items()
        )
        return Plan(differences=differences, against=running.digest)

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """Make it run, unconfirmed; see `Adapter.apply`."""
        await self._device.open()
        self._device.refuse_what_cannot_undo()
        found = await self._look()
        if found.change_id == change_id:
            if found.outcome is Outcome.REVERTED:
                raise self._was_taken_back(change_id)
            return
        if found.outcome is Outcome.PENDING:
            raise Conflict(
                f"{self._name} has another change at work ({found.change_id}). Confirm or revert that first.",
                about={"code": ErrorCode.BUSY},
            )
        async with self._device.locked():
            found = await self._read()
            if found.digest != plan.against:
                raise Conflict(
                    f"What {self._name} runs was changed by somebody else since the plan was made. Plan "
                    f"again.",
                    about={"code": ErrorCode.CONFLICT},
                )
            will = await self._will(wanted, found.trees)
            await self._commit_unconfirmed(
                self._edits(found.trees, will), change_id, confirm_within_s, wanted
            )
        await self._see_that_it_runs(will, change_id, wanted)

    async def confirm(self, change_id: str) -> None:
        """Keep the change; see `Adapter.confirm`."""
        await self._device.open()
        match (await self._look()).became_of(change_id):
            case Outcome.CONFIRMED:
                return
            case Outcome.PENDING:
                await self._keep(change_id)
            case _:
                raise self._was_taken_back(change_id)

    async def revert(self, change_id: str) -> None:
        """Take the change back; see `Adapter.revert`."""
        await self._device.open()
        match (await self._look()).became_of(change_id):
            case Outcome.CONFIRMED:
                raise Conflict(
                    f"Change {change_id} of {self._name} is confirmed; roll back to a version instead."
                )
            case Outcome.PENDING:
                await self._take_back(change_id)
            case _:
                return

    async def outcome(self, change_id: str) -> Outcome:
        """What became of a change; see `Adapter.outcome`."""
        await self._device.open()
        return (await self._look()).became_of(change_id)

    async def health(self) -> Sequence[Probed]:
        """Look at each service; see `Adapter.health`."""
        await self._device.open()
        looked: list[Probed] = []
        told: dict[str, str] = {}
        for probe in self._folder.dictionary.health:
            lines = await self._state(probe.command, told)
            faults = re.finditer(probe.fault, lines) if probe.fault else ()
            wrong = sorted({one.groupdict().get("name") or one[0] for one in faults})
            is_well = not wrong and bool(re.search(probe.expect, lines, re.MULTILINE))
            said = ", ".join(wrong) or lines or "nothing"
            looked.append(Probed(name=probe.name, is_well=is_well, said="" if is_well else said[:500]))
        return looked

    async def metrics(self) -> Sequence[Sample]:
        """The figures now; see `Adapter.metrics`."""
        await self._device.open()
        samples: list[Sample] = []
        told: dict[str, str] = {}
        for metric in self._folder.dictionary.metrics:
            lines = await self._state(metric.command, told)
            for found in re.finditer(metric.pattern, lines, re.MULTILINE):
                labels = {name: value or "" for name, value in found.groupdict().items() if name != "value"}
                samples.append(Sample(name=metric.name, value=float(found["value"]), labels=labels))
        if self._folder.dictionary.licences:
            samples += await figures_of(self, self._now())
        return samples

    async def licences(self) -> Sequence[Licence]:
        """Which it has; see `Licences.licences`."""
        section = self._folder.dictionary.licences
        if section is None:
            raise lacking(self.about)
        await self._device.open()
        lines = await self._state(section.command, {})
        told = self._folder.licences_in(lines, self._now())
        if told is None:
            raise self._device.fault("tells its licences in words that cannot be read", lines[:500])
        return told

    async def close(self) -> None:
        await self._device.netconf.close()

    # What runs, and what is to run. Nothing from here on opens a session: with it would go the lock.

    async def _look(self) -> _Found:
        """What runs; a change whose time is over has been taken back."""
        found = await self._read()
        if found.outcome is not Outcome.PENDING or self._now() < found.deadline_s:
            return found
        # netconfd 2.13 looks at its timers only after a second in which nobody asked it anything.
        await self._pause(_IDLE_S)
        found = await self._read()
        if (
            found.outcome is Outcome.PENDING
            and self._now() > found.deadline_s + self._device.commit_s + _LATE_S
        ):
            # Others may ask it more often than that.
            await self._take_back(found.change_id)
            found = await self._read()
        return found

    async def _read(self) -> _Found:
        marks = self._folder.dictionary.marks
        assert marks is not None
        filters = dict.fromkeys([*(one.filter for one in self._subtrees.values()), marks.filter])
        data = await self._device.config("running", "".join(filters))
        trees: dict[str, Node | None] = {}
        for name, one in self._subtrees.items():
            tree = _root(data, one.filter)
            trees[name] = None if tree is None else canonical(looked_at(tree, one.rules), one.rules)
        values = dict(_values(_root(data, marks.filter)))
        begun, _ = values.get("intent", ("", ""))
        change_id, deadline = values.get("pending") or values.get("confirmed") or ("", "")
        if not begun:
            return _Found(trees=trees)
        if begun != change_id:
            return _Found(trees=trees, change_id=begun, outcome=Outcome.REVERTED)
        outcome = Outcome.PENDING if "pending" in values else Outcome.CONFIRMED
        return _Found(trees=trees, change_id=begun, outcome=outcome, deadline_s=float(deadline or 0))

    def _version(self) -> str:
        """The revisions of the modules that the places are stated in."""
        modules = self._device.modules
        named = dict.fromkeys(one.module for one in self._subtrees.values() if one.module in modules)
        return ", ".join(f"{name} {modules[name]}" for name in named)

    def _rules(self, place: Subtree, trees: _Trees) -> Rules:
        """Of a place, with the entries that a document owns because another place names them."""
        entries = {
            tuple(path.split("/")): frozenset(_listed(trees.get(by), self._subtrees[by].rules))
            for path, by in place.owned_by.items()
        }
        return replace(place.rules, entries=entries)

    def _shown(self, name: str, tree: Node | None) -> str:
        """The text of a place, without what nobody may read."""
        return text(hidden(tree, self._subtrees[name].rules))

    async def _will(self, wanted: Wanted, trees: _Trees) -> _Trees:
        """What every place that the document speaks of is to be."""
        # Hashing takes milliseconds a password.
        return await asyncio.to_thread(self._made, wanted, trees)

    def _made(self, wanted: Wanted, trees: _Trees) -> _Trees:
        if wanted.backup is not None:
            kept = wanted.backup.texts
            return {
                name: parse(told)[0] if (told := kept[name]) else None
                for name in self._subtrees
                if name in kept
            }
        self._folder.refuse_what_it_has_not(wanted.document)
        modules = self._device.modules
        document, will = wanted.document, dict[str, Node | None]()
        # Native text is the operator's own: it says what is to be there, and never what is not.
        made = self._folder.render(replace(wanted, document=replace(document, native={})), self._parameters)
        for name, place in self._subtrees.items():
            native = document.native.get(name, "")
            if name not in made and not native:
                continue
            if modules and place.module and place.module not in modules:
                raise NotSupported(
                    f"{self._name} does not announce the module {place.module}, in which {name} would be "
                    f"stated."
                )
            tree, rules = trees.get(name), self._rules(place, trees)
            for root in self._stated(name, made.get(name, ""), f"the template of {name}"):
                tree = laid_over(tree, root, rules)
            for root in self._stated(name, native, f"native.{name}"):
                tree = laid_over(tree, root, rules.merging)
            tree = None if tree is None else with_hashes(tree, trees.get(name), rules)
            will[name] = None if tree is None else canonical(tree, rules)
        return will

    def _stated(self, name: str, xml: str, where: str) -> tuple[Node, ...]:
        try:
            roots = parse(xml)
        except ValueError as error:
            raise Invalid(f"{where} is no XML: {error}.") from error
        root, rules = parse(self._subtrees[name].filter)[0], self._subtrees[name].rules
        for one in roots:
            if looked_at(one, rules) != one:
                only = ", ".join(f"{'/'.join(path)} {pattern}" for path, pattern in rules.only.items())
                raise Invalid(f"{where}: entries there can only have these names: {only}.")
            if (one.namespace, one.name) != (root.namespace, root.name):
                raise Invalid(
                    f'{where}: its root has to be <{root.name} xmlns="{root.namespace}">, and is '
                    f'<{one.name} xmlns="{one.namespace}">.'
                )
        return roots

    def _edits(self, trees: _Trees, will: _Trees) -> tuple[Node, ...]:
        try:
            return tuple(
                edit
                for name, tree in will.items()
                for edit in edits(trees.get(name), tree, self._subtrees[name].rules)
            )
        except ValueError as error:
            raise NotSupported(f"{self._folder.where}: {error}.") from error

    def _mark(self, state: str, change_id: str, deadline_s: float | None = None) -> tuple[Node, ...]:
        which = "intent" if state == "intent" else "change"
        value = f"farsite {state} {change_id}" + (f" {deadline_s:.0f}" if deadline_s is not None else "")
        return parse(self._folder.mark(which, value, self._parameters))

    async def _state(self, command: str, told: dict[str, str]) -> str:
        """Lines `PATH VALUE` of what a filter selects of the device's state."""
        wanted = self._folder.command(command, self._parameters)
        if wanted not in told:
            reply = await self._device.do(
                f'<get xmlns="{BASE}"><filter type="subtree">{wanted}</filter></get>',
                "does not tell its state",
            )
            told[wanted] = "\n".join(facts(data_of(reply), self._folder.dictionary.lists))
        return told[wanted]

    # The order in which a change is made.

    async def _commit_unconfirmed(
        self, steps: Sequence[Node], change_id: str, confirm_within_s: float, wanted: Wanted
    ) -> None:
        await self._device.edit(self._mark("intent", change_id), "cannot note that a change is begun")
        await self._device.commit("", "cannot note that a change is begun")
        refuses = "refuses the configuration; what ran before runs"
        for step in steps:
            await self._device.edit((step,), refuses, wanted.secrets)
        within_s = max(1, math.ceil(confirm_within_s))
        await self._device.edit(self._mark("pending", change_id, self._now() + within_s), refuses)
        await self._device.commit(
            f"<confirmed/><confirm-timeout>{within_s}</confirm-timeout><persist>{change_id}</persist>",
            "does not commit the configuration; what ran before runs",
            wanted.secrets,
        )

    async def _see_that_it_runs(self, will: _Trees, change_id: str, wanted: Wanted) -> None:
        """Devices have said "ok" to a commit that did nothing."""
        found = await self._read()
        left = [
            diff(name, self._shown(name, found.trees.get(name)), self._shown(name, tree)) or f"{name}: hashes"
            for name, tree in will.items()
            if not are_alike(found.trees.get(name), tree)
        ]
        is_there = found.became_of(change_id) is Outcome.PENDING
        if is_there and not any(left):
            return
        await self._take_back(change_id)
        words = masked("".join(left), wanted.secrets) or "the mark of the change is not there"
        raise VnfFault(
            f"{self._name} ({self._folder.dictionary.product}) said that it committed the configuration, and "
            f"does not run it; what ran before runs. What is not as it should be: {words}",
            about={"code": ErrorCode.FAILED},
        )

    async def _keep(self, change_id: str) -> None:
        """Confirm, with a mark that it was."""
        # No lock: devices refuse it while a confirmed commit is pending. A confirming commit takes along
        # whatever is in the candidate, so that is looked at.
        pending = await self._device.uncommitted()
        if pending:
            raise Conflict(
                f"{self._name} has changes in its candidate configuration that somebody made and did not "
                f"commit (in {', '.join(pending)}); confirming change {change_id} would commit them too. "
                f"Commit or discard them on the device before the change is taken back.",
                about={"code": ErrorCode.BUSY},
            )
        await self._device.edit(self._mark("confirmed", change_id), "cannot note that the change stays")
        try:
            await self._device.commit(f"<persist-id>{change_id}</persist-id>", "does not confirm the change")
        except VnfFault as fault:
            await self._device.discard()
            if (await self._read()).became_of(change_id) is Outcome.REVERTED:
                raise self._was_taken_back(change_id) from fault
            raise
        if (await self._read()).became_of(change_id) is not Outcome.CONFIRMED:
            raise self._was_taken_back(change_id)
        if self._device.has("startup:1.0"):
            await self._device.do(
                f'<copy-config xmlns="{BASE}"><target><startup/></target><source><running/></source>'
                "</copy-config>",
                "runs the change, which is confirmed, and cannot save it for its next start",
                timeout_s=self._device.commit_s,
            )

    async def _take_back(self, change_id: str) -> None:
        reply = await self._device.ask(
            f'<cancel-commit xmlns="{BASE}"><persist-id>{change_id}</persist-id></cancel-commit>',
            timeout_s=self._device.commit_s,
        )
        # It may have been at that by itself, and one has said "ok" and done nothing: what runs counts.
        if (await self._read()).became_of(change_id) is Outcome.PENDING:
            raise self._device.fault("does not take the change back", reply.words or "ok, and runs it still")

    def _was_taken_back(self, change_id: str) -> Conflict:
        return Conflict(
            f"Change {change_id} of {self._name} was taken back, or never got there: it was not confirmed in "
            f"time, or failed."
        )


def _subtree(place: Place) -> Subtree:
    assert place.data is not None
    return place.data


def _listed(node: Node | None, rules: Rules) -> Iterator[str]:
    """The entries of all leaf-lists of a place."""
    for child in node.children if node is not None else ():
        if rules.lists.get(child.name) == VALUE and child.text:
            yield child.text
        yield from _listed(child, rules)


def _root(data: tuple[Node, ...], chosen: str) -> Node | None:
    """What a filter of the dictionary selects."""
    return selected(data, parse(chosen)[0])


def _values(node: Node | None) -> list[tuple[str, tuple[str, str]]]:
    """State, change and deadline of every mark in a tree."""
    if node is None:
        return []
    told = _VALUE.fullmatch(node.text)
    if told:
        return [(told[1], (told[2], told[3] or ""))]
    return [one for child in node.children for one in _values(child)]
