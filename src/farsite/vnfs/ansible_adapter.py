"""The engine of adapters whose method is `ansible`: a dictionary of method `shell`, and a playbook that
changes its places.

Only what changes the device is Ansible's. A plan is its own `--check --diff` of the very playbook that is
applied, so that it shows what the modules would do and not what we think of them. What runs is read by the
shell of the same connection, since the device has to compare it with the plan under its lock, and since many
functions are looked at often: a command takes milliseconds where a playbook takes seconds.

A change by a playbook is made from here, task by task, so the device cannot make it alone as it does with
`apply` of `guard.sh`. Instead it *holds* it: it keeps what was before, and lets Ansible's tasks in through a
gate for as long as our session lives and is heard of. When the session breaks off, or the change cuts us off
in silence, the device shuts the gate, ends the task that is at it and brings back what was before.
"""

import asyncio
import shlex
from collections.abc import Mapping
from importlib import resources

from pydantic import TypeAdapter

from farsite.model.configuration import Configuration
from farsite.model.errors import NotSupported, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import Difference, ErrorCode, Outcome, Plan, Running, Wanted
from farsite.vnfs.between import Between
from farsite.vnfs.dictionary import Folder, Place
from farsite.vnfs.playbooks import Playbooks, Played, TaskChange
from farsite.vnfs.shell import Held, Ran
from farsite.vnfs.shell_adapter import packed
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.texts import diff, masked

GATE = resources.files("farsite.vnfs").joinpath("gate.sh").read_text(encoding="utf-8")
_HEARD_EVERY_S = 2.0
"""How often the device is told that we are still at it; after 10 s of silence it takes a change back."""
_DOCUMENT: TypeAdapter[Configuration] = TypeAdapter(Configuration)


