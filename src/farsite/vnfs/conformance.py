"""What every adapter must keep, tried on a device: the conformance kit behind `farsite adapter verify`.

An author states two documents that differ (`good` and `other`), one that the product refuses (`wrong`) and,
where he can, how somebody else would change the device (`meddle`); the kit does the rest through the
adapter's own methods. Each check leaves the device with what it ran before. What cannot be tried is said
with its reason, never passed over.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from farsite.model.configuration import Configuration, Dhcp, Switch, Verb, Vpn
from farsite.model.errors import (
    Conflict,
    Failed,
    FarsiteError,
    NotSupported,
    Refused,
    Unknown,
    VnfFault,
    VnfUnreachable,
)
from farsite.model.ids import derived_id, new_id
from farsite.model.licence import LicenceState
from farsite.vnfs.adapter import Adapter, ErrorCode, Outcome, Plan, Wanted
from farsite.vnfs.between import Answer, Between, CarryOut, Interposable, NetconfOpening, Request
from farsite.vnfs.licences import licences

CONFIRM_WITHIN_S = 120.0
_LATE_S = 20.0
"""How much later than asked for a change may be taken back: the device's own reload takes its time."""
_LOOKED_AT_WITHIN_S = 600.0
"""For a change that is looked at from several sides before it is taken back, on a slow device too."""


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "FAILED"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How one check ended, why, and what it took (seconds)."""

    name: str
    verdict: Verdict
    said: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an adapter is opened with: what a device is called, as whom we log in (`password` is what the
    product takes), parameters, and where the device keeps what guards changes."""

    device: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    keep_in: str = "/var/lib/farsite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A device to be tried, and what to try on it."""

    open: Callable[[], Awaitable[Adapter]]
    """A new connection to the same device."""
    good: Configuration
    other: Configuration
    wrong: Configuration | None = None
    meddle: Callable[[], Awaitable[None]] | None = None
    """Changes the device as another administrator would, in what the adapter owns."""
    cut: Callable[[Adapter], Awaitable[None]] | None = None
    """Breaks the adapter's connection, as a network would."""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    expires_s: float = 2.0
    """How long a change stands that is left to undo itself; longer for a device that counts in minutes."""
    opened: Opened = field(default_factory=Opened)
    """What `open` uses; a transcript has it, but for the password."""


class NotTried(Exception):  # not an error: the author gave nothing to try it with
    """A check that cannot be tried on this subject."""


class Breach(Exception):  # not an error of ours: what the kit is for
    """What an adapter must keep, and does not."""


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Breach(otherwise)


class Trial:
    """One device under trial."""

    def __init__(self, subject: Subject, adapter: Adapter, check: str, run: str, between: Between) -> None:
        """`between` lies before every connection, and before the clock. `run` and `check` make the ids of
        changes."""
        self.subject = subject
        self.adapter = adapter
        self._between = between
        self._check = check
        self._run = run
        self._changes = 0

    def new_change(self) -> str:
        """The id of one more change: the same in the same place of the same run."""
        self._changes += 1
        return derived_id(self._run, self._check, str(self._changes))

    def clock(self) -> float:
        """Seconds, since some time."""
        return self._between.now(time.monotonic)

    async def pause(self, seconds: float) -> None:
        await self._between.pause(seconds, asyncio.sleep)

    def wanted(self, document: Configuration) -> Wanted:
        return Wanted(document=document, secrets=self.subject.secrets)

    async def apply(
        self, document: Configuration, *, confirm: bool = True, within_s: float = CONFIRM_WITHIN_S
    ) -> str:
        """Plan and apply, and confirm; the change's id."""
        change_id = self.new_change()
        wanted = self.wanted(document)
        plan = await self.adapter.plan(wanted, await self.adapter.fetch())
        await self.adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=within_s)
        if confirm:
            await self.adapter.confirm(change_id)
        return change_id

    async def differs(self, document: Configuration) -> bool:
        """Whether the device runs something else than the document."""
        return (await self.adapter.plan(self.wanted(document), await self.adapter.fetch())).changes

    async def digest(self) -> str:
        return (await self.adapter.fetch()).digest

    async def open_anew(self, between: Between | None = None) -> None:
        """Let go of the connection and open another, with something between it and the device.

        Raises:
            NotTried: that adapter takes nothing there.
        """
        await self.adapter.close()
        self.adapter = await connected(self.subject, between or self._between)


