"""The ability of adapters to tell which licences a function has, beside the seam of all (`vnfs.adapter`).

Vendors say the same in many words and forms of date. `LicenceWords` is what an adapter states of its
product's, and reads them in one way for all: what cannot be read is UNKNOWN, in the vendor's words, and is
never taken for a licence that is valid or does not end.

`figures` makes numbers of them, which thresholds turn into alarms before a licence ends. There is one for
each licence, and, since a threshold looks at one number of an object, one of the first that ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from farsite.model.configuration import Verb
from farsite.model.errors import NotSupported, VnfFault
from farsite.model.licence import Licence, LicenceState
from farsite.vnfs.adapter import About, Adapter, Sample

EPOCH = "epoch"
"""The form of a date that is seconds since 1970."""


@runtime_checkable
class Licences(Protocol):
    """Tells the licences of one function."""

    async def licences(self) -> Sequence[Licence]:
        """Which licences the device has or lacks, in which state they are and when they end.

        Raises:
            NotSupported: nothing says how this function's product tells them.
            VnfFault: the device does not say, or what it says cannot be read at all.
            VnfUnreachable: no answer.
        """
        ...


def licences(adapter: Adapter) -> Licences:
    """The adapter by this ability.

    Raises:
        NotSupported: it has not got it.
    """
    if Verb.LICENCE not in adapter.about.verbs or not isinstance(adapter, Licences):
        raise lacking(adapter.about)
    return adapter


def lacking(about: About) -> NotSupported:
    """What is told where an adapter has not got the ability."""
    return NotSupported(
        f"Adapter {about.name} cannot tell the licences of {about.product}: its dictionary has no section "
        f"licences. Where the product tells them, add that section (docs/guide/write-an-adapter.md)."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceWords:
    """What a product's words about its licences mean."""

    states: Mapping[str, LicenceState] = field(default_factory=dict[str, LicenceState])
    """By the vendor's word, in small letters."""
    dates: tuple[str, ...] = ()
    """Forms of dates, as `strptime` writes them, or `epoch`; the first that fits counts. UTC where a form has
    no zone. A date without a time of day is its beginning: whoever is warned is warned early."""
    never: tuple[str, ...] = ()
    """Words, in small letters, that stand where a date would and mean that it does not end."""

    def licence(self, name: str, *, state: str | None, expires: str, said: str, now_s: float) -> Licence:
        """What the vendor's words mean. `state` None: the product has no word for it, and the end decides.
        `expires` empty: no end is told. `now_s` is POSIX time."""
        unread: list[str] = []
        expires_at = self._moment(expires, unread)
        if state is None:
            is_over = expires_at is not None and expires_at.timestamp() <= now_s
            known = LicenceState.EXPIRED if is_over else LicenceState.VALID
        else:
            known = self.states.get(state.strip().lower(), LicenceState.UNKNOWN)
            if known is LicenceState.UNKNOWN:
                unread.append(f'the state "{state.strip()}" is not known')
        return Licence(
            name=name,
            state=LicenceState.UNKNOWN if unread else known,
            expires_at=expires_at,
            said="; ".join((" ".join(said.split())[:500], *unread)),
        )

    def _moment(self, text: str, unread: list[str]) -> datetime | None:
        text = " ".join(text.split())
        if not text or text.lower() in self.never:
            return None
        for form in self.dates:
            try:
                return moment(text, form)
            except (ValueError, OverflowError, OSError):
                continue
        unread.append(f'the date "{text[:80]}" cannot be read')
        return None


def moment(text: str, form: str) -> datetime:
    """A date of that form, in UTC.

    Raises:
        ValueError: it is none, or the form is none; OverflowError and OSError: no calendar has it.
    """
    if form == EPOCH:
        return datetime.fromtimestamp(float(text), UTC)
    read = datetime.strptime(text, form)  # noqa: DTZ007  (the zone follows)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def figures(told: Iterable[Licence], now_s: float) -> list[Sample]:
    """The numbers of licences at POSIX time `now_s`; seconds left are negative once a licence has ended."""
    known = list(told)
    left: dict[str, float] = {}
    for one in known:
        if one.expires_at is not None:
            seconds = one.expires_at.timestamp() - now_s
            left[one.name] = min(seconds, left.get(one.name, seconds))
    samples = [
        Sample(
            name="licence_valid",
            value=float(one.state is LicenceState.VALID),
            labels={"licence": one.name},
        )
        for one in known
    ]
    samples += [
        Sample(name="licence_seconds_left", value=value, labels={"licence": name})
        for name, value in left.items()
    ]
    if left:
        samples.append(Sample(name="licence_seconds_left_least", value=min(left.values())))
    for state in (LicenceState.EXPIRED, LicenceState.UNKNOWN):
        number = sum(one.state is state for one in known)
        samples.append(Sample(name=f"licences_{state.lower()}", value=float(number)))
    return samples


async def figures_of(device: Licences, now_s: float) -> list[Sample]:
    """The numbers of a device's licences. One that does not tell them has its other figures still, and this
    is one that is not known.

    Raises:
        VnfUnreachable: no answer.
    """
    try:
        return figures(await device.licences(), now_s)
    except VnfFault:
        return [Sample(name="licences_unknown", value=1.0)]
