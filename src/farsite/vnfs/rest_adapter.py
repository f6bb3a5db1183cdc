"""The engine of adapters whose method is `rest`: what every product over HTTP has in common.

`guard.sh` of the shell adapters runs on the device and needs nobody. Few devices offer that over HTTP, so
here the order is what keeps a mistake small: what runs is fetched and compared, what was there is kept on
the device before anything changes, and with the change goes an entry that says until when it stands.
Where the product takes an unconfirmed change back by itself, it is let (`takes_back: itself` in the
dictionary); where nothing on the device can (`takes_back: at the next contact`), whoever of us talks to
it next does it before anything else: the operation that was at it, its successor after a crash, or the
watch over all functions. An adapter says which in its description, and what that means when a change cuts
us off.
"""

import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from farsite.model.errors import Conflict, Invalid
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
from farsite.vnfs.between import Between, InterposedRest
from farsite.vnfs.dictionary import Folder, TakesBack
from farsite.vnfs.licences import Licences, LicenceWords, figures_of, lacking
from farsite.vnfs.rest import Rest
from farsite.vnfs.rest_product import Device, Entry, Found, Product, Texts
from farsite.vnfs.texts import diff, digest, masked

_LATE_S = 180.0
"""How long after its time a device that takes changes back by itself may still be at it (it may restart)."""