async def connected(subject: Subject, between: Between) -> Adapter:
    """A new connection, with something between the adapter and its device.

    Raises:
        NotTried: that adapter takes nothing there.
    """
    adapter = await subject.open()
    if type(between) is Between:
        return adapter
    try:
        if not isinstance(adapter, Interposable):
            raise NotTried(
                f"adapter {adapter.about.name} has no interpose: nothing can lie before its device"
            )
        adapter.interpose(between)
    except NotSupported as reason:
        await adapter.close()
        raise NotTried(reason.detail) from reason
    except NotTried:
        await adapter.close()
        raise
    return adapter


async def what_was_applied_is_what_runs(trial: Trial) -> None:
    """Fetching after an apply finds the document: nothing remains to be changed, and applying again is "
    "quiet."""
    await trial.apply(trial.subject.good)
    _must(not await trial.differs(trial.subject.good), "a plan right after applying still shows changes")
    before = await trial.digest()
    await trial.apply(trial.subject.good)
    _must(await trial.digest() == before, "applying the same document again changed what runs")


async def a_plan_tells_the_truth(trial: Trial) -> None:
    """A plan shows a difference exactly when there is one, and changes nothing by being made."""
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    plan = await trial.adapter.plan(trial.wanted(trial.subject.other), await trial.adapter.fetch())
    _must(plan.changes, "a plan for another document shows no changes")
    _must(await trial.digest() == before, "making a plan changed what runs")
    for name, value in trial.subject.secrets.items():
        shown = any(value in one.diff for one in plan.differences)
        _must(not shown, f"a plan shows the value of the secret {name}")


async def a_change_is_taken_back_when_asked(trial: Trial) -> None:
    """Revert brings back what ran, to the letter, and doing it again is quiet."""
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    change_id = await trial.apply(trial.subject.other, confirm=False)
    _must(await trial.digest() != before, "applying another document changed nothing")
    _must(await trial.adapter.outcome(change_id) is Outcome.PENDING, "an unconfirmed change is not PENDING")
    await trial.adapter.revert(change_id)
    await trial.adapter.revert(change_id)
    _must(await trial.digest() == before, "after a revert something else runs than before")
    _must(await trial.adapter.outcome(change_id) is Outcome.REVERTED, "a reverted change is not REVERTED")


async def a_change_that_nobody_confirms_undoes_itself(trial: Trial) -> None:
    """The dead-man's switch works without us: nothing is asked of the device until it must have happened."""
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    change_id = await trial.apply(trial.subject.other, confirm=False, within_s=trial.subject.expires_s)
    await trial.open_anew()
    deadline = trial.clock() + trial.subject.expires_s + _LATE_S
    while await trial.adapter.outcome(change_id) is Outcome.PENDING:
        _must(trial.clock() < deadline, "an unconfirmed change is still there long after its time")
        await trial.pause(0.2)
    _must(await trial.digest() == before, "after its time ran out something else runs than before")
    try:
        await trial.adapter.confirm(change_id)
    except Conflict:
        return
    raise Breach("a change that was taken back could be confirmed")


async def a_confirmed_change_stays(trial: Trial) -> None:
    """Confirming in time disarms the switch, and confirming again is success."""
    began = trial.clock()
    await trial.apply(trial.subject.good)
    # On a slow device a fixed time would run out before we could confirm anything.
    within_s = max(trial.subject.expires_s, 4 * (trial.clock() - began))
    change_id = await trial.apply(trial.subject.other, confirm=False, within_s=within_s)
    await trial.adapter.confirm(change_id)
    await trial.adapter.confirm(change_id)
    await trial.pause(within_s + 0.5)
    _must(not await trial.differs(trial.subject.other), "a confirmed change went away")
    _must(await trial.adapter.outcome(change_id) is Outcome.CONFIRMED, "a confirmed change is not CONFIRMED")


async def a_backup_brings_back_what_ran(trial: Trial) -> None:
    """To the letter, unconfirmed like any change, and what somebody else had made with it."""
    await trial.apply(trial.subject.good)
    if trial.subject.meddle is not None:
        await trial.subject.meddle()
    before = await trial.digest()
    backup = await trial.adapter.back_up()
    restored = Wanted(backup=backup, secrets=trial.subject.secrets)
    plan = await trial.adapter.plan(restored, await trial.adapter.fetch())
    _must(not plan.changes, "a backup of what runs shows changes")
    await trial.apply(trial.subject.other)
    plan = await trial.adapter.plan(restored, await trial.adapter.fetch())
    _must(plan.changes, "a backup of something else than what runs shows no changes")
    change_id = trial.new_change()
    for _ in range(2):
        await trial.adapter.apply(restored, plan, change_id=change_id, confirm_within_s=CONFIRM_WITHIN_S)
    _must(await trial.adapter.outcome(change_id) is Outcome.PENDING, "a restored backup is not PENDING")
    _must(
        await trial.digest() == before, "after restoring a backup something else runs than when it was made"
    )
    await trial.adapter.revert(change_id)
    _must(not await trial.differs(trial.subject.other), "restoring a backup could not be taken back")
    change_id = trial.new_change()
    plan = await trial.adapter.plan(restored, await trial.adapter.fetch())
    await trial.adapter.apply(restored, plan, change_id=change_id, confirm_within_s=CONFIRM_WITHIN_S)
    await trial.adapter.confirm(change_id)
    _must(await trial.digest() == before, "a confirmed restore did not stay")


