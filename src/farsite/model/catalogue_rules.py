"""Whether an entry's rules hold among what is there, and which package a name and range choose.

Both are pure functions over facts, so that import, onboarding, creation and instantiation decide alike.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from farsite.model.catalogue import Certification, Entry, EntryKind, Rule, RuleSubject, Statement
from farsite.model.errors import Conflict, NotFound
from farsite.model.versions import Named, Order, holds, is_version, order

_KINDS = {
    RuleSubject.PACKAGE: EntryKind.VNF,
    RuleSubject.SERVICE: EntryKind.NS,
    RuleSubject.ADAPTER: EntryKind.ADAPTER,
}
_HOW = {
    EntryKind.VNF: "onboard one (farsite package onboard) or import a bundle that has it "
    "(farsite catalogue import)",
    EntryKind.NS: "onboard one (farsite nsd onboard) or import a bundle that has it "
    "(farsite catalogue import)",
    EntryKind.ADAPTER: "import a bundle that has it (farsite catalogue import), or put its folder into the "
    "directory that FARSITE_ADAPTER_DIR names",
}
_AWAY = {
    EntryKind.VNF: "Disable it (farsite package disable {key}), or do without this one.",
    EntryKind.NS: "Disable it (farsite nsd disable {key}), or do without this one.",
    EntryKind.ADAPTER: "Take that adapter away, or do without this one.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What is there: the entries of the catalogue, and the version of Farsite."""

    entries: Sequence[Entry]
    farsite: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule that does not hold: the rule, the fact, and what to do."""

    rule: str
    fact: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.fact}. {self.remedy}"


def breaches(statement: Statement, shelf: Shelf, *, but: str = "") -> tuple[Breach, ...]:
    """Every rule of a statement that does not hold. `but` is the id of the entry itself, which is no party
    to its own conflicts. What a VIM must have is for placement to judge, and is passed over."""
    found = [_required(rule, shelf) for rule in statement.requires]
    found += [_conflicting(rule, shelf, but) for rule in statement.conflicts]
    return tuple(one for one in found if one is not None)


def _required(rule: Rule, shelf: Shelf) -> Breach | None:
    said = f'It requires "{rule}"'
    if rule.subject is RuleSubject.FEATURE:
        return None
    if rule.subject is RuleSubject.FARSITE:
        if holds(rule.named.versions, shelf.farsite):
            return None
        return Breach(
            rule=said,
            fact=f"this is Farsite {shelf.farsite}",
            remedy="Use such a Farsite, or another version of it.",
        )
    kind = _KINDS[rule.subject]
    known = _called(rule.named, kind, shelf.entries)
    fitting = [one for one in known if holds(rule.named.versions, one.version)]
    if any(one.is_enabled for one in fitting):
        return None
    remedy = f"To have it, {_HOW[kind]}."
    if fitting:
        fact = f"{fitting[0].name} {fitting[0].version} is {fitting[0].state}"
        verb = "package" if kind is EntryKind.VNF else "nsd"
        remedy = f"Enable it: farsite {verb} enable {_key(fitting[0])}."
    elif known:
        fact = f"of {rule.named.name} there is only {_versions(known)}"
    else:
        fact = f'there is no {rule.subject} "{rule.named.name}"'
    return Breach(rule=said, fact=fact, remedy=remedy)


def _conflicting(rule: Rule, shelf: Shelf, but: str) -> Breach | None:
    said = f'It is incompatible with "{rule}"'
    if rule.subject is RuleSubject.FARSITE:
        if not holds(rule.named.versions, shelf.farsite):
            return None
        return Breach(
            rule=said,
            fact=f"this is Farsite {shelf.farsite}",
            remedy="Use another Farsite, or another version of it.",
        )
    if rule.subject is RuleSubject.FEATURE:
        return None
    kind = _KINDS[rule.subject]
    for one in _called(rule.named, kind, shelf.entries):
        if one.id != but and one.is_enabled and holds(rule.named.versions, one.version):
            return Breach(
                rule=said,
                fact=f"{one.name} {one.version} is here and {one.state}",
                remedy=_AWAY[kind].format(key=_key(one)),
            )
    return None


def _called(named: Named, kind: EntryKind, entries: Iterable[Entry]) -> list[Entry]:
    return [one for one in entries if one.kind is kind and named.is_named(one.vendor, one.name)]


def _key(entry: Entry) -> str:
    return entry.id.partition(":")[2]


def _versions(entries: Sequence[Entry]) -> str:
    return ", ".join(sorted({one.version or "one without a version" for one in entries}, key=order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A package or NSD that a name may mean."""

    id: str
    vendor: str
    name: str
    version: str
    descriptor_version: str
    is_enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which one it is, and why, in a sentence."""

    id: str
    reason: str


def choose(
    named: Named,
    candidates: Sequence[Candidate],
    *,
    what: str,
    certification: Callable[[Candidate], Certification] | None = None,
) -> Choice:
    """The newest enabled one that a name and range allow; with `certification`, the best shown goes first.

    Equal software versions are told apart by the descriptor's version, then by the time of onboarding.
    `what` is the command's noun (`package`, `nsd`). The same candidates in any order give the same choice.

    Raises:
        NotFound: none of that name, or none that the range holds; says which there are.
        Conflict: vendors differ, or none that the range holds is enabled.
    """
    called = [one for one in candidates if named.is_named(one.vendor, one.name)]
    if not called:
        raise NotFound(f'There is no {what} "{named.name}". See farsite {what} list.')
    fitting = [one for one in called if holds(named.versions, one.version)]
    if not fitting:
        raise NotFound(_nothing_fits(named, called, what))
    vendors = sorted({one.vendor for one in fitting})
    if len(vendors) > 1:
        names = " or ".join(f'"{vendor}/{named.name}"' for vendor in vendors)
        raise Conflict(f'"{named.name}" is made by {len(vendors)} vendors. Name one: {names}.')
    enabled = [one for one in fitting if one.is_enabled]
    if not enabled:
        best = max(fitting, key=_newest)
        raise Conflict(
            f'Nothing that "{named}" allows is ENABLED: {_listed(fitting)}. Enable one: '
            f"farsite {what} enable {best.id}."
        )
    levels = {one.id: certification(one) if certification else Certification.NONE for one in enabled}
    chosen = max(enabled, key=lambda one: (levels[one.id].rank, _newest(one)))
    first = f"{levels[chosen.id]} goes first, then " if certification else ""
    passed_over = [one for one in fitting if one is not chosen]
    others = f"; passed over: {_listed(passed_over)}" if passed_over else ""
    return Choice(
        id=chosen.id,
        reason=f'"{named}": {first}the newest that is ENABLED is {chosen.version}{others}',
    )


def _newest(one: Candidate) -> tuple[Order, Order, datetime, str]:
    return (order(one.version), order(one.descriptor_version), one.created_at, one.id)


def _listed(candidates: Sequence[Candidate]) -> str:
    found = sorted(candidates, key=_newest, reverse=True)
    shown = ", ".join(f"{one.version}{'' if one.is_enabled else ' (DISABLED)'}" for one in found[:10])
    return shown + (f" and {len(found) - 10} more" if len(found) > 10 else "")


def _nothing_fits(named: Named, called: Sequence[Candidate], what: str) -> str:
    strange = sorted({one.version for one in called if not is_version(one.version)})
    said = f'No {what} "{named.name}" has a version in {named.versions}; there is {_listed(called)}.'
    if strange:
        said += (
            f' "{strange[0]}" is no version that ranges compare (PEP 440); ask for exactly it: '
            f"{named.name}==={strange[0]}."
        )
    return said
