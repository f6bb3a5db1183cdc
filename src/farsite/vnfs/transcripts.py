"""Transcripts: what an adapter and its device said to each other while the conformance kit tried it, and the
kit once more, with that file in the device's place.

Whoever has not the device at hand (a build server, the author of the adapter's next release) sees so that the
adapter still asks the same and reads the answers as before. It shows nothing of a device: what that would
answer today is in no file. So a replay is strict, for an answer to another question would show less than
nothing, and counts as evidence nowhere.

Values of secrets are not in the file. A recorded answer is masked at once, and what the file says is asked is
what the adapter asks when it is given such answers and other values; so digests and encodings of a secret
are those of a placeholder. What cannot be replayed by these alone (a hash with a salt of its own) is left
out with its reason.
"""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NoReturn, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from farsite import __version__
from farsite.model.configuration import Configuration
from farsite.model.errors import (
    Conflict,
    FarsiteError,
    Invalid,
    NotSupported,
    VnfFault,
    VnfUnreachable,
)
from farsite.model.ids import derived_id, new_id
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.between import (
    Answer,
    Between,
    CarryOut,
    NetconfOpening,
    NetconfRequest,
    Request,
    RestRequest,
    ShellRequest,
)
from farsite.vnfs.conformance import (
    CHECKS,
    Breach,
    Check,
    Checked,
    Opened,
    Subject,
    Verdict,
    a_commit_that_is_slower_than_we_wait_is_found_again,
    a_lost_session_leaves_nothing_half_done,
    name_of,
    verify,
)
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.folder_contents import contents, digest_of
from farsite.vnfs.netconf import Netconf, Reply, RpcError
from farsite.vnfs.netconf_adapter import NetconfAdapter
from farsite.vnfs.rest import HttpAnswer, Rest
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.shell import Ran, Shell
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.texts import masked

FORMAT: Literal["farsite-transcript/1"] = "farsite-transcript/1"
_SAYS_SO = re.compile(rb"^\W*format\W+(farsite-transcript/[\w.]+)")
_PASSWORD = "access.password"  # noqa: S105  (a name)
"""What the password, key or token of the device is called among the secrets."""
_LEAST_SECRET = 6
_SHOWN = 160
_HASH = re.compile(r"\$(?:1|2[abxy]|5|6|7|y|gy)\$[./A-Za-z0-9$=,]{20,}")
"""Of a password, as devices keep them (crypt)."""
_DOCUMENT: TypeAdapter[Configuration] = TypeAdapter(Configuration)
_FAULTS: Mapping[str, type[FarsiteError]] = {
    one.__name__: one for one in (VnfUnreachable, VnfFault, Conflict, NotSupported, Invalid)
}
_BY_TIME = "it depends on when a connection breaks, which no transcript can tell"
LEFT_OUT: Mapping[Check, str] = {
    a_lost_session_leaves_nothing_half_done: _BY_TIME,
    a_commit_that_is_slower_than_we_wait_is_found_again: _BY_TIME,
}
"""What is tried on a device only, and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(_Strict):
    """One request. Which fields it has follows from how the device is talked to."""

    shell: str | None = None
    """A command."""
    given: str = ""
    """SHA-256 (hex) of what that is given on its standard input; empty: nothing."""
    method: str | None = None
    path: str = ""
    headers: Mapping[str, str] = {}
    body: str = ""
    netconf: str | None = None
    """An operation."""
    opens: bool = False
    """A session of NETCONF is opened where there is none."""

    @property
    def kind(self) -> str:
        names = ("shell", "method", "netconf")
        return next((one for one in names if getattr(self, one) is not None), "opens")


class Told(_Strict):
    """One answer."""

    status: int = 0
    output: str = ""
    errors: str = ""
    headers: Mapping[str, str] = {}
    body: str = ""
    body_base64: str = ""
    """In place of a body that is no text."""
    xml: str = ""
    refused: tuple[Mapping[str, str], ...] = ()
    """Errors of NETCONF."""
    capabilities: tuple[str, ...] = ()


class Broke(_Strict):
    """In place of an answer: why there was none."""

    kind: str
    detail: str
    about: Mapping[str, str] = {}


class Event(_Strict):
    """One thing that happened: a request with what became of it, a look at the clock, or another
    administrator at work."""

    now: float | None = None
    meddles: bool = False
    asked: Asked | None = None
    told: Told | None = None
    broke: Broke | None = None


class RecordedCheck(_Strict):
    """A check as it was recorded; `left_out` says why it was not."""

    name: str
    verdict: Verdict = Verdict.PASSED
    left_out: str = ""
    events: tuple[Event, ...] = ()


class Documents(_Strict):
    good: Configuration
    other: Configuration
    wrong: Configuration | None = None


class RecordedDevice(_Strict):
    """What the adapter was opened with, but for values of secrets."""

    name: str
    user: str = ""
    parameters: Mapping[str, str] = {}
    keep_in: str = ""


class Transcript(_Strict):
    """The content of a transcript."""

    format: Literal["farsite-transcript/1"] = FORMAT
    adapter: str
    release: str = ""
    digest: str
    """Of the adapter's folder as it was recorded."""
    product: str
    """Its version, as the device told it."""
    farsite: str
    at: datetime
    run: str
    """From which the ids of all changes follow."""
    device: RecordedDevice
    expires_s: float
    meddles: bool
    secrets: tuple[str, ...] = ()
    """Names of what was masked."""
    documents: Documents
    checks: tuple[RecordedCheck, ...]

    @property
    def text(self) -> str:
        """One line for each event, so that two transcripts can be compared line by line."""
        head = self.model_dump(mode="json", exclude={"checks", "documents", "format"})
        stated = {
            name: _DOCUMENT.dump_python(one, mode="json", exclude_defaults=True)
            for name in ("good", "other", "wrong")
            if (one := getattr(self.documents, name)) is not None
        }
        head = {"format": self.format, **head, "documents": stated}
        checks = ",\n".join(_check_text(one) for one in self.checks)
        lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        return "{\n" + ",\n".join([*lines, f' "checks": [\n{checks}\n ]']) + "\n}\n"


