"""The catalogue: what can be used, by whom it was made, what shows that it works, and what it needs.

An entry is a VNF package, an NSD or an adapter. Its identity comes from the descriptor (SOL001: provider,
product_name, software_version; of an NSD designer, name, version) or from `adapter.yaml`; what descriptors
have no words for (tags, licence, rules) from a statement that travels inside the archive or folder, so that
it is under the same digest as the rest. What shows that a thing works is evidence about that digest and no
other.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from farsite.model.errors import Invalid
from farsite.model.versions import Named, read_named

TAGS_MAX, RULES_MAX = 50, 50


class EntryKind(StrEnum):
    VNF = "vnf"
    NS = "ns"
    ADAPTER = "adapter"


class Certification(StrEnum):
    """What has been shown of an entry, the least first. Adapters use the same words
    (`docs/reference/adapters.md`)."""

    NONE = "none"
    """Nothing, or only of another digest."""
    EMULATED = "emulated"
    """It passed a suite against what was built from the vendor's documents."""
    PROVED = "proved"
    """It passed a suite against the real product or on a real site."""
    CERTIFIED = "certified"
    """An administrator, or somebody whose key is trusted, vouches for it."""

    @property
    def rank(self) -> int:
        return list(Certification).index(self)


class SuiteResult(StrEnum):
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a suite found: of which digest, when (UTC), and who says so."""

    kind: EntryKind
    vendor: str
    name: str
    version: str
    digest: str
    """SHA-256 (hex) of the archive, or of an adapter's folder, that was tried."""
    suite: str
    level: Certification
    """What passing the suite shows."""
    result: SuiteResult
    at: datetime
    stated_by: str
    detail: str = ""
    signed_by: str = ""
    """Fingerprint of the key of the bundle it came with; empty: it was recorded here."""

    @property
    def id(self) -> str:
        """The same for the same statement, whichever way it came."""
        told = (
            self.kind, self.vendor, self.name, self.version, self.digest, self.suite, self.level, self.result,
            self.at.isoformat(), self.stated_by, self.detail,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class RuleSubject(StrEnum):
    """What a rule speaks of."""

    PACKAGE = "package"
    SERVICE = "service"
    ADAPTER = "adapter"
    FARSITE = "farsite"
    FEATURE = "feature"
    """Of a VIM, in the words of `farsite vim show`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that must be there, or must not."""

    subject: RuleSubject
    named: Named

    def __str__(self) -> str:
        if self.subject is RuleSubject.FARSITE:
            return f"{self.subject} {self.named.versions}"
        return f"{self.subject} {self.named}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an entry says of itself beyond its descriptor."""

    tags: tuple[str, ...] = ()
    licence: str = ""
    """SPDX expression, in its canonical spelling."""
    requires: tuple[Rule, ...] = ()
    conflicts: tuple[Rule, ...] = ()

    @property
    def features(self) -> frozenset[str]:
        """What a VIM must have."""
        return frozenset(one.named.name for one in self.requires if one.subject is RuleSubject.FEATURE)


NOTHING_STATED = Statement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing of the catalogue. `id` is `KIND:` and what the thing is called where it lives."""

    id: str
    kind: EntryKind
    vendor: str
    name: str
    """Of a package its product, of an NSD its name, of an adapter the adapter's."""
    product: str
    version: str
    digest: str
    state: str
    """ENABLED: it can be used."""
    origin: str
    statement: Statement
    certification: Certification = Certification.NONE
    evidence: tuple[Evidence, ...] = ()
    """Of this digest, the newest first."""
    stale: tuple[Evidence, ...] = ()
    """Of another digest of the same name and version: it does not count."""
    description: str = ""
    claim: str = ""
    """What an adapter's folder says of itself, for which there need be no evidence."""

    @property
    def is_enabled(self) -> bool:
        return self.state == "ENABLED"


def certification_of(digest: str, evidence: Iterable[Evidence]) -> Certification:
    """The highest level that the newest result of some suite shows of that digest.

    What failed last is not shown, whatever it passed before; evidence of another digest counts for nothing.
    """
    newest: dict[tuple[str, Certification], Evidence] = {}
    for one in sorted(evidence, key=lambda one: (one.at, one.id)):
        if one.digest == digest:
            newest[one.suite, one.level] = one
    shown = [one.level for one in newest.values() if one.result is SuiteResult.PASSED]
    return max(shown, key=lambda level: level.rank, default=Certification.NONE)


def with_evidence(
    entry: Entry, evidence: Sequence[Evidence]
) -> tuple[Certification, list[Evidence], list[Evidence]]:
    """An entry's level, the evidence that counts for it, and what is of another digest; the newest first."""
    about = [
        one
        for one in sorted(evidence, key=lambda one: (one.at, one.id), reverse=True)
        if (one.kind, one.vendor, one.name, one.version)
        == (entry.kind, entry.vendor, entry.name, entry.version)
    ]
    counts = [one for one in about if one.digest == entry.digest]
    return (
        certification_of(entry.digest, counts),
        counts,
        [one for one in about if one.digest != entry.digest],
    )


def read_licence(text: str) -> str:
    """The canonical spelling of an SPDX expression; of a licence that SPDX does not list: LicenseRef-NAME.

    Raises:
        Invalid: it is none.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise Invalid(
            f'"{text[:200]}" is no SPDX licence expression. Write for example Apache-2.0, MIT OR '
            "GPL-2.0-only, "
            f"or LicenseRef-NAME for a licence of your own."
        ) from error


def read_rule(text: str) -> Rule:
    """A rule as it is written: `package NAME >=1,<2`, `adapter haproxy`, `farsite >=0.1`, `feature chains`.

    Raises:
        Invalid: saying how a rule is written.
    """
    subject, _, rest = text.strip().partition(" ")
    if subject.startswith("farsite") and subject != "farsite":
        subject, rest = "farsite", text.strip().removeprefix("farsite")
    if subject not in RuleSubject.__members__.values():
        raise Invalid(
            f'"{text[:200]}" is no rule. It begins with {", ".join(RuleSubject)}, then comes a name, then a '
            "range "
            f"of versions: package NAME >=1,<2."
        )
    if subject == RuleSubject.FARSITE:
        rule = Rule(subject=RuleSubject.FARSITE, named=read_named(f"farsite {rest}"))
        if not rule.named.versions:
            raise Invalid(f'"{text[:200]}" says no version. Write farsite >=0.1.')
        return rule
    rule = Rule(subject=RuleSubject(subject), named=read_named(rest))
    if rule.subject is RuleSubject.FEATURE and rule.named.versions:
        raise Invalid(f'"{text[:200]}": features of a VIM have no versions. Write feature {rule.named.name}.')
    return rule