class RestAdapter:
    """One device, managed by the module of its product."""

    def __init__(
        self,
        folder: Folder,
        rest: Rest,
        *,
        device: str,
        user: str = "",
        password: str = "",
        parameters: Mapping[str, str],
        timeout_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`device` is what people call it; `password` is what the product takes (a password, key or token);
        `timeout_s` bounds every single exchange; `now` is POSIX time.

        Raises:
            Invalid: the adapter has no such parameter, or its module is not there or has not what the
                dictionary says.
        """
        self._folder = folder
        self._rest = rest
        self._now = now
        section = folder.dictionary.licences
        self._device = Device(
            name=device,
            product=folder.dictionary.product,
            rest=rest,
            user=user,
            password=password,
            parameters=folder.parameters(parameters),
            meaning=folder.meaning,
            licence_words=section.words if section else LicenceWords(),
            timeout_s=timeout_s,
            now=now,
        )
        self._product = _product(folder, self._device)
        if section is not None and not isinstance(self._product, Licences):
            raise Invalid(
                f"{folder.where} has a section licences, and the product of its module "
                f"{folder.dictionary.module} has no method licences."
            )

    def interpose(self, between: Between) -> None:
        """Put something between this adapter and its device; see `Interposable`."""
        clock, passes = self._now, self._device.pause

        async def pause(seconds: float) -> None:
            await between.pause(seconds, passes)

        self._rest = InterposedRest(self._rest, between)
        self._now = lambda: between.now(clock)
        self._device = replace(self._device, rest=self._rest, now=self._now, pause=pause)
        self._product = _product(self._folder, self._device)

    @property
    def about(self) -> About:
        return self._folder.about

    async def fetch(self) -> Running:
        """What runs now; see `Adapter.fetch`."""
        found = await self._look()
        return Running(texts=found.texts, version=found.version, digest=digest(found.texts))

    async def back_up(self) -> Backup:
        """All that runs now; see `Adapter.back_up`."""
        found = await self._look()
        return Backup(texts=dict(found.texts), version=found.version)

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """What would change, place by place; see `Adapter.plan`."""
        self._folder.refuse_what_it_has_not(wanted.document)
        will = self._will(wanted, running.texts)
        await self._product.check(
            Found(texts=running.texts, version=running.version), _changed(running.texts, will)
        )
        differences = tuple(
            Difference(place=name, diff=masked(diff(name, running.texts.get(name, ""), text), wanted.secrets))
            for name, text in will.items()
        )
        return Plan(differences=differences, against=running.digest)

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """Make it run, unconfirmed; see `Adapter.apply`."""
        found = await self._look(change_id)
        if found.entry is not None and found.entry.change_id == change_id:
            if found.entry.outcome is Outcome.REVERTED:
                raise self._was_taken_back(change_id)
            return
        if found.entry is not None and found.entry.outcome is Outcome.PENDING:
            raise Conflict(
                f"{self._device.name} has another change at work ({found.entry.change_id}). Confirm or "
                f"revert that first.",
                about={"code": ErrorCode.BUSY},
            )
        if digest(found.texts) != plan.against:
            raise Conflict(
                f"What {self._device.name} runs was changed by somebody else since the plan was made. Plan "
                f"again.",
                about={"code": ErrorCode.CONFLICT},
            )
        will = _changed(found.texts, self._will(wanted, found.texts))
        least_s = self._folder.dictionary.confirm_least_s
        within_s = least_s * max(1, math.ceil(confirm_within_s / least_s))
        entry = Entry(change_id=change_id, outcome=Outcome.PENDING, deadline_s=self._now() + within_s)
        await self._product.install(found, will, entry, within_s=within_s)

    async def confirm(self, change_id: str) -> None:
        """Keep the change; see `Adapter.confirm`."""
        found = await self._look(change_id)
        entry = found.entry
        if entry is None or entry.change_id != change_id or entry.outcome is Outcome.REVERTED:
            raise self._was_taken_back(change_id)
        if entry.outcome is Outcome.PENDING:
            await self._product.keep(found, entry)

    async def revert(self, change_id: str) -> None:
        """Take the change back; see `Adapter.revert`."""
        found = await self._look()
        entry = found.entry
        if entry is None or entry.change_id != change_id:
            return
        if entry.outcome is Outcome.CONFIRMED:
            raise Conflict(
                f"Change {change_id} of {self._device.name} is confirmed; roll back to a version instead."
            )
        if entry.outcome is Outcome.PENDING:
            await self._product.take_back(found, entry)

    async def outcome(self, change_id: str) -> Outcome:
        """What became of a change; see `Adapter.outcome`."""
        entry = (await self._look(change_id)).entry
        return entry.outcome if entry is not None and entry.change_id == change_id else Outcome.NONE

    async def health(self) -> Sequence[Probed]:
        """Look at each service; see `Adapter.health`."""
        return await self._product.health()

    async def metrics(self) -> Sequence[Sample]:
        """The figures now; see `Adapter.metrics`."""
        samples = await self._product.metrics()
        if self._folder.dictionary.licences is None:
            return samples
        return [*samples, *await figures_of(self, self._now())]

    async def licences(self) -> Sequence[Licence]:
        """Which it has; see `Licences.licences`."""
        if self._folder.dictionary.licences is None or not isinstance(self._product, Licences):
            raise lacking(self.about)
        return await self._product.licences()

    async def close(self) -> None:
        await self._rest.close()

    async def _look(self, change_id: str = "") -> Found:
        """What runs; a change whose time is over is taken back first, and the one that is asked for if it is
        there in part only. To anybody else that may be a change which somebody is still making."""
        found = await self._product.fetch()
        entry = found.entry
        if entry is None or entry.outcome is not Outcome.PENDING:
            return found
        if entry.change_id == change_id and not entry.is_whole:
            await self._product.take_back(found, entry)
            return await self._product.fetch()
        by_itself = self._folder.dictionary.takes_back is TakesBack.ITSELF
        if self._now() < entry.deadline_s + (_LATE_S if by_itself else 0.0):
            return found
        await self._product.take_back(found, entry)
        return await self._product.fetch()

    def _will(self, wanted: Wanted, running: Texts) -> Texts:
        """The text of every place that is to be made true."""
        if wanted.backup is None:
            return self._product.render(wanted, running)
        return {name: wanted.backup.texts.get(name) or "" for name in running}

    def _was_taken_back(self, change_id: str) -> Conflict:
        return Conflict(
            f"Change {change_id} of {self._device.name} was taken back, or never got there: it was not "
            f"confirmed in time, or failed."
        )


def _changed(running: Texts, will: Texts) -> Texts:
    return {name: text for name, text in will.items() if running.get(name, "") != text}


def _product(folder: Folder, device: Device) -> Product:
    name = folder.dictionary.module
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise Invalid(
            f"{folder.where} names the module {name}, which cannot be imported: {error}. Install the package "
            f"that has it."
        ) from error
    product: Product = module.product(device)
    return product