async def asking_twice_applies_once(trial: Trial) -> None:
    """An answer may be lost: the same change asked for again is the same change."""
    await trial.apply(trial.subject.good)
    change_id, wanted = trial.new_change(), trial.wanted(trial.subject.other)
    plan = await trial.adapter.plan(wanted, await trial.adapter.fetch())
    for _ in range(2):
        await trial.adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=CONFIRM_WITHIN_S)
    await trial.adapter.revert(change_id)
    _must(
        not await trial.differs(trial.subject.good), "a change asked for twice was not undone by one revert"
    )


async def what_is_wrong_is_refused_in_the_devices_words(trial: Trial) -> None:
    """The plan, or at the latest the apply, names the fault, and what ran runs on."""
    if trial.subject.wrong is None:
        raise NotTried("no document is stated that the product refuses")
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    try:
        await trial.apply(trial.subject.wrong)
    except VnfFault as fault:
        _must(len(fault.detail) > 40, f"the error says too little: {fault.detail}")
        code = fault.about.get("code", "")
        _must(code == ErrorCode.INVALID, f'the error is mapped to "{code}", not to {ErrorCode.INVALID}')
    except Refused as refusal:
        raise Breach(f"it was refused here and not by the device: {refusal.detail}") from refusal
    else:
        raise Breach("a document that the product must refuse was applied")
    _must(await trial.digest() == before, "after a refused change something else runs than before")


async def somebody_elses_change_is_not_overwritten(trial: Trial) -> None:
    """A plan holds for what it was made against; what another administrator did since is seen and kept."""
    if trial.subject.meddle is None:
        raise NotTried("nothing is stated that changes the device past the adapter")
    await trial.apply(trial.subject.good)
    wanted = trial.wanted(trial.subject.other)
    plan = await trial.adapter.plan(wanted, await trial.adapter.fetch())
    await trial.subject.meddle()
    meddled = await trial.digest()
    _must(meddled != plan.against, "a change made past the adapter is not seen by fetch")
    try:
        await trial.adapter.apply(
            wanted, plan, change_id=trial.new_change(), confirm_within_s=CONFIRM_WITHIN_S
        )
    except Conflict:
        pass
    else:
        raise Breach("a plan was applied to something else than what it was made against")
    _must(await trial.digest() == meddled, "a refused change altered what somebody else had made")
    _must(await trial.differs(trial.subject.good), "drift is not shown")


async def two_changes_do_not_mix(trial: Trial) -> None:
    """While one is unconfirmed another is refused, and names the one that stands in its way."""
    await trial.apply(trial.subject.good)
    first = await trial.apply(trial.subject.other, confirm=False)
    try:
        await trial.apply(trial.subject.good, confirm=False)
    except (Conflict, VnfFault):
        pass
    else:
        raise Breach("a second change was taken while the first was unconfirmed")
    finally:
        await trial.adapter.revert(first)


async def a_lost_session_leaves_nothing_half_done(trial: Trial) -> None:
    """The connection breaks at a random moment of an apply: afterwards it is all there, or none of it."""
    if trial.subject.cut is None:
        raise NotTried("nothing is stated that breaks the connection")
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    for delay_s in (0.0, 0.01, 0.05, 0.2):
        change_id, wanted = trial.new_change(), trial.wanted(trial.subject.other)
        plan = await trial.adapter.plan(wanted, await trial.adapter.fetch())
        applying = asyncio.ensure_future(
            trial.adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=CONFIRM_WITHIN_S)
        )
        await trial.pause(delay_s)
        await trial.subject.cut(trial.adapter)
        with contextlib.suppress(Unknown):
            await applying
        await trial.open_anew()
        outcome = await _settled(trial, change_id)
        if outcome is Outcome.PENDING:
            _must(not await trial.differs(trial.subject.other), "a pending change is there in part only")
            await trial.adapter.revert(change_id)
        _must(await trial.digest() == before, "a change whose session broke off left something behind")


