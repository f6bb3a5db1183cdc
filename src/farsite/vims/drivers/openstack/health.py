"""Asks an OpenStack's services whether they work: often and cheaply, so not through the SDK.

A version document is answered by a web server whose database and workers are dead, so each question goes
through the service: Keystone looks our token up, Heat's engine tells its build over the message bus, Nova,
Neutron, Glance and Cinder read one row. A check asks the two vital ones, and the others now and then; a pulse
asks one service.

All of that is short, and passes where nothing else does: on a path that loses large packets. So now and then
a long question is asked that has a long answer.
"""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.model.vim import FIRST_PATH, SECOND_PATH, PathHealth, ServiceHealth, VimHealth
from farsite.vims.drivers.openstack.access import seconds_of
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.lines import (
    Lines,
    NoAnswer,
    Question,
    Reply,
    is_crowded,
    question,
    trust,
)
from farsite.vims.drivers.openstack.own_threads import OwnThreads
from farsite.vims.drivers.openstack.trouble import trouble_of

if TYPE_CHECKING:
    from farsite.vims.drivers.openstack.session import Sessions

_LIMIT_S = 1.6
"""Below the time limit of a heartbeat, so that a check that ends in silence still says which service. Setting
`health_timeout_s` of a registration."""
_OTHERS_PERIOD_S = 10
_REFUSALS = ("401", "403", "404")
"""404 is for an application credential that was deleted."""
_REFUSED_FOR_S = 15
"""How long credentials that were refused are not tried again: Keystone may lock a user out after a few."""
_VERSION_OF = {"network": "v2.0", "image": "v2"}
"""Some catalogues name these services without their version."""
_QUESTIONS: Mapping[str, tuple[str, str]] = {
    "orchestration": ("heat", "/build_info"),
    "compute": ("nova", "/flavors?limit=1"),
    "network": ("neutron", "/networks?limit=1&fields=id"),
    "image": ("glance", "/images?limit=1"),
    "placement": ("placement", "/"),
    "block-storage": ("cinder", "/types?limit=1"),
}
"""Service type -> its name and what is asked below its endpoint, readable with a member's rights."""


_LOOK_UP = "/auth/tokens?nocatalog"
_LOOK_UP_ALL = "/auth/tokens"
"""The answer has the catalogue, which has some thousand bytes at least."""
_SLACK_S = 0.5
"""By so much sooner than due a service may be asked, so that whole seconds come out."""
_DOUBT_SHARE = 0.4
"""A service that has not answered within this share of the time limit has the others asked as well."""
_AT_LENGTH_S, _AT_LENGTH_AGAIN_S = 30.0, 1.0
"""How often a long question is asked, and how soon again after one that was not answered."""
_AT_LENGTH_LIMIT_S = 5.0
"""A long answer may take longer than a short one, over a narrow path; operations wait for a minute."""
_AT_LENGTH_MISSES = 3
"""So many in a row are no accident, where short questions are answered all the while."""
_PADDING = "-" * 1600
"""With it a question does not fit into one packet of an Ethernet."""
_PROBE_S = 0.5
"""How long it may take to find out what a server speaks that answers nothing we understand."""

Key = tuple[str, str]
"""Region and type of a service; Keystone is the same in all regions."""
_KEYSTONE: Key = ("", "identity")
_SECOND: Key = ("", "second path")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """A token and where the services are, as the last login said."""

    token: str
    keystone: str
    """Where a token is looked up."""
    keystone_at_length: str
    """The same with a long answer."""
    second_keystone: str
    """The same over the second path; empty: there is none."""
    second_proxy: str
    """The proxy that it goes through; empty: it has another address."""
    endpoints: Mapping[Key, str]
    """Without Keystone's."""
    verify: bool | str