def _check_text(check: RecordedCheck) -> str:
    head = check.model_dump(mode="json", exclude={"events"}, exclude_defaults=True)
    told = ",\n".join(
        f"   {json.dumps(one.model_dump(mode='json', exclude_defaults=True))}" for one in check.events
    )
    return f'  {json.dumps(head)[:-1]}, "events": [' + (f"\n{told}\n  ]}}" if told else "]}")


# Reading one.


def is_transcript(path: Path) -> bool:
    """Whether a file says that it is one, of whatever format."""
    try:
        with path.open("rb") as file:
            return _SAYS_SO.match(file.read(200)) is not None
    except OSError:
        return False


def read_transcript(path: Path, folder: Folder) -> Transcript:
    """A transcript, for the adapter in a folder.

    Raises:
        Invalid: it is cut, of another format or adapter, or has a check that this release does not know.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    says = _SAYS_SO.match(content)
    if says is None or says[1].decode() != FORMAT:
        found = says[1].decode() if says else "no transcript"
        raise Invalid(f"{path} is {found}, and this release of Farsite reads {FORMAT}. Record it again.")
    try:
        transcript = Transcript.model_validate(json.loads(content))
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(str(part) for part in one["loc"])
        raise Invalid(f"{path}: {where}: {one['msg']}. Record it again.") from error
    except ValueError as error:
        raise Invalid(f"{path} is not whole: {error}. It was cut or changed; record it again.") from error
    if transcript.adapter != folder.dictionary.name:
        raise Invalid(
            f"{path} was recorded of the adapter {transcript.adapter}, and {folder.where} is "
            f"{folder.dictionary.name}."
        )
    known = {name_of(one) for one in CHECKS}
    unknown = [one.name for one in transcript.checks if one.name not in known]
    if unknown:
        raise Invalid(
            f'{path} has the check "{unknown[0]}", which this release of Farsite does not know. Record it '
            f"again, or use the release that wrote it ({transcript.farsite})."
        )
    return transcript


# Recording one.


async def record(
    subject: Subject, folder: Folder, *, checks: Sequence[Check] = CHECKS
) -> tuple[list[Checked], Transcript]:
    """Try an adapter on its device, and what was exchanged meanwhile.

    Raises:
        NotSupported: nothing can lie between this adapter and its device.
        Invalid: a secret could not be hidden.
    """
    _refuse_playbooks(folder)
    values = _hideable(subject)
    adapter = await subject.open()
    try:
        version = (await adapter.fetch()).version
    finally:
        await adapter.close()
    transcript = Transcript(
        adapter=folder.dictionary.name,
        release=folder.dictionary.release,
        digest=digest_of(contents(Path(folder.where))),
        product=version,
        farsite=__version__,
        at=datetime.now(UTC).replace(microsecond=0),
        run=new_id(),
        device=RecordedDevice(
            name=subject.opened.device,
            user=subject.opened.user,
            parameters=subject.opened.parameters,
            keep_in=subject.opened.keep_in,
        ),
        expires_s=subject.expires_s,
        meddles=subject.meddle is not None,
        secrets=tuple(sorted(values)),
        documents=Documents(good=subject.good, other=subject.other, wrong=subject.wrong),
        checks=(),
    )
    tried: list[Checked] = []
    recorded: list[RecordedCheck] = []
    for check in checks:
        if check in LEFT_OUT:
            tried.append(await verify(subject, check))
            recorded.append(RecordedCheck(name=name_of(check), left_out=LEFT_OUT[check]))
            continue
        recorder = Recorder(values)
        checked = await verify(
            _meddling_through(subject, recorder), check, between=recorder, run=transcript.run
        )
        tried.append(checked)
        recorded.append(await _replayable(transcript, folder, check, checked, recorder.events))
    whole = transcript.model_copy(update={"checks": tuple(recorded)})
    text = whole.text
    for name, value in values.items():
        if _wherever(value).search(text):
            raise Invalid(
                f"The value of the secret {name} stands in a document or parameter of the trial, so the "
                f"transcript would tell it. Refer to it there as secret:{name}."
            )
    return tried, whole


def _refuse_playbooks(folder: Folder) -> None:
    if folder.dictionary.access.method == "ansible":
        raise NotSupported(
            f"Adapter {folder.dictionary.name} changes a device by a playbook. What Ansible says to it "
            f"passes no place where it could be written down, so there are no transcripts of it."
        )


def _hideable(subject: Subject) -> Mapping[str, str]:
    """The values that must not be in the file, by name."""
    values = {**subject.secrets, **({_PASSWORD: subject.opened.password} if subject.opened.password else {})}
    for name, value in values.items():
        if len(value) < _LEAST_SECRET:
            raise Invalid(
                f"The value of the secret {name} has less than {_LEAST_SECRET} characters, and a transcript "
                f"could not hide it. Try the adapter with a longer one."
            )
    return values


def _meddling_through(subject: Subject, through: "Recorder") -> Subject:
    meddle = subject.meddle
    if meddle is None:
        return subject

    async def meddling() -> None:
        through.events.append(Event(meddles=True))
        await meddle()

    return replace(subject, meddle=meddling)


async def _replayable(
    transcript: Transcript, folder: Folder, check: Check, checked: Checked, events: Sequence[Event]
) -> RecordedCheck:
    """What the file says of a check: its requests as a replay makes them. Another replay makes them again."""
    name = name_of(check)
    for is_strict in (False, True):
        replay = _Replay(events, transcript.secrets, is_strict=is_strict)
        again = await _replayed(transcript, folder, check, replay)
        if again.verdict is not checked.verdict:
            return RecordedCheck(
                name=name,
                left_out=f"what is asked does not follow from answers and documents alone: "
                f"{again.said or again.verdict}",
            )
        events = replay.made
    return RecordedCheck(name=name, verdict=checked.verdict, events=tuple(events))


class Recorder(Between):
    """Writes down what passes, without what is secret."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """`values` by name."""
        self.events: list[Event] = []
        self._capabilities: tuple[str, ...] = ()
        longest_first = sorted(values.items(), key=lambda one: -len(one[1]))
        self._values = [(name, _wherever(value)) for name, value in longest_first]

    async def exchange(self, request: Request, carry_out: CarryOut[Answer]) -> Answer:
        # What is asked is found when it is replayed; of what is secret not even a digest stays.
        asked = _BLANK[type(request)]
        try:
            answer = await carry_out()
        except FarsiteError as error:
            kind = next((one.__name__ for one in type(error).mro() if one.__name__ in _FAULTS), "VnfFault")
            broke = Broke(kind=kind, detail=self._hidden(error.detail), about=error.about)
            self.events.append(Event(asked=asked, broke=broke))
            raise
        told = _told(answer, self._hidden)
        if told.capabilities and told.capabilities == self._capabilities:
            # Hundreds of lines, asked for before each verb.
            self.events.append(Event(asked=asked))
        else:
            self._capabilities = told.capabilities or self._capabilities
            self.events.append(Event(asked=asked, told=told))
        return answer

    def now(self, told: Callable[[], float]) -> float:
        now = told()
        self.events.append(Event(now=now))
        return now

    def _hidden(self, text: str) -> str:
        for name, pattern in self._values:
            text = pattern.sub(lambda _, name=name: f"secret:{name}", text)
        return _HASH.sub("secret:hash", text)


_BLANK: Mapping[type[Request], Asked] = {
    ShellRequest: Asked(shell=""),
    RestRequest: Asked(method=""),
    NetconfRequest: Asked(netconf=""),
    NetconfOpening: Asked(opens=True),
}


def _wherever(value: str) -> re.Pattern[str]:
    """Matches a value however it stands in an answer: escaped for JSON (within JSON too), XML, addresses or a
    shell; or its base64, or a digest that anybody could try passwords against."""
    content = value.encode()
    digests = (hashlib.new(name, content, usedforsecurity=False).hexdigest() for name in _DIGESTS)
    encoded = (base64.b64encode(content), base64.urlsafe_b64encode(content))
    whole = [re.escape(one.decode()) for one in encoded] + [f"(?i:{one})" for one in digests]
    return re.compile("|".join(("".join(map(_character, value)), *whole)))


def _character(one: str) -> str:
    """A pattern of one character, however it is escaped."""
    if one.isascii() and one.isalnum():
        return one
    code = f"{ord(one):04x}"
    forms = [
        re.escape(one),
        "(?i:" + "".join(f"%{byte:02x}" for byte in one.encode()) + ")",
        f"(?i:u{code})" if len(code) == 4 else "(?i:" + _surrogates(one) + ")",
        f"&(?:amp;)*#(?:{ord(one)}|(?i:x0*{ord(one):x}));",
        *_ESCAPED.get(one, ()),
    ]
    return rf"\\*(?:{'|'.join(reversed(forms))})"


def _surrogates(one: str) -> str:
    """Of a character beyond the 16 bits of JSON's escapes."""
    content = one.encode("utf-16-be").hex()
    return rf"u{content[:4]}\\+u{content[4:]}"


