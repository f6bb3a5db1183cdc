"""Versions and ranges of them, as the Python world writes them: `>=1.2,<2`, `~=1.4`, `==1.*`, `!=1.3`.

A vendor may call a version what he likes. What is no version by that scheme is kept and shown as it is and
can be asked for exactly (`===R12/2`), but no range holds it. A pre-release (`2.0rc1`) is in a range only if
the range names one, so that nobody gets one by asking for the newest.

Source: Python packaging, "Version specifiers" (PEP 440), by the library `packaging`.
"""

import re
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from farsite.model.errors import Invalid

_RANGE = re.compile(r"(?:===|==|~=|!=|<=|>=|<|>)")
_EXACTLY = "==="

Order = tuple[bool, bool, Version, str]
"""What versions are sorted by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What somebody asks for: a name (`haproxy-lb`, or `VENDOR/haproxy-lb`) and a range; empty: any."""

    name: str
    versions: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.versions}".rstrip()

    def is_named(self, vendor: str, name: str) -> bool:
        """Whether it is the name of what is called so, by that vendor."""
        return self.name in (name, f"{vendor}/{name}")


def read_named(text: str) -> Named:
    """A name with a range behind it, e.g. `haproxy-lb>=1.2,<2` or `Farsite firewall ===R12`.

    Raises:
        Invalid: there is no name, or the range cannot be read.
    """
    found = _RANGE.search(text)
    name = (text[: found.start()] if found else text).strip()
    versions = text[found.start() :].strip() if found else ""
    if not name:
        raise Invalid(f'"{text[:200]}" names nothing. Write NAME or NAME>=1.2,<2.')
    check_range(versions)
    return Named(name=name, versions=versions)


def check_range(versions: str) -> None:
    """Raises:
    Invalid: the text is no range of versions; says how one is written.
    """
    if versions.startswith(_EXACTLY):
        return
    try:
        SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise Invalid(
            f'"{versions[:200]}" is no range of versions. Write >=1.2,<2 or ~=1.4 or ==1.*, and ===TEXT for '
            "a "
            f"version that is exactly that text."
        ) from error


def is_version(text: str) -> bool:
    """Whether ranges can hold it."""
    return _read(text) is not None


def holds(versions: str, version: str) -> bool:
    """Whether a range, which `check_range` has passed, holds a version. An empty range holds every one."""
    if not versions:
        return True
    if versions.startswith(_EXACTLY):
        return version == versions.removeprefix(_EXACTLY).strip()
    read, wanted = _read(version), SpecifierSet(versions)
    return read is not None and wanted.contains(read, prereleases=bool(wanted.prereleases))


def order(version: str) -> Order:
    """What versions are sorted by, the newest last: those that are none first, then pre-releases."""
    read = _read(version)
    if read is None:
        return (False, False, Version("0"), version)
    return (True, not read.is_prerelease, read, version)


def _read(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