class HealthCheck:
    """The checks of one VIM, with the last answer of each service."""

    def __init__(self, cloud: Cloud, now_s: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._now_s = now_s
        """Says whose turn it is; time limits are by the clock."""
        self._lines = Lines()
        self._ask: _Questioner | None = None
        self._login: asyncio.Task[_Pass] | None = None
        self._refused_at = float("-inf")
        self._known: dict[Key, ServiceHealth] = {}
        """The last answers, in the order in which they are shown."""
        self._heard: dict[Key, ServiceHealth] = {}
        """Of those the last that the service itself gave."""
        self._asked_at: dict[Key, float] = {}
        self._unsure: set[Key] = set()
        """Services, none of them vital, that were missed with all the VIM and not asked since it is back."""
        self._was_vital = False
        """Whether the last pulse asked a vital service only."""
        self._at_length: asyncio.Task[None] | None = None
        self._at_length_due_s = now_s() + _AT_LENGTH_S
        self._at_length_misses = 0
        self._is_closed = False

    async def check(self) -> VimHealth:
        """Ask the vital services, and the others if they have not been asked for some seconds. A service that
        is down is reported, with the reason.

        Raises:
            VimFault: Keystone refuses our credentials.
        """
        if self._is_closed:
            return _nothing_known("the driver is closed")
        limit_s = self._limit_s()
        ends_at = time.monotonic() + limit_s
        if self._ask is None:
            try:
                await self._log_in("", ends_at)
            except FarsiteError as error:
                return _refused_or_down(error)
        assert self._ask is not None
        now, keys = self._now_s(), self._ask.keys
        vital = [key for key in keys if _is_vital(key)]
        others = [key for key in keys if not _is_vital(key)]
        if not all(now - self._asked_at.get(key, float("-inf")) < _OTHERS_PERIOD_S for key in others):
            vital += others
        return await self._over_both(self._ask, self._all_of(vital, ends_at), ends_at)

    async def pulse(self) -> VimHealth:
        """Ask one service: the vital ones in turn, and in between each other one every ten seconds. Those
        that were down are asked beside it. One that falls silent, or is slow to answer, has all the others
        asked at once, so that the first miss says already how far it goes. Of a VIM of which no vital service
        answers those are asked, and of the others one that has not been for ten seconds; as soon as anything
        answers, all are. While this process does little but shake hands (`is_crowded`) no others are asked
        beside one that is silent, of a VIM that was missed one vital service, and of one that is back only
        those.

        Raises:
            VimFault: Keystone refuses our credentials.
        """
        ask = self._ask
        if ask is None or not self._known or self._is_closed:
            return await self.check()
        ends_at = time.monotonic() + ask.limit_s
        self._begin_to_ask_at_length(ask)
        return await self._over_both(ask, self._asked(ask, ends_at), ends_at)

    async def _over_both(
        self, ask: "_Questioner", first: Coroutine[None, None, list[Key]], ends_at: float
    ) -> VimHealth:
        """What is told after services were asked over the first path, and Keystone beside over the second."""
        if not ask.has_second_path:
            return self._told(await first)
        beside = asyncio.ensure_future(ask.over_second_path(ends_at))
        try:
            asked = await first
            return self._told_of_both(ask, asked, await beside)
        finally:
            beside.cancel()

    async def _asked(self, ask: "_Questioner", ends_at: float) -> list[Key]:
        """Ask what a pulse asks; which services that were."""
        was_lost = self._is_lost(ask.keys)
        asked = self._due(ask.keys)
        was_up = {key: _was_up(self._known, key) for key in asked}
        if len(asked) == 1 and was_up[asked[0]]:
            asked += await self._ask_warily(asked[0], ends_at)
        else:
            await self._ask_all(asked, ends_at)
        is_news = any(_was_up(self._known, key) is not was for key, was in was_up.items())
        # Whom there is little time left to ask is not said to be silent.
        if is_news and ends_at - time.monotonic() > _DOUBT_SHARE * ask.limit_s:
            vital_only = is_crowded()
            rest = [key for key in ask.keys if key not in asked and (_is_vital(key) or not vital_only)]
            await self._ask_all(rest, ends_at)
            asked += rest
        if self._is_lost(ask.keys):
            self._unsure.clear()
        elif was_lost:
            self._unsure.update(key for key in ask.keys if key not in asked and not _is_vital(key))
        return asked

    def _is_lost(self, keys: Sequence[Key]) -> bool:
        """Whether nothing is heard of what is vital."""
        return not any(_is_vital(key) and _was_up(self._known, key) for key in keys)

    async def close(self) -> None:
        """Let go of the connections; later checks say that it is closed."""
        self._is_closed = True
        for task in (self._login, self._at_length):
            if task:
                task.cancel()
        await self._lines.close()

    # -- which service is asked

    def _due(self, keys: Sequence[Key]) -> list[Key]:
        """What a pulse asks: what was down, and of the rest the one that has waited longest for its turn. Of
        what was down with all that is vital only the vital ones: of hundreds of VIMs that are lost at once
        nobody could ask all services each time."""
        known, asked_at = self._known, self._asked_at
        is_lost = self._is_lost(keys)
        late_at = self._now_s() - _OTHERS_PERIOD_S + _SLACK_S
        asked: list[Key] = []
        vital: list[tuple[float, Key]] = []
        late: list[tuple[float, Key]] = []
        for key in keys:
            if not _was_up(known, key) and (_is_vital(key) or not is_lost):
                asked.append(key)
            elif _is_vital(key):
                vital.append((asked_at[key], key))
            elif (since := asked_at.get(key, float("-inf"))) < late_at:
                late.append((since, key))
        missed = [(asked_at.get(key, float("-inf")), key) for key in asked if _is_vital(key)]
        if missed and is_crowded():
            return [min(missed)[1]]
        # One that is not vital never follows another: a lost VIM shall be missed at the second pulse at last.
        self._was_vital = not (late and (self._was_vital or not vital))
        if turn := vital if self._was_vital else late:
            asked.append(min(turn)[1])
        return asked

    async def _ask_warily(self, key: Key, ends_at: float) -> list[Key]:
        """Ask one service, and all the others as soon as it is slow to answer; which others were asked."""
        assert self._ask is not None
        ask, others = self._ask, list[Key]()
        beside: list[asyncio.Task[None]] = []

        def doubt() -> None:
            if is_crowded():
                return
            others.extend(one for one in ask.keys if one != key)
            beside.append(asyncio.ensure_future(self._ask_all(others, ends_at)))

        waiting = asyncio.get_running_loop().call_later(_DOUBT_SHARE * ask.limit_s, doubt)
        try:
            await self._ask_one(key, ends_at)
            waiting.cancel()
            if beside:
                await asyncio.gather(*beside)
        finally:
            waiting.cancel()
            for task in beside:
                task.cancel()
        return others

    async def _all_of(self, keys: list[Key], ends_at: float) -> list[Key]:
        await self._ask_all(keys, ends_at)
        return keys

    async def _ask_all(self, keys: Sequence[Key], ends_at: float) -> None:
        await asyncio.gather(*(self._ask_one(key, ends_at) for key in keys))

    async def _ask_one(self, key: Key, ends_at: float) -> None:
        assert self._ask is not None
        self._asked_at[key] = self._now_s()
        if key == _KEYSTONE:
            found = await self._keystone(self._ask, ends_at)
        else:
            found = await self._ask.service(key, ends_at)
        self._known[key] = found
        self._unsure.discard(key)
        if key in self._ask.heard:
            self._heard[key] = found

    # -- what takes more than a packet

    def _begin_to_ask_at_length(self, ask: "_Questioner") -> None:
        """Ask a long question beside the pulses, when it is time and Keystone answers short ones."""
        is_under_way = self._at_length is not None and not self._at_length.done()
        if is_under_way or self._now_s() < self._at_length_due_s or not _was_up(self._known, _KEYSTONE):
            return
        self._at_length = asyncio.create_task(self._ask_at_length(ask), name=f"at-length-{self._cloud.name}")

    async def _ask_at_length(self, ask: "_Questioner") -> None:
        is_answered = await ask.at_length()
        # What is refused, or lost at once, says nothing of how large packets fare; nor does what is silent
        # for short questions, too.
        if is_answered:
            self._at_length_misses = 0
        elif is_answered is False and _was_up(self._known, _KEYSTONE):
            self._at_length_misses += 1
        pause_s = _AT_LENGTH_AGAIN_S if self._at_length_misses else _AT_LENGTH_S
        self._at_length_due_s = self._now_s() + pause_s

    def _silence_at_length(self) -> Sequence[ServiceHealth]:
        """Keystone as it is for long questions, while it answers nothing but short ones."""
        if self._at_length_misses < _AT_LENGTH_MISSES or not _was_up(self._known, _KEYSTONE):
            return ()
        assert self._ask is not None
        detail = (
            f"short questions are answered, and a long one with a long answer is not within "
            f"{_AT_LENGTH_LIMIT_S:g} s from {self._ask.keystone_at_length}: large packets are lost on the "
            f"way. Compare the MTU along it, and see that no firewall drops ICMP"
        )
        return (ServiceHealth(name="keystone at length", is_vital=False, is_up=False, detail=detail),)

    def _told(self, asked: Sequence[Key]) -> VimHealth:
        """What is known of all services now: Keystone, the Heats, the others."""
        assert self._ask is not None
        # What is unsure counts as it was before its VIM was lost: asked next, it would be an alarm till then.
        found = [
            self._heard.get(key, self._known[key]) if key in self._unsure else self._known[key]
            for key in self._ask.keys
            if key in self._known
        ]
        if not all(one.is_up for one in found):
            is_heat = [key[1] == "orchestration" for key in self._ask.keys if key in self._known]
            heats = iter(_vital([one for one, is_one in zip(found, is_heat, strict=True) if is_one]))
            found = [next(heats) if is_one else one for one, is_one in zip(found, is_heat, strict=True)]
        return VimHealth(
            services=(*found, *self._silence_at_length()),
            asked=frozenset(self._known[key].name for key in asked if key in self._known),
        )

    def _told_of_both(self, ask: "_Questioner", asked: Sequence[Key], second: PathHealth) -> VimHealth:
        """What both paths tell together. While nothing at all is heard over the first, what its services said
        last counts, as long as Keystone is heard over the second: that is a path lost, and no VIM."""
        told = self._told(asked)
        keystone = self._known[_KEYSTONE]
        is_first_up = any(key in ask.heard for key in asked)
        first = PathHealth(
            name=FIRST_PATH,
            address=ask.keystone,
            is_up=is_first_up,
            detail="" if is_first_up else keystone.detail,
        )
        if not is_first_up and second.is_up:
            reached = replace(keystone, is_up=True, detail="", latency_ms=second.latency_ms)
            services = (
                reached if key == _KEYSTONE else self._heard.get(key, known)
                for key, known in self._known.items()
            )
            told = VimHealth(services=tuple(services), asked=frozenset({keystone.name}))
        return replace(told, paths=(first, second))

    def _limit_s(self) -> float:
        return seconds_of(self._cloud.registration, "health_timeout_s", _LIMIT_S)

    async def _keystone(self, ask: "_Questioner", ends_at: float) -> ServiceHealth:
        found = await ask.answer(_KEYSTONE, ends_at)
        if found.detail.startswith(("401", "404")):
            # The token was revoked. Whether Keystone is up, and we are still welcome, shows in the next one.
            try:
                await self._log_in(ask.token, ends_at)
            except FarsiteError as error:
                return _refused_or_down(error).services[0]
            found = replace(found, is_up=True, detail="")
        return found

    # -- the token

    async def _log_in(self, refused: str, ends_at: float) -> None:
        """Get a token other than the refused one. One login at a time, also when it outlasts a check: each
        that hangs would hold a thread of the VIM's pool."""
        is_refused = time.monotonic() - self._refused_at < _REFUSED_FOR_S
        if self._login is None or (self._login.done() and not is_refused):
            work = self._cloud.run(lambda sessions: _enter(sessions, refused), what="let us in")
            self._login = asyncio.create_task(work, name=f"login-{self._cloud.name}")
        done, _ = await asyncio.wait({self._login}, timeout=max(0, ends_at - time.monotonic()))
        if not done:
            raise VimUnreachable("Keystone has not let us in within the time limit of a check")
        if self._login.cancelled():
            raise VimUnreachable("the driver is closed")
        try:
            held = self._login.result()
        except VimFault:
            if not is_refused:
                self._refused_at = time.monotonic()
            raise
        if self._ask is None or self._ask.token != held.token:
            certificates = await asyncio.to_thread(trust, held.verify)
            self._ask = _Questioner(self._lines, held, certificates, self._limit_s())


class _Questioner:
    """Asks services with a token."""

    def __init__(self, lines: Lines, held: _Pass, certificates: ssl.SSLContext, limit_s: float) -> None:
        self._lines = lines
        self.token = held.token
        self.limit_s = limit_s
        self.keys: Sequence[Key] = (_KEYSTONE, *sorted(held.endpoints, key=lambda key: not _is_vital(key)))
        headers = {
            "X-Auth-Token": held.token,
            "X-Subject-Token": held.token,
            "Accept": "application/json",
        }
        several = len({region for region, _ in held.endpoints}) > 1
        self.keystone = held.keystone
        self.keystone_at_length = held.keystone_at_length
        self._at_length: Question | None = None
        with contextlib.suppress(ValueError):  # as the short one, which is told of
            self._at_length = question(
                "GET", held.keystone_at_length, {**headers, "X-Padding": _PADDING}, certificates
            )
        self.heard: set[Key] = set()
        """Services that have answered the last question, whatever they answered."""
        self.has_second_path = bool(held.second_keystone)
        self._second: Question | None = None
        self._second_address = held.second_proxy or held.second_keystone
        self._second_trouble = ""
        if held.second_keystone:
            try:
                self._second = question(
                    "HEAD", held.second_keystone, headers, certificates, proxy=held.second_proxy
                )
            except ValueError as error:
                self._second_trouble = str(error)
        self._names = {_KEYSTONE: "keystone"}
        self._questions: dict[Key, Question] = {}
        self._unaskable: dict[Key, str] = {}
        """Services whose endpoint is none, and why."""
        asked = {_KEYSTONE: ("HEAD", held.keystone)}
        for key, endpoint in held.endpoints.items():
            name, path = _QUESTIONS[key[1]]
            self._names[key] = f"{name}/{key[0]}" if several else name
            asked[key] = "GET", endpoint.rstrip("/") + path
        for key, (method, url) in asked.items():
            try:
                self._questions[key] = question(method, url, headers, certificates)
            except ValueError as error:
                self._unaskable[key] = f"the catalogue has no endpoint of it that can be used: {error}"
        self._failures: dict[Key, _Failure] = {}
        """Of each service the last that repeated itself or may."""
        self._answered: set[Key] = set()
        """Services that have answered once: they speak what we do, unless somebody changed that."""

    async def service(self, key: Key, ends_at: float) -> ServiceHealth:
        """Ask a service of a region its question."""
        found = await self.answer(key, ends_at)
        if found.detail.startswith(("401", "403")):
            # It has looked at our token, so it works; what it refuses is no matter of health.
            found = replace(found, is_up=True, detail="")
        return found

    async def answer(self, key: Key, ends_at: float) -> ServiceHealth:
        """Ask a service until then (monotonic, seconds); the detail is empty or begins with the status."""
        if (reason := self._unaskable.get(key)) is not None:
            return ServiceHealth(name=self._names[key], is_vital=_is_vital(key), is_up=False, detail=reason)
        started = time.monotonic()
        asked = self._questions[key]
        reply, detail = await self._reply(key, asked, ends_at)
        if reply is None:
            self.heard.discard(key)
        else:
            self.heard.add(key)
            self._answered.add(key)
            detail = _detail(asked, reply)
        return ServiceHealth(
            name=self._names[key],
            is_vital=_is_vital(key),
            is_up=not detail,
            detail=detail,
            latency_ms=_ms_since(started),
        )

    async def at_length(self) -> bool | None:
        """Ask Keystone a long question; whether its long answer came. None: another came, or none could."""
        if self._at_length is None:
            return None
        try:
            async with asyncio.timeout(_AT_LENGTH_LIMIT_S):
                reply = await self._lines.ask(self._at_length)
        except TimeoutError:
            return False
        except (OSError, NoAnswer):
            return None
        return True if reply.status == 200 else None

    async def over_second_path(self, ends_at: float) -> PathHealth:
        """Ask Keystone over the second path. That it refuses our token, which may be old, is an answer."""
        started = time.monotonic()
        detail, reply = self._second_trouble, None
        if self._second is not None:
            reply, detail = await self._reply(_SECOND, self._second, ends_at)
        if reply is not None and (reply.status >= 500 or reply.status == 407):
            detail = f"{reply.status} {reply.reason}".strip()
        return PathHealth(
            name=SECOND_PATH,
            address=self._second_address,
            is_up=not detail,
            detail=detail,
            latency_ms=_ms_since(started),
        )

    async def _reply(self, key: Key, asked: Question, ends_at: float) -> tuple[Reply | None, str]:
        """What came back, or why nothing did."""
        try:
            async with asyncio.timeout(max(0, ends_at - time.monotonic())):
                return await self._lines.ask(asked), ""
        except TimeoutError as error:
            # The kernel's own word for a connection that nobody takes is a TimeoutError, too.
            if time.monotonic() < ends_at:
                return None, await self._trouble(key, error, asked.leads_to)
            return None, f"no answer within {self.limit_s:g} s from {asked.leads_to.partition('?')[0]}"
        except (OSError, NoAnswer) as error:
            return None, await self._trouble(key, error, asked.leads_to)

    async def _trouble(self, key: Key, error: Exception, url: str) -> str:
        """A failure in words. They may take asking the server what it speaks, so they are kept while it fails
        the same way. One that has answered before is asked only when it fails so again: of hundreds that are
        lost at once nobody could ask all in time."""
        said, known = repr(error), self._failures.get(key)
        if known is None or known.said != said:
            known = _Failure(said=said)
        if known.is_final:
            return known.words
        if isinstance(error, ConnectionRefusedError) or (key in self._answered and not known.words):
            found: object = trouble_of(error, url, may_ask=False)
            is_final = isinstance(error, ConnectionRefusedError)
        else:
            found, is_final = None, True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_S):
                    work = asyncio.get_running_loop().run_in_executor(_probers, trouble_of, error, url)
                    found = await work
        words = str(found or error or type(error).__name__)
        self._failures[key] = _Failure(said=said, words=words, is_final=is_final)
        return words


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """How a service failed, as the library says it and in words for people; `is_final`: no better ones are to
    be had."""

    said: str
    words: str = ""
    is_final: bool = False