async def _settled(trial: Trial, change_id: str) -> Outcome:
    """What became of a change whose session was lost; the device may still be at it."""
    deadline = trial.clock() + _LATE_S
    while True:
        try:
            return await trial.adapter.outcome(change_id)
        except FarsiteError:
            if trial.clock() > deadline:
                raise
            await trial.pause(0.2)


class _Silence(Between):
    """Has the device do what it is asked, and loses the answer to one of the exchanges."""

    def __init__(self, lost: int | None = None) -> None:
        """`lost` is the number of that exchange, from 0, since `has_begun`; None loses none."""
        self._lost = lost
        self.has_begun = False
        self.count = 0

    async def exchange(self, request: Request, carry_out: CarryOut[Answer]) -> Answer:
        answer = await carry_out()
        if not self.has_begun or isinstance(request, NetconfOpening):
            return answer
        number, self.count = self.count, self.count + 1
        if number == self._lost:
            raise VnfUnreachable(
                "The device did not answer in time; it may still be at it.", about={"code": ErrorCode.TIMEOUT}
            )
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A change that was asked for, and how that ended: done, refused (in which words), or in silence."""

    change_id: str
    wanted: Wanted
    plan: Plan
    is_done: bool = False
    refusal: str = ""


async def a_commit_that_is_slower_than_we_wait_is_found_again(trial: Trial) -> None:
    """The answer to any one exchange of an apply comes too late: the device has done it, and we do not know.

    Whoever comes then learns whether the change is there, all of it or nothing; asked for again it is still
    one change, which one revert takes back.
    """
    # Whether it can be tried at all is known at once.
    await trial.open_anew(_Silence())
    await trial.apply(trial.subject.good)
    before = await trial.digest()
    all_answered = _Silence()
    asked = await _asked_through(trial, all_answered)
    _must(asked.is_done, f"a change was refused: {asked.refusal}")
    await trial.adapter.revert(asked.change_id)
    for number in range(all_answered.count):
        asked = await _asked_through(trial, _Silence(number))
        await trial.open_anew()
        try:
            await _is_found_again(trial, asked, before)
        except Breach as breach:
            with contextlib.suppress(FarsiteError):
                await trial.adapter.revert(asked.change_id)
            raise Breach(
                f"when the answer to exchange {number + 1} of {all_answered.count} is lost: {breach}"
            ) from breach


async def _asked_through(trial: Trial, silence: _Silence) -> _Asked:
    """Apply the other document over a connection of its own."""
    await trial.open_anew(silence)
    change_id, wanted = trial.new_change(), trial.wanted(trial.subject.other)
    plan = await trial.adapter.plan(wanted, await trial.adapter.fetch())
    asked = _Asked(change_id=change_id, wanted=wanted, plan=plan)
    silence.has_begun = True
    try:
        await _apply(trial, asked)
    except Unknown:
        return asked
    except (Failed, Refused) as error:
        return replace(asked, refusal=error.detail)
    finally:
        silence.has_begun = False
    return replace(asked, is_done=True)


async def _apply(trial: Trial, asked: _Asked) -> None:
    await trial.adapter.apply(
        asked.wanted, asked.plan, change_id=asked.change_id, confirm_within_s=_LOOKED_AT_WITHIN_S
    )


async def _is_found_again(trial: Trial, asked: _Asked, before: str) -> None:
    """`before` is the digest of what ran before the change was asked for."""
    told = await _settled(trial, asked.change_id)
    if told is Outcome.PENDING:
        _must(not asked.refusal, f"it was told as refused, and is pending: {asked.refusal}")
        _must(not await trial.differs(trial.subject.other), "it is told as PENDING, and not all of it runs")
    else:
        _must(not asked.is_done, f"it was told as done, and its outcome is {told}")
        _must(told is not Outcome.CONFIRMED, "it is told as CONFIRMED, and nobody confirmed it")
        _must(await trial.digest() == before, f"it is told as {told}, and something else runs than before")
    try:
        await _asked_again(trial, asked)
    except Conflict as refusal:
        _must(told is Outcome.REVERTED, f"it is told as {told}, and refused again: {refusal.detail}")
        _must(await trial.digest() == before, "it was refused again, and something else runs than before")
        return
    again = await trial.adapter.outcome(asked.change_id)
    _must(again is Outcome.PENDING, f"asked for again its outcome is {again}")
    _must(not await trial.differs(trial.subject.other), "asked for again, not all of it runs")
    await trial.adapter.revert(asked.change_id)
    _must(await trial.digest() == before, "asked for again, one revert did not bring back what ran")
    again = await trial.adapter.outcome(asked.change_id)
    _must(again is Outcome.REVERTED, f"taken back, its outcome is {again}")


async def _asked_again(trial: Trial, asked: _Asked) -> None:
    """The device may still be at what it did not answer to."""
    deadline = trial.clock() + _LATE_S
    while True:
        try:
            return await _apply(trial, asked)
        except FarsiteError as error:
            if error.about.get("code") != ErrorCode.BUSY or trial.clock() > deadline:
                raise
            await trial.pause(0.2)


async def what_it_cannot_take_is_refused_before_anything_is_sent(trial: Trial) -> None:
    """A service that the product has not is named at once."""
    samples = {
        "dhcp": Configuration(dhcp=Dhcp()),
        "switch": Configuration(switch=Switch()),
        "vpn": Configuration(vpn=Vpn()),
    }
    for name, document in samples.items():
        if not document.services & trial.adapter.about.services:
            try:
                await trial.adapter.plan(trial.wanted(document), await trial.adapter.fetch())
            except NotSupported as refusal:
                _must(name in refusal.detail, f"the refusal does not name {name}: {refusal.detail}")
                return
            raise Breach(f"{name} was taken, which the adapter does not announce")
    raise NotTried("the adapter takes every service that could be tried")


async def health_can_be_asked(trial: Trial) -> None:
    """Each probe answers, whatever it finds, and so does the product about its licences, where it can."""
    if not trial.adapter.about.verbs & {Verb.HEALTH, Verb.METRICS}:
        raise NotTried("the adapter announces neither health nor metrics")
    await trial.apply(trial.subject.good)
    for probed in await trial.adapter.health():
        _must(bool(probed.name), "a probe has no name")
        _must(probed.is_well or bool(probed.said), f'the probe "{probed.name}" fails without a word')
    await trial.adapter.metrics()
    if Verb.LICENCE not in trial.adapter.about.verbs:
        return
    told = await licences(trial.adapter).licences()
    names = [one.name for one in told]
    _must(all(names), "a licence has no name")
    _must(len(set(names)) == len(names), f"two licences have one name: {', '.join(sorted(names))}")
    for one in told:
        _must(one.state is not LicenceState.UNKNOWN, f'the licence "{one.name}" cannot be read: {one.said}')


Check = Callable[[Trial], Awaitable[None]]

CHECKS: tuple[Check, ...] = (
    what_was_applied_is_what_runs,
    a_plan_tells_the_truth,
    a_change_is_taken_back_when_asked,
    a_change_that_nobody_confirms_undoes_itself,
    a_confirmed_change_stays,
    a_backup_brings_back_what_ran,
    asking_twice_applies_once,
    what_is_wrong_is_refused_in_the_devices_words,
    somebody_elses_change_is_not_overwritten,
    two_changes_do_not_mix,
    a_lost_session_leaves_nothing_half_done,
    a_commit_that_is_slower_than_we_wait_is_found_again,
    what_it_cannot_take_is_refused_before_anything_is_sent,
    health_can_be_asked,
)
"""In the order in which they are told."""


def name_of(check: Check) -> str:
    """What a check is called: the sentence that it makes sure of."""
    return check.__name__.replace("_", " ")


async def verify(subject: Subject, check: Check, *, between: Between | None = None, run: str = "") -> Checked:
    """Run one check on a device, over a connection of its own. `between` lies before all of its connections;
    with the same `run` the same changes have the same ids."""
    name = name_of(check)
    between = between or Between()
    began = time.monotonic()

    def ended(verdict: Verdict, said: str = "") -> Checked:
        return Checked(name=name, verdict=verdict, said=said, took_s=time.monotonic() - began)

    try:
        adapter = await connected(subject, between)
    except NotTried as reason:
        return ended(Verdict.LEFT_OUT, str(reason))
    trial = Trial(subject, adapter, check.__name__, run or new_id(), between)
    try:
        await check(trial)
    except NotTried as reason:
        return ended(Verdict.LEFT_OUT, str(reason))
    except Breach as breach:
        return ended(Verdict.FAILED, str(breach))
    except (Failed, Unknown, Refused) as error:
        return ended(Verdict.FAILED, f"{type(error).__name__}: {error.detail}")
    finally:
        await trial.adapter.close()
    return ended(Verdict.PASSED)