class AnsibleAdapter(ShellSoftware):
    """One device, changed by the playbook of its product's folder."""

    def __init__(
        self,
        folder: Folder,
        playbooks: Playbooks,
        *,
        device: str,
        parameters: Mapping[str, str],
        keep_in: str = "/var/lib/farsite",
        timeout_s: float = 60.0,
    ) -> None:
        """As of `ShellAdapter`; `timeout_s` bounds what is not the playbook, which has its own bound."""
        super().__init__(
            folder,
            playbooks.shell,
            device=device,
            parameters=parameters,
            keep_in=keep_in,
            timeout_s=timeout_s,
        )
        self._playbooks = playbooks

    def interpose(self, between: Between) -> None:  # noqa: ARG002  (of the Protocol)
        """Refused; see `Interposable`."""
        raise NotSupported(
            f"Adapter {self._folder.dictionary.name} changes a device by a playbook, whose exchanges are "
            f"Ansible's own; nothing can lie between the two"
        )

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """What the playbook would change, task by task; see `Adapter.plan`."""
        if wanted.backup is not None:
            # A playbook makes documents run. What ran once is put back as files, as a revert does it.
            return await super().plan(wanted, running)
        texts = self._folder.render(wanted, self._parameters)
        if texts and self._folder.dictionary.check:
            await self._candidates(texts)
        played = await self._play(
            wanted,
            texts,
            is_check=True,
            through="/bin/sh",
            scratch=f"{self._directory}/scratch",
            activate="true",
        )
        if played.fault is not None:
            words = masked(played.fault.words, wanted.secrets)
            if played.fault.is_unreachable:
                raise self._lost(played.fault.task, words, "Nothing was changed.")
            raise self._fault(
                f'cannot tell what the task "{played.fault.task}" would change; nothing was changed', words
            )
        places = {self._path(one): one.name for one in self._folder.dictionary.places}
        differences = tuple(self._difference(one, places, wanted) for one in played.changes)
        return Plan(differences=differences, against=running.digest)

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """Have the playbook change it while the device holds it, unconfirmed; see `Adapter.apply`."""
        if wanted.backup is not None:
            await super().apply(wanted, plan, change_id=change_id, confirm_within_s=confirm_within_s)
            return
        texts = self._folder.render(wanted, self._parameters)
        # Lays the guard where there is none, and knows a change that is there already.
        match await self.outcome(change_id):
            case Outcome.PENDING | Outcome.CONFIRMED:
                return
            case Outcome.REVERTED:
                raise self._refusal(67, change_id, "")
            case Outcome.NONE:
                pass
        places = self._folder.places_of(wanted.document)
        archive = packed({**self._change(places, texts), "gate": GATE})
        seconds = str(max(1, round(confirm_within_s)))
        held = await self._playbooks.shell.hold(
            self._guard("hold", change_id, seconds, plan.against, str(len(archive))), given=archive
        )
        try:
            if await held.opened(timeout_s=self._timeout_s) != "open":
                ran = await self._end(held)
                if ran.status:
                    raise self._refusal(ran.status, change_id, masked(ran.words, wanted.secrets))
                return
            await self._carry_out(held, wanted, texts, change_id)
        finally:
            await held.drop()

    # How a playbook is run while the device holds the change.

    async def _carry_out(self, held: Held, wanted: Wanted, texts: Mapping[str, str], change_id: str) -> None:
        change = f"{self._directory}/changes/{change_id}"
        playing = asyncio.ensure_future(
            self._play(
                wanted,
                texts,
                is_check=False,
                through=f"{change}/gate",
                scratch=f"{change}/scratch",
                activate=shlex.join(("sh", f"{change}/activate")),
            )
        )
        try:
            await self._stay_heard(held, playing)
            played, late = playing.result(), None
        except VnfUnreachable as silence:
            if not playing.done() or silence.about.get("code") != ErrorCode.TIMEOUT:
                raise
            played, late = Played(), silence
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        if played.fault is None and late is None:
            await held.say("done")
            ran = await self._end(held)
            if ran.status:
                raise self._refusal(ran.status, change_id, masked(ran.words, wanted.secrets))
            return
        await held.say("failed")
        ran = await self._end(held)
        is_back = ran.status == 66
        what_is = "what was before is in place" if is_back else "and what was before could not be activated"
        words = "" if is_back else f"\n{masked(ran.words, wanted.secrets)}"
        if late is not None:
            raise VnfFault(
                f"{late.detail} It was ended; {what_is}.{words} Give it more time, or repeat it.",
                about={"code": ErrorCode.TIMEOUT},
            )
        assert played.fault is not None
        told = masked(played.fault.words, wanted.secrets)
        if played.fault.is_unreachable:
            raise self._lost(played.fault.task, told, f"{what_is[0].upper()}{what_is[1:]}.{words}")
        raise self._fault(f'failed at the task "{played.fault.task}"; {what_is}', f"{told}{words}")

    async def _stay_heard(self, held: Held, playing: "asyncio.Future[Played]") -> None:
        """Wait for the playbook while the device hears of us.

        Raises:
            VnfUnreachable: the session that holds the change is at its end; so is the change.
        """
        ending = asyncio.ensure_future(held.ended())
        try:
            while not playing.done():
                await asyncio.wait(
                    {playing, ending}, timeout=_HEARD_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                if ending.done():
                    ran = ending.result()
                    raise VnfUnreachable(
                        f"{self._device} let go of the change while its playbook was at work, and takes back "
                        f"what it changed. It says: {ran.words or 'nothing'}.",
                        about={"code": ErrorCode.UNREACHABLE},
                    )
                await held.say(".")
        finally:
            ending.cancel()

    async def _end(self, held: Held) -> Ran:
        try:
            return await held.ended(timeout_s=self._timeout_s)
        except TimeoutError as error:
            raise VnfUnreachable(
                f"{self._device} did not end a guarded change within {self._timeout_s:g} s; it may still be "
                f"at it.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error

    async def _play(
        self,
        wanted: Wanted,
        texts: Mapping[str, str],
        *,
        is_check: bool,
        through: str,
        scratch: str,
        activate: str,
    ) -> Played:
        playbook = self._folder.dictionary.playbook
        assert playbook is not None
        variables = {
            "document": _DOCUMENT.dump_python(wanted.document, mode="json"),
            "secrets": {f"secret:{name}": value for name, value in wanted.secrets.items()},
            "parameters": dict(self._parameters),
            "places": {one.name: self._place(one, texts) for one in self._folder.places_of(wanted.document)},
            "activate": activate,
        }
        try:
            return await self._playbooks.play(
                playbook.file,
                variables,
                texts=texts,
                is_check=is_check,
                through=through,
                scratch=scratch,
                timeout_s=playbook.within_s,
            )
        except VnfFault as fault:
            raise VnfFault(masked(fault.detail, wanted.secrets), about=fault.about) from None

    def _place(self, place: Place, texts: Mapping[str, str]) -> dict[str, str]:
        told = {"path": self._path(place), "mode": place.mode}
        return {**told, "file": f"texts/{place.name}"} if place.name in texts else told

    # What it told.

    def _difference(self, change: TaskChange, places: Mapping[str, str], wanted: Wanted) -> Difference:
        name = places.get(change.path, change.task)
        shown = self._hidden(change.diff)
        shown = shown or diff(name, self._hidden(change.before), self._hidden(change.after))
        shown = shown or f'The task "{change.task}" would change something, and does not tell what.\n'
        return Difference(place=name, diff=masked(shown, wanted.secrets))

    def _lost(self, task: str, words: str, what_is: str) -> VnfUnreachable:
        said = " ".join(words.split()) or "nothing"
        return VnfUnreachable(
            f'{self._device} ({self._folder.dictionary.product}) was lost at the task "{task}". Ansible '
            f"says: {said}. {what_is}",
            about={"code": ErrorCode.UNREACHABLE},
        )