_DIGESTS = ("md5", "sha1", "sha256", "sha512")
_ESCAPED: Mapping[str, tuple[str, ...]] = {
    "&": ("&(?:amp;)+",),
    "<": ("&(?:amp;)*lt;",),
    ">": ("&(?:amp;)*gt;",),
    '"': ("&(?:amp;)*quot;",),
    "'": ("&(?:amp;)*apos;", r"'\\+''", "'\"'\"'"),
    " ": (r"\+",),
    "\n": ("n",),
    "\t": ("t",),
}


# Replaying one.


async def replay(transcript: Transcript, folder: Folder) -> list[Checked]:
    """The kit, with a transcript in the device's place. Takes no more time than the adapter itself.

    Raises:
        NotSupported: the adapter changes devices by playbooks, of which there are no transcripts.
    """
    _refuse_playbooks(folder)
    known = {one.name: one for one in transcript.checks}
    checked: list[Checked] = []
    for check in CHECKS:
        name = name_of(check)
        recorded = known.get(name)
        reason = recorded.left_out if recorded else "the transcript does not have it"
        if recorded is None or reason:
            checked.append(Checked(name=name, verdict=Verdict.LEFT_OUT, said=reason))
            continue
        played = _Replay(recorded.events, transcript.secrets, is_strict=True)
        checked.append(await _replayed(transcript, folder, check, played))
    return checked