_probers = OwnThreads(16, name="what-does-it-speak")
"""Beside the loop's own threads: servers that say nothing may not keep those of the program busy."""


def _ms_since(started_s: float) -> float:
    return round((time.monotonic() - started_s) * 1000, 2)


def _detail(asked: Question, reply: Reply) -> str:
    if reply.status >= 400:
        return f"{reply.status} {reply.reason}".strip()
    is_one = asked.is_head or _is_json(reply.content)
    return "" if is_one else f"{reply.status}, but no answer of an OpenStack API"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _is_vital(key: Key) -> bool:
    return key[1] in ("identity", "orchestration")


def _was_up(known: Mapping[Key, ServiceHealth], key: Key) -> bool:
    return key in known and known[key].is_up


def _enter(sessions: "Sessions", refused: str) -> _Pass:
    token = sessions.renew(refused)
    endpoints: dict[tuple[str, str], str] = {}
    for region in sessions.wanted_regions():
        for kind in _QUESTIONS:
            if url := sessions.endpoint(region, kind):
                endpoints[region, kind] = _versioned(url, kind)
    access = sessions.access
    second = access.second_auth_url or (access.auth_url if access.second_proxy else "")
    return _Pass(
        token=token.auth_token or "",
        keystone=access.auth_url + _LOOK_UP,
        keystone_at_length=access.auth_url + _LOOK_UP_ALL,
        second_keystone=second + _LOOK_UP if second else "",
        second_proxy=access.second_proxy,
        endpoints=endpoints,
        verify=access.verify,
    )


def _versioned(url: str, kind: str) -> str:
    version = _VERSION_OF.get(kind)
    if version is None or any(part.startswith("v2") for part in urlsplit(url).path.split("/")):
        return url
    return f"{url.rstrip('/')}/{version}"


def _vital(heats: Sequence[ServiceHealth]) -> Sequence[ServiceHealth]:
    """A VIM of several regions is lost when all of its Heats are; while one works it is degraded."""
    is_lost = not any(one.is_up for one in heats)
    return [replace(one, is_vital=is_lost or one.is_up) for one in heats]


def _refused_or_down(error: FarsiteError) -> VimHealth:
    is_keystones_word = bool(error.about.get("request_id")) and error.about.get("status") in _REFUSALS
    if isinstance(error, VimFault) and (not error.about or is_keystones_word):
        raise error
    return _nothing_known(error.detail)


def _nothing_known(reason: str) -> VimHealth:
    return VimHealth(
        services=(
            ServiceHealth(name="keystone", is_vital=True, is_up=False, detail=reason),
            ServiceHealth(
                name="heat", is_vital=True, is_up=False, detail="not asked: Keystone does not let us in"
            ),
        )
    )
