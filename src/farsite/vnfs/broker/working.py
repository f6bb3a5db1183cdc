"""The broker's loop: asks for jobs, does them, tells the answers, over connections that it opens itself."""

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx2
import structlog

from farsite.model.errors import Refused, VnfUnreachable
from farsite.vnfs.broker.jobs import VERSION, Answer, Fault, Job, answer_to_json, job_from_json
from farsite.vnfs.broker.keeping import Kept
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions

log = structlog.get_logger()

_WAITS_S = 20.0
"""How long Farsite holds a question for jobs when there are none."""
_IS_HEARD_EVERY_S = 10.0
"""How often one that is wholly at work says so."""
_FIRST_PAUSE_S = 0.2
_LAST_PAUSE_S = 5.0


class NotWelcome(Refused):
    """Farsite does not know this broker, or its token; asking again does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where Farsite is, who we are, and what we may do."""

    url: str
    name: str
    token: str = field(repr=False)
    state_dir: Path
    ca_file: str = ""
    most_at_once: int = 32
    allow_local: bool = False
    adapter_dirs: Sequence[Path] = ()


class Broker:
    """One broker process."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._kept = Kept(settings.state_dir)
        self._adapters = Adapters(settings.adapter_dirs)
        self._sessions = KeptSessions()
        self._devices: dict[str, asyncio.Lock] = {}
        self._working: set[asyncio.Task[None]] = set()
        trust = ssl.create_default_context(cafile=settings.ca_file or None)
        self._http = httpx2.AsyncClient(
            base_url=settings.url,
            headers={"Authorization": f"Bearer {settings.token}"},
            timeout=httpx2.Timeout(10.0, read=_WAITS_S + 10.0),
            verify=trust,
            trust_env=False,
        )
        self._at = f"/farsite/v1/brokers/{quote(settings.name, safe='')}/jobs"

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            NotWelcome: Farsite refuses us.
        """
        for job in self._kept.jobs():
            log.info("job.resumed", job=job.id, verb=job.verb.value, device=job.name)
            self._begin(job)
        for answer in self._kept.answers():
            self._spawn(self._tell(answer))
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                if self._room == 0:
                    done, _ = await asyncio.wait(
                        self._working, timeout=_IS_HEARD_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    if done:
                        continue
                try:
                    jobs = await self._ask()
                    pause_s = _FIRST_PAUSE_S
                except (httpx2.HTTPError, OSError, ValueError) as silence:
                    log.warning("farsite.silent", reason=str(silence) or type(silence).__name__)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, _LAST_PAUSE_S)
                    continue
                for job in jobs:
                    if not self._kept.is_known(job.id):
                        self._kept.take(job)
                        self._begin(job)
        finally:
            for task in tuple(self._working):
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)
            await self._sessions.close()
            await self._http.aclose()

    async def _ask(self) -> list[Job]:
        answer = await self._http.post(
            f"{self._at}/next",
            json={
                "version": VERSION,
                "at_most": self._room,
                "waits_s": _WAITS_S if self._room else 0.0,
                # What an answer of Farsite's that was lost had in it is told again.
                "known": self._kept.known(),
            },
        )
        _check(answer)
        return [job_from_json(one) for one in answer.json()]

    @property
    def _room(self) -> int:
        """For how many jobs more there is room."""
        return max(0, self._settings.most_at_once - len(self._working))

    def _begin(self, job: Job) -> None:
        self._spawn(self._work(job))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, job: Job) -> None:
        async with self._devices.setdefault(job.device, asyncio.Lock()):
            try:
                answer = await perform(
                    job,
                    self._adapters,
                    self._sessions,
                    allow_local=self._settings.allow_local,
                    content=_Content(self._http, f"{self._at}/{job.id}/image"),
                )
            except Exception as bug:
                log.exception("job.crashed", job=job.id)
                said = (
                    f"The broker {self._settings.name} stopped on an internal error ({bug}); its log tells."
                )
                answer = Answer(job_id=job.id, fault=Fault(kind="VnfFault", detail=said))
            self._kept.answered(answer)
        await self._tell(answer)

    async def _tell(self, answer: Answer) -> None:
        """Tell the answer until it is taken, or nobody wants it any more."""
        pause_s = _FIRST_PAUSE_S
        while True:
            with contextlib.suppress(httpx2.HTTPError, OSError):
                told = await self._http.put(f"{self._at}/{answer.job_id}/answer", json=answer_to_json(answer))
                if told.is_success or told.status_code in (404, 409):
                    self._kept.told(answer.job_id)
                    return
                _check(told)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class _Content:
    """The image of a job, as Farsite has it."""

    http: httpx2.AsyncClient
    at: str

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """See `ImageContent.read`."""
        try:
            answer = await self.http.get(self.at, params={"offset": offset, "most_bytes": most_bytes})
        except (httpx2.HTTPError, OSError) as silence:
            raise VnfUnreachable(
                f"Farsite broke off an image at {offset} bytes: {silence or type(silence).__name__}."
            ) from silence
        if not answer.is_success:
            raise VnfUnreachable(
                f"Farsite answered {answer.status_code} to an image at {offset} bytes: {_words(answer)}."
            )
        return answer.content


def _check(answer: httpx2.Response) -> None:
    """Raises:
    NotWelcome: we are refused.
    ValueError: something else went wrong over there.
    """
    if answer.status_code in (401, 403, 404):
        raise NotWelcome(f"Farsite refuses this broker: {_words(answer)}")
    if not answer.is_success:
        raise ValueError(f"Farsite answered {answer.status_code}: {_words(answer)}")


def _words(answer: httpx2.Response) -> str:
    try:
        body: object = answer.json()
    except ValueError:
        return answer.text[:200]
    return str(body.get("detail", "")) if isinstance(body, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