async def _replayed(transcript: Transcript, folder: Folder, check: Check, played: "_Replay") -> Checked:
    subject = _subject(transcript, folder, played)
    checked = await verify(subject, check, between=played, run=transcript.run)
    if checked.verdict is Verdict.PASSED and played.is_left:
        played.note("the adapter ended here", played.is_left)
    if played.difference:
        # Whatever became of it afterwards.
        return replace(checked, verdict=Verdict.FAILED, said=played.difference)
    return checked


def _subject(transcript: Transcript, folder: Folder, played: "_Replay") -> Subject:
    device = transcript.device
    values = {name: _placeholder(name) for name in transcript.secrets}
    password = values.pop(_PASSWORD, "")
    nobody = _Nobody()

    async def opened() -> Adapter:
        match folder.dictionary.access.method:
            case "rest" | "function":
                return RestAdapter(
                    folder,
                    cast(Rest, nobody),
                    device=device.name,
                    user=device.user,
                    password=password,
                    parameters=device.parameters,
                )
            case "netconf":
                return NetconfAdapter(
                    folder, cast(Netconf, nobody), device=device.name, parameters=device.parameters
                )
            case _:
                return ShellSoftware(
                    folder,
                    cast(Shell, nobody),
                    device=device.name,
                    parameters=device.parameters,
                    keep_in=device.keep_in,
                )

    return Subject(
        open=opened,
        good=transcript.documents.good,
        other=transcript.documents.other,
        wrong=transcript.documents.wrong,
        meddle=played.meddle if transcript.meddles else None,
        secrets=values,
        expires_s=transcript.expires_s,
        opened=Opened(device=device.name, user=device.user, parameters=device.parameters),
    )


