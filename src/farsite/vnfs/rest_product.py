"""What a product that is managed over HTTP offers to the engine (`rest_adapter`): its own half of an
adapter.

A product's module has a function `product(device: Device) -> Product`, and knows requests, shapes and
words of that product. The engine knows the order in which a change is made so that a mistake undoes
itself. What a device tells and what it is told are native texts by the name of their place, as in every
other adapter.

The state of the last change is kept on the device, in an object there that has no effect (`Entry`):
Farsite may be restarted, replaced by another process or fed from a backup, and still learns what became
of a change.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from farsite.model.errors import VnfFault
from farsite.model.licence import Licence
from farsite.vnfs.adapter import RETRIED, ErrorCode, Outcome, Probed, Sample, Wanted
from farsite.vnfs.licences import LicenceWords
from farsite.vnfs.rest import HttpAnswer, Rest

Texts = Mapping[str, str]
"""Native text by the name of its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the device keeps of the last change. `deadline_s` is POSIX time: when an unconfirmed one is
    over.
    """

    change_id: str
    outcome: Outcome
    deadline_s: float = 0.0
    is_whole: bool = True
    """False: the change broke off between two of its requests. It is taken back when whoever asked for it
    comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a device runs, of what the adapter owns, and what became of the last change."""

    texts: Texts
    entry: Entry | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as its product's module sees it."""

    name: str
    product: str
    rest: Rest
    user: str = ""
    password: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    meaning: Callable[[str], ErrorCode] = lambda _words: ErrorCode.FAILED
    licence_words: LicenceWords = field(default_factory=LicenceWords)
    """By the section `licences` of the dictionary."""
    timeout_s: float = 60.0
    now: Callable[[], float] = time.time
    """POSIX time."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits so many seconds, between two looks at what the device is at."""

    def licence(self, name: str, *, state: str | None, expires: str, said: str) -> Licence:
        """What the product's words mean; see `LicenceWords.licence`."""
        words = self.licence_words
        return words.licence(name, state=state, expires=expires, said=said, now_s=self.now())

    def fault(self, what: str, words: str, *, code: ErrorCode | None = None, step: str = "") -> VnfFault:
        """An error in the device's own words. `what` begins with a verb; `step` is what to do next."""
        code = code or self.meaning(words)
        again = "Repeating it may help." if RETRIED[code] else "Repeating it will not help."
        said = " ".join(words.split()) or "nothing"
        return VnfFault(
            f"{self.name} ({self.product}) {what}. It says: {said}. {step or again}", about={"code": code}
        )

    def refused(self, answer: HttpAnswer, what: str, words: str) -> VnfFault:
        """The error that an answer with a status of refusal stands for."""
        match answer.status:
            case 401 | 403:
                return self.fault(
                    what,
                    words or f"HTTP {answer.status}",
                    code=ErrorCode.AUTHENTICATION,
                    step="Check the user and the password, key or token of the function's access, and what "
                    "the device allows to it.",
                )
            case 429 | 503:
                return self.fault(what, words or f"HTTP {answer.status}", code=ErrorCode.BUSY)
            case _:
                return self.fault(what, words or f"HTTP {answer.status}")


class Product(Protocol):
    """One device of a product. Every method may raise `VnfFault` and `VnfUnreachable` as `Adapter` says. A
    product whose dictionary has a section `licences` has the method of `licences.Licences` too."""

    async def fetch(self) -> Found: ...

    def render(self, wanted: Wanted, running: Texts) -> Texts:
        """The text of every place that the document speaks of, as the device would tell it. What of a place
        is not the document's is taken over from what runs.

        Raises:
            NotSupported: the document says what this product cannot do.
            Invalid: a secret is not there.
        """
        ...

    async def check(self, found: Found, will: Texts) -> None:
        """Let the device judge what would be changed, where it can; changes nothing."""
        ...

    async def install(self, found: Found, will: Texts, entry: Entry, *, within_s: float) -> None:
        """Make these places run, with an entry that is PENDING; refused, everything is as it was. A device
        that takes changes back by itself does so after `within_s`."""
        ...

    async def keep(self, found: Found, entry: Entry) -> None:
        """Make the pending change stay, and its entry CONFIRMED. May be called again after it broke off."""
        ...

    async def take_back(self, found: Found, entry: Entry) -> None:
        """Bring back what ran before the pending change, and make its entry REVERTED. May be called again."""
        ...

    async def health(self) -> Sequence[Probed]: ...

    async def metrics(self) -> Sequence[Sample]: ...
