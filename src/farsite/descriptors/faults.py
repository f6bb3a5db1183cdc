"""What is wrong in an archive, collected: one upload tells all its faults, not only the first."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

from farsite.model.errors import Invalid
from farsite.model.package import Fault

_FAULTS_KEPT = 100
_TEXT_KEPT = 600
_COMPARISONS = 10_000
"""How many names may be compared for suggestions while one archive is read: it bounds the time that takes."""


class ArchiveRefused(Invalid):
    """An archive or descriptor that cannot be onboarded. `faults` says where, what and what was expected."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        assert faults, "an archive is refused for a reason"
        self.faults = tuple(faults)
        more = f" ... and {len(faults) - 5} more" if len(faults) > 5 else ""
        super().__init__("; ".join(str(fault) for fault in faults[:5]) + more)

    def __reduce__(self) -> tuple[type["ArchiveRefused"], tuple[tuple[Fault, ...]]]:
        return ArchiveRefused, (self.faults,)


def refusal(file: str, line: int | None, found: str, expected: str = "") -> ArchiveRefused:
    """An `ArchiveRefused` for one fault after which reading cannot go on."""
    return ArchiveRefused((Fault(file=file, line=line, found=found, expected=expected),))


class Place(Protocol):
    """Anything that knows where in the archive it stands."""

    @property
    def file(self) -> str: ...

    @property
    def line(self) -> int: ...


class FaultLog:
    """Collects faults and warnings while reading goes on.

    Repeated ones are kept once, and faults beyond a hundred are counted only: the first ones name the cause.
    """

    def __init__(self) -> None:
        self._faults: dict[Fault, None] = {}
        self._warnings: dict[str, None] = {}
        self._dropped = 0
        self._comparisons = _COMPARISONS

    def fault(self, file: str, line: int | None, found: str, expected: str = "") -> None:
        """Note something that makes the archive unacceptable."""
        fault = Fault(file=file, line=line, found=found[:_TEXT_KEPT], expected=expected[:_TEXT_KEPT])
        if len(self._faults) >= _FAULTS_KEPT:
            self._dropped += fault not in self._faults
        else:
            self._faults[fault] = None

    def at(self, place: Place, found: str, expected: str = "") -> None:
        """Note a fault of the thing that stands at `place`."""
        self.fault(place.file, place.line, found, expected)

    def warn_at(self, place: Place, text: str) -> None:
        """Note a warning about the thing that stands at `place`."""
        self.warn(place.file, place.line, text)

    def extend(self, refused: ArchiveRefused) -> None:
        """Note the faults of a part that could not be read."""
        for fault in refused.faults:
            self.fault(fault.file, fault.line, fault.found, fault.expected)

    def warn(self, file: str, line: int | None, text: str) -> None:
        """Note something an operator should know that does not stop onboarding."""
        if len(self._warnings) < _FAULTS_KEPT:
            where = f"{file}:{line}" if line else file
            self._warnings[f"{where}: {text[:_TEXT_KEPT]}"] = None

    def nearest(self, name: str, known: Sequence[str]) -> str:
        """What to say about an unknown name: the nearest known one, or all when they are few."""
        self._comparisons -= len(known)
        if self._comparisons < 0:
            return ""
        close = get_close_matches(name[:64], [other for other in known if len(other) <= 64], n=1)
        if close:
            return f'"{close[0]}"'
        if 0 < len(known) <= 8:
            return "one of " + ", ".join(sorted(known))
        return ""

    @property
    def has_faults(self) -> bool:
        return bool(self._faults)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    def raise_if_any(self) -> None:
        """Refuse when anything was noted.

        Raises:
            ArchiveRefused: with every fault noted so far.
        """
        if self._faults:
            faults = list(self._faults)
            if self._dropped:
                last = faults[-1]
                faults.append(Fault(file=last.file, line=None, found=f"{self._dropped} more faults"))
            raise ArchiveRefused(faults)