class _Nobody:
    """In place of a device. Everything is answered before it comes here."""

    async def close(self) -> None:
        pass


class _Differs(Breach):
    """Something else is asked than what was recorded."""


class _Replay(Between):
    """Answers in the device's place, for as long as what is asked is what was asked then."""

    def __init__(self, events: Sequence[Event], secrets: Sequence[str], *, is_strict: bool) -> None:
        """Without `is_strict` any request will do that is of the same kind; `made` has those that were."""
        self._events = list(events)
        self._is_strict = is_strict
        self._placeholders = {name: _placeholder(name) for name in secrets}
        self._capabilities: frozenset[str] = frozenset()
        self.made: list[Event] = []
        self.difference = ""
        """The first one; empty: none so far."""

    async def exchange(self, request: Request, carry_out: CarryOut[Answer]) -> Answer:  # noqa: ARG002  (nobody is there)
        asked = _asked(request, self._placeholders)
        event = self._next()
        if event is None or event.asked is None or event.asked.kind != asked.kind:
            self._differ(_words(event), _words(Event(asked=asked)))
        if self._is_strict and event.asked != asked:
            self._differ(*_difference(event.asked, asked))
        self.made.append(event.model_copy(update={"asked": asked}))
        if event.broke is not None:
            kind = _FAULTS.get(event.broke.kind, VnfFault)
            raise kind(self._shown(event.broke.detail), about=event.broke.about)
        return cast(Answer, self._answer(request, event.told or Told()))

    def now(self, told: Callable[[], float]) -> float:  # noqa: ARG002  (of the time when it was recorded)
        event = self._next()
        if event is None or event.now is None:
            self._differ(_words(event), "asks what time it is")
        self.made.append(event)
        return event.now

    async def pause(self, seconds: float, passes: Callable[[float], Awaitable[None]]) -> None:
        """Nobody has to be waited for."""

    async def meddle(self) -> None:
        """Somebody else changes the device, as he did then."""
        event = self._next()
        if event is None or not event.meddles:
            self._differ(_words(event), "somebody else changes the device")
        self.made.append(event)

    @property
    def is_left(self) -> str:
        """In words, what comes next; empty: nothing."""
        return _words(self._events[len(self.made)]) if len(self.made) < len(self._events) else ""

    def note(self, found: str, expected: str) -> None:
        """Keep the first difference."""
        self.difference = self.difference or (
            f"at {len(self.made) + 1} of {len(self._events)} it differs from what was recorded. Expected: "
            f"{expected}. Found: {found}"
        )

    def _differ(self, expected: str, found: str) -> NoReturn:
        self.note(found, expected)
        raise _Differs(self.difference)

    def _next(self) -> Event | None:
        if self.difference:
            # Engines clean up after what went wrong.
            raise _Differs(self.difference)
        return self._events[len(self.made)] if len(self.made) < len(self._events) else None

    def _shown(self, text: str) -> str:
        """A recorded text, with a value for every secret."""
        for name, value in sorted(self._placeholders.items(), key=lambda one: -len(one[0])):
            text = text.replace(f"secret:{name}", value)
        return text

    def _answer(self, request: Request, told: Told) -> Ran | HttpAnswer | Reply | frozenset[str]:
        match request:
            case ShellRequest():
                return Ran(
                    status=told.status, output=self._shown(told.output), errors=self._shown(told.errors)
                )
            case RestRequest():
                body = base64.b64decode(told.body_base64) or self._shown(told.body).encode()
                return HttpAnswer(status=told.status, body=body, headers=told.headers)
            case NetconfRequest():
                errors = tuple(RpcError(**one) for one in told.refused)
                return Reply(xml=self._shown(told.xml), errors=errors)
            case NetconfOpening():
                self._capabilities = frozenset(told.capabilities) or self._capabilities
                return self._capabilities


