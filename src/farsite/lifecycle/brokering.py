"""An adapter whose calls a broker makes: the same seam, with the network and a broker's restarts in between.

A call is a job in the database, which the broker fetches and answers. A call that changes the device has a
job id that follows from the change, so asking once more after silence asks for the same job and gets its
answer.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

from farsite.model.clock import Clock
from farsite.model.errors import VnfUnreachable
from farsite.model.ids import new_id
from farsite.model.licence import Licence
from farsite.model.management import Management
from farsite.model.software import DeviceSoftware, SoftwareImage
from farsite.secrets import KeyDirectory
from farsite.store import brokers
from farsite.store.brokers import JobStanding
from farsite.store.database import Connection, Database
from farsite.vnfs.adapter import About, Backup, ErrorCode, Outcome, Plan, Probed, Running, Sample, Wanted
from farsite.vnfs.broker.jobs import (
    Answer,
    Job,
    JobAccess,
    JobVerb,
    answer_from_json,
    error_of,
    job_to_json,
    since,
)
from farsite.vnfs.software import ImageContent

Line = Callable[[str], AbstractContextManager[None]]
"""Entered while others are at work before us, with what is waited for; see `Running.stands_in_line`."""


Tell = Callable[[str], None]
"""Told what is waited for, and an empty text when it has come; see `Running.waits_for`."""


def no_line(_what_for: str) -> AbstractContextManager[None]:
    """Of those who have nobody to tell, and no deadline."""
    return nullcontext()


def nobody(_what: str) -> None:
    """Told by those whom nobody asks what they wait for."""


_FIRST_LOOK_S = 0.02
_LAST_LOOK_S = 0.25
_WAITS_S = 60.0
_SILENT_S = 30.0
"""A broker that is not heard for so long is gone; one that lives is heard every ten seconds."""
_LONG_GONE = timedelta(minutes=5)
"""Of one that was heard so long ago nothing is expected. More than clocks of processes are apart."""
_USUAL_S = 1.0
"""A job that is not given to its broker by then stands in line."""
_FORGETS_WITHIN_S = 2.0
_AHEAD = timedelta(hours=1)
"""What is urgent goes before whatever came so much earlier."""
_KEPT = timedelta(hours=1)
"""How long a job, or an answer that nobody fetched, is kept beyond its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Where jobs are put and answers are found."""

    database: Database
    keys: KeyDirectory
    clock: Clock

    async def done(
        self,
        management: Management,
        job: Job,
        *,
        within_s: float,
        line: Line = no_line,
        tell: Tell = nobody,
        is_urgent: bool,
    ) -> Answer:
        """The answer to a job, for which the broker has `within_s` from when it was given the job. Before
        that the job stands in `line` as long as the broker is heard. Of a broker that lets us wait for longer
        than is usual `tell` is told: whoever waits for us may be cut before we have an answer or none.

        Whoever stops waiting takes what was not given out of the line. What is urgent goes before what is
        not.

        Raises:
            NotFound: there is no such broker.
            VnfUnreachable: no answer in time, or the broker is gone; whether it was done is not known.
        """
        words: list[str] = []

        def once(what: str) -> None:
            if not words:
                words.append(what)
                tell(what)

        await self.database.run(self._put, management, job, is_urgent)
        try:
            await self._until_given(management, job, line, once)
            answer = await self._answered(management, job, within_s, once)
        except BaseException:
            # What changes the device and was given may be done still; who asks again asks for the same job.
            forget = brokers.withdraw if job.verb in _CHANGING else brokers.forget_job
            # We may have been cut because the database is away, or we are.
            with suppress(Exception):
                async with asyncio.timeout(_FORGETS_WITHIN_S):
                    await self.database.run(forget, job.id)
            raise
        if words:
            tell("")
        # Looked for once more after a death of ours, so it goes with the operation's next call.
        if job.verb not in _CHANGING:
            await self.database.run(brokers.forget_job, job.id)
        return answer

    async def _until_given(self, management: Management, job: Job, line: Line, tell: Tell) -> None:
        # By our own clock; another process has heard it by its own.
        put_s = heard_s = self.clock.monotonic_s()
        heard_at = (await self._standing(management, job)).heard_at
        pause_s = _FIRST_LOOK_S
        with ExitStack() as standing:
            is_in_line = False
            while True:
                found, now_s = await self._standing(management, job), self.clock.monotonic_s()
                if found.given_at is not None or found.answer is not None:
                    return
                if found.heard_at != heard_at:
                    heard_at, heard_s = found.heard_at, now_s
                is_long_gone = heard_at is not None and self.clock.now() - heard_at > _LONG_GONE
                if is_long_gone or now_s - heard_s > _SILENT_S:
                    raise _unanswered(management, job, found)
                # What is asked of a broker that is not there does not stand in line, but waits in vain.
                if heard_s > put_s and now_s - put_s > _USUAL_S and not is_in_line:
                    is_in_line = True
                    standing.enter_context(line(f"The broker {management.broker}, which works on others."))
                elif now_s - put_s > _USUAL_S and not is_in_line:
                    tell(_unanswered(management, job, found).detail)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LAST_LOOK_S)

    async def _answered(self, management: Management, job: Job, within_s: float, tell: Tell) -> Answer:
        # From now, and not from when it was given: who asks once more after silence waits once more.
        began_s = self.clock.monotonic_s()
        pause_s = _FIRST_LOOK_S
        while True:
            found = await self._standing(management, job)
            if found.answer is not None:
                sealed = self.keys.decrypt(management.vnf_id, found.answer)
                return answer_from_json(json.loads(sealed["answer"]))
            waited_s = self.clock.monotonic_s() - began_s
            if waited_s >= within_s:
                raise _unanswered(management, job, found)
            if waited_s > _USUAL_S:
                tell(_unanswered(management, job, found).detail)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LAST_LOOK_S)

    async def _standing(self, management: Management, job: Job) -> JobStanding:
        found = await self.database.read(brokers.standing_of, job.id)
        if found is None:
            raise VnfUnreachable(
                f"The broker {management.broker}, or what was asked of it for {job.name}, was deleted.",
                about={"code": ErrorCode.UNREACHABLE},
            )
        return found

    def _put(self, connection: Connection, management: Management, job: Job, is_urgent: bool) -> None:
        brokers.get(connection, management.project_id, management.broker)
        now = self.clock.now()
        brokers.forget_late(connection, now - _KEPT)
        brokers.put_job(
            connection,
            job_id=job.id,
            project_id=management.project_id,
            broker=management.broker,
            vnf_id=management.vnf_id,
            number=round((now - _AHEAD if is_urgent else now).timestamp() * 1_000_000),
            job=self.keys.encrypt(management.vnf_id, {"job": json.dumps(job_to_json(job))}),
            deadline_at=job.deadline_at,
        )


def _unanswered(management: Management, job: Job, found: JobStanding) -> VnfUnreachable:
    heard = f"It was heard last at {found.heard_at:%H:%M:%S}." if found.heard_at else "It was never heard of."
    return VnfUnreachable(
        f"The broker {management.broker} has not answered for {job.name}. {heard} "
        f"See that it runs and reaches Farsite and the device.",
        about={"code": ErrorCode.UNREACHABLE},
    )


_CHANGING = frozenset(
    {
        JobVerb.APPLY,
        JobVerb.CONFIRM,
        JobVerb.REVERT,
        JobVerb.RECEIVE,
        JobVerb.INSTALL,
        JobVerb.UPGRADE,
        JobVerb.DISCARD,
    }
)
_LEAST_BYTES_PER_S = 256 * 1024
"""What a way to a device has to carry of an image."""
_UNPACKS_S = 300.0


class BrokeredAdapter:
    """One device behind a broker."""

    def __init__(
        self,
        about: About,
        mailbox: Mailbox,
        management: Management,
        access: JobAccess,
        *,
        name: str,
        line: Line = no_line,
        tell: Tell = nobody,
        is_urgent: bool = False,
    ) -> None:
        """`line` is entered while the broker works on others, and `tell` told of a broker that lets us wait.
        `is_urgent`: a change stands unconfirmed, which
        must not wait behind others' until the device takes it back."""
        self._about = about
        self._mailbox = mailbox
        self._management = management
        self._access = access
        self._name = name
        self._line = line
        self._tell = tell
        self._is_urgent = is_urgent

    @property
    def about(self) -> About:
        return self._about

    async def fetch(self) -> Running:
        """See `Adapter.fetch`."""
        found = (await self._ask(JobVerb.FETCH)).running
        assert found is not None
        return found

    async def back_up(self) -> Backup:
        """See `Adapter.back_up`."""
        found = (await self._ask(JobVerb.BACK_UP)).backup
        assert found is not None
        return found

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """See `Adapter.plan`."""
        found = (await self._ask(JobVerb.PLAN, wanted=wanted, running=running)).plan
        assert found is not None
        return found

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """See `Adapter.apply`."""
        await self._ask(
            JobVerb.APPLY,
            wanted=wanted,
            plan=plan,
            change_id=change_id,
            confirm_within_s=confirm_within_s,
        )

    async def confirm(self, change_id: str) -> None:
        """See `Adapter.confirm`."""
        await self._ask(JobVerb.CONFIRM, change_id=change_id)

    async def revert(self, change_id: str) -> None:
        """See `Adapter.revert`."""
        await self._ask(JobVerb.REVERT, change_id=change_id)

    async def outcome(self, change_id: str) -> Outcome:
        """See `Adapter.outcome`."""
        found = (await self._ask(JobVerb.OUTCOME, change_id=change_id)).outcome
        assert found is not None
        return found

    async def health(self) -> Sequence[Probed]:
        """See `Adapter.health`."""
        return (await self._ask(JobVerb.HEALTH)).health

    async def metrics(self) -> Sequence[Sample]:
        """See `Adapter.metrics`."""
        return (await self._ask(JobVerb.METRICS)).metrics

    async def licences(self) -> Sequence[Licence]:
        """See `Licences.licences`."""
        return (await self._ask(JobVerb.LICENCES)).licences

    async def software(self) -> DeviceSoftware:
        """See `Upgrades.software`."""
        found = (await self._ask(JobVerb.SOFTWARE)).software
        assert found is not None
        return found

    async def examine(self, image: SoftwareImage | None) -> Sequence[Probed]:
        """See `Upgrades.examine`."""
        return (await self._ask(JobVerb.EXAMINE, image=image)).health

    async def receive(
        self,
        image: SoftwareImage,
        content: ImageContent,  # noqa: ARG002  (the broker fetches it from us itself)
        *,
        change_id: str,
    ) -> None:
        """See `Upgrades.receive`. The broker reads the content from us, over its own connection."""
        within_s = image.size_bytes / _LEAST_BYTES_PER_S + _UNPACKS_S
        await self._ask(JobVerb.RECEIVE, image=image, change_id=change_id, within_s=within_s)

    async def install(self, image: SoftwareImage, *, change_id: str) -> str:
        """See `Upgrades.install`."""
        answer = await self._ask(JobVerb.INSTALL, image=image, change_id=change_id, within_s=_UNPACKS_S)
        return answer.installed

    async def upgrade(self, version: str, against: str, *, change_id: str, confirm_within_s: float) -> None:
        """See `Upgrades.upgrade`."""
        await self._ask(
            JobVerb.UPGRADE,
            software_version=version,
            against=against,
            change_id=change_id,
            confirm_within_s=confirm_within_s,
        )

    async def discard(self, image: SoftwareImage, version: str, *, change_id: str) -> None:
        """See `Upgrades.discard`."""
        await self._ask(JobVerb.DISCARD, image=image, software_version=version, change_id=change_id)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _ask(
        self,
        verb: JobVerb,
        *,
        wanted: Wanted | None = None,
        running: Running | None = None,
        plan: Plan | None = None,
        change_id: str = "",
        confirm_within_s: float = 0.0,
        image: SoftwareImage | None = None,
        software_version: str = "",
        against: str = "",
        within_s: float = _WAITS_S,
    ) -> Answer:
        within_s = max(within_s, confirm_within_s)
        backup = wanted.backup if wanted else None
        job = Job(
            id=f"{change_id}.{verb.value}" if verb in _CHANGING else new_id(),
            device=self._management.vnf_id,
            name=self._name,
            verb=verb,
            adapter=self._management.adapter,
            access=self._access,
            parameters=self._management.parameters,
            keep_in=self._management.keep_in,
            deadline_at=self._mailbox.clock.now() + timedelta(seconds=within_s),
            document=wanted.document if wanted else None,
            secrets=wanted.secrets if wanted else {},
            backup=backup,
            running=running,
            plan=plan,
            change_id=change_id,
            confirm_within_s=confirm_within_s,
            image=image,
            software_version=software_version,
            against=against,
            version=since(verb, of_a_backup=backup is not None),
        )
        answer = await self._mailbox.done(
            self._management,
            job,
            within_s=within_s,
            line=self._line,
            tell=self._tell,
            is_urgent=self._is_urgent,
        )
        if answer.fault is not None:
            if verb in _CHANGING and answer.fault.kind == VnfUnreachable.__name__:
                # Whoever asks again wants it tried again, not this answer once more.
                await self._mailbox.database.run(brokers.forget_job, job.id)
            raise error_of(answer.fault)
        return answer