def _placeholder(name: str) -> str:
    """A value for a secret: the same for the same name, and nobody's."""
    return f"Placeholder{derived_id('transcript', name).replace('-', '')[:12]}"


def _asked(request: Request, values: Mapping[str, str]) -> Asked:
    """A request as the file has it."""
    match request:
        case ShellRequest():
            given = hashlib.sha256(request.given).hexdigest() if request.given else ""
            return Asked(shell=masked(request.command, values), given=given)
        case RestRequest():
            headers = {name: masked(text, values) for name, text in request.headers}
            body = masked(request.body.decode("utf-8", "backslashreplace"), values)
            return Asked(method=request.method, path=masked(request.path, values), headers=headers, body=body)
        case NetconfRequest():
            return Asked(netconf=masked(request.operation, values))
        case NetconfOpening():
            return Asked(opens=True)


def _told(answer: Ran | HttpAnswer | Reply | frozenset[str], hidden: Callable[[str], str]) -> Told:
    match answer:
        case Ran():
            return Told(status=answer.status, output=hidden(answer.output), errors=hidden(answer.errors))
        case HttpAnswer():
            headers = {
                name: hidden(text)
                for name, text in answer.headers.items()
                if name not in ("set-cookie", "date")
            }
            try:
                return Told(status=answer.status, headers=headers, body=hidden(answer.body.decode()))
            except UnicodeDecodeError:
                encoded = base64.b64encode(answer.body).decode()
                return Told(status=answer.status, headers=headers, body_base64=encoded)
        case Reply():
            names = ("tag", "app_tag", "path", "message", "session_id")
            refused = tuple(
                {name: hidden(getattr(one, name)) for name in names if getattr(one, name)}
                for one in answer.errors
            )
            return Told(xml=hidden(answer.xml), refused=refused)
        case frozenset():
            return Told(capabilities=tuple(sorted(answer)))


# In words.


def _words(event: Event | None) -> str:
    if event is None:
        return "nothing more"
    if event.now is not None:
        return "asks what time it is"
    if event.asked is None:
        return "somebody else changes the device"
    asked = event.asked
    match asked.kind:
        case "shell":
            return f"the command {_short(asked.shell or '')}"
        case "method":
            return f"the request {asked.method} {_short(asked.path)} {_short(asked.body)}".rstrip()
        case "netconf":
            return f"the operation {_short(asked.netconf or '')}"
        case _:
            return "a session is opened"


def _difference(expected: Asked, found: Asked) -> tuple[str, str]:
    """The first field in which two requests of one kind differ, from where they do."""
    for name in ("shell", "method", "path", "body", "headers", "netconf"):
        one, other = _field(expected, name), _field(found, name)
        if one != other:
            at = next(
                (at for at, (was, will) in enumerate(zip(one, other, strict=False)) if was != will),
                min(len(one), len(other)),
            )
            begin = max(0, at - _SHOWN // 4)
            what = "command" if name == "shell" else "operation" if name == "netconf" else name
            return f"the {what} {_short(one[begin:])}", f"{_short(other[begin:])}"
    command = _short(expected.shell or "")
    return (
        f"the command {command} with input of SHA-256 {expected.given[:16] or 'nothing'}",
        f"input of {found.given[:16] or 'nothing'}, that is, other files or candidates",
    )


def _field(asked: Asked, name: str) -> str:
    value: object = getattr(asked, name)
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value or "")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
