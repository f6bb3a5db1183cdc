"""What a name and a range mean, what evidence shows, and which rules hold: pure, so tried on many cases."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from farsite.model.catalogue import (
    Certification,
    Entry,
    EntryKind,
    Evidence,
    Rule,
    Statement,
    SuiteResult,
    certification_of,
    read_licence,
    read_rule,
    with_evidence,
)
from farsite.model.catalogue_rules import Candidate, Shelf, breaches, choose
from farsite.model.errors import Conflict, Invalid, NotFound
from farsite.model.versions import Named, holds, read_named

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DIGEST, OTHER = "a" * 64, "b" * 64


def candidate(version: str, *, is_enabled: bool = True, vendor: str = "Acme", late: int = 0) -> Candidate:
    return Candidate(
        id=f"{vendor}-{version}-{late}", vendor=vendor, name="lb", version=version, descriptor_version="1",
        is_enabled=is_enabled, created_at=NOON + timedelta(minutes=late),
    )  # fmt: skip


def entry(name: str, version: str, *, kind: EntryKind = EntryKind.VNF, state: str = "ENABLED") -> Entry:
    return Entry(
        id=f"{kind}:{name}-{version}", kind=kind, vendor="Acme", name=name, product=name, version=version,
        digest=DIGEST, state=state, origin="onboarded", statement=Statement(),
    )  # fmt: skip


def evidence(
    level: Certification, *, digest: str = DIGEST, passed: bool = True, suite: str = "suite 1", hours: int = 0
) -> Evidence:
    return Evidence(
        kind=EntryKind.VNF, vendor="Acme", name="lb", version="1.0", digest=digest, suite=suite, level=level,
        result=SuiteResult.PASSED if passed else SuiteResult.FAILED, at=NOON + timedelta(hours=hours),
        stated_by="somebody",
    )  # fmt: skip


VERSIONS = st.builds(
    lambda parts: ".".join(map(str, parts)), st.lists(st.integers(0, 5), min_size=1, max_size=3)
)
CANDIDATES = st.lists(
    st.builds(candidate, VERSIONS, is_enabled=st.booleans(), late=st.integers(0, 5)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.id,
)
RANGES = st.builds(lambda low, high: f">={low},<{high}", VERSIONS, VERSIONS)


@given(CANDIDATES, RANGES, st.randoms(use_true_random=False))
def test_the_newest_that_is_enabled_and_in_the_range_is_chosen_whatever_the_order(
    candidates: list[Candidate], versions: str, random: object
) -> None:
    """Two processes that are asked the same must answer the same, and neither may give what was disabled."""
    named = Named(name="lb", versions=versions)
    usable = [one for one in candidates if one.is_enabled and SpecifierSet(versions).contains(one.version)]
    if not usable:
        with pytest.raises((NotFound, Conflict)):
            choose(named, candidates, what="package")
        return
    chosen = choose(named, candidates, what="package")
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(named, shuffled, what="package") == chosen
    (found,) = [one for one in candidates if one.id == chosen.id]
    assert found in usable
    assert all(Version(one.version) <= Version(found.version) for one in usable)
    assert found.version in chosen.reason


@pytest.mark.parametrize(
    ("text", "name", "versions"),
    [
        ("haproxy-lb>=1.2,<2", "haproxy-lb", ">=1.2,<2"),
        ("Farsite web server ~=1.0", "Farsite web server", "~=1.0"),
        ("F5/BIG-IP (AS3, DO) ===R12/2", "F5/BIG-IP (AS3, DO)", "===R12/2"),
        ("plain", "plain", ""),
    ],
)
def test_a_name_may_have_a_range_behind_it(text: str, name: str, versions: str) -> None:
    """Names of products have spaces, slashes and brackets in them."""
    assert read_named(text) == Named(name=name, versions=versions)


@pytest.mark.parametrize("text", [">=1", "lb>=new", "lb>1<2", ""])
def test_what_is_no_range_is_refused_with_how_one_is_written(text: str) -> None:
    """Else a typing mistake would choose something."""
    with pytest.raises(Invalid, match=r"Write "):
        read_named(text)


def test_a_version_that_is_none_can_be_asked_for_exactly_and_the_error_says_how() -> None:
    """Vendors call versions what they like."""
    strange = [candidate("R12/2"), candidate("2024-spring")]
    with pytest.raises(NotFound, match=r"no version that ranges compare .* lb===2024-spring"):
        choose(read_named("lb>=1"), strange, what="package")
    assert choose(read_named("lb===R12/2"), strange, what="package").id == strange[0].id
    assert choose(read_named("lb"), [*strange, candidate("0.1")], what="package").id == "Acme-0.1-0"


def test_a_pre_release_is_given_to_those_who_name_one() -> None:
    """Nobody gets one by asking for the newest."""
    known = [candidate("1.0"), candidate("2.0rc1")]
    assert choose(read_named("lb>=1"), known, what="package").id == known[0].id
    assert choose(read_named("lb"), known, what="package").id == known[0].id
    assert choose(read_named("lb>=2.0rc1"), known, what="package").id == known[1].id


def test_the_certified_goes_first_only_if_asked_for() -> None:
    """An operator who asks for the newest wants the newest."""
    known = [candidate("1.0"), candidate("2.0")]
    levels = {known[0].id: Certification.CERTIFIED, known[1].id: Certification.PROVED}
    assert choose(read_named("lb"), known, what="package").id == known[1].id
    first = choose(read_named("lb"), known, what="package", certification=lambda one: levels[one.id])
    assert first.id == known[0].id
    assert "certified goes first" in first.reason


def test_what_two_vendors_make_is_not_chosen_between() -> None:
    """A name is no trademark; the error says what to write."""
    known = [candidate("1.0"), candidate("1.1", vendor="Bolt")]
    with pytest.raises(Conflict, match=r'"Acme/lb" or "Bolt/lb"'):
        choose(read_named("lb>=1"), known, what="package")
    assert choose(read_named("Bolt/lb>=1"), known, what="package").id == known[1].id


def test_when_all_that_fit_are_disabled_the_error_says_which_to_enable() -> None:
    """The next step is a command."""
    known = [candidate("1.0", is_enabled=False), candidate("3.0")]
    with pytest.raises(Conflict, match=r"1\.0 \(DISABLED\)\. Enable one: farsite package enable Acme-1\.0-0"):
        choose(read_named("lb<2"), known, what="package")


def test_evidence_of_another_digest_shows_nothing_and_is_listed_as_such() -> None:
    """What was tried is not what is there."""
    about = entry("lb", "1.0")
    told = [evidence(Certification.CERTIFIED, digest=OTHER), evidence(Certification.EMULATED)]
    level, counts, stale = with_evidence(about, told)
    assert level is Certification.EMULATED
    assert [one.digest for one in counts] == [DIGEST]
    assert [one.digest for one in stale] == [OTHER]


def test_a_suite_that_failed_last_shows_nothing_whatever_it_passed_before() -> None:
    """Else a broken product would stay proved for ever."""
    told = [evidence(Certification.PROVED), evidence(Certification.PROVED, passed=False, hours=1)]
    assert certification_of(DIGEST, told) is Certification.NONE
    assert certification_of(DIGEST, reversed(told)) is Certification.NONE
    other = evidence(Certification.EMULATED, suite="suite 2")
    assert certification_of(DIGEST, [*told, other]) is Certification.EMULATED
    again = evidence(Certification.PROVED, hours=2)
    assert certification_of(DIGEST, [*told, again]) is Certification.PROVED


def test_the_same_statement_is_the_same_evidence_whichever_way_it_came() -> None:
    """Importing it again adds nothing."""
    here = evidence(Certification.PROVED)
    assert here.id == evidence(Certification.PROVED).id
    assert here.id != evidence(Certification.PROVED, digest=OTHER).id


def rules(*texts: str) -> tuple[Rule, ...]:
    return tuple(read_rule(text) for text in texts)


@pytest.mark.parametrize(
    ("rule", "fact", "step"),
    [
        ("farsite >=9", "this is Farsite 0.1.0", "Use such a Farsite"),
        ("package Nothing", 'there is no package "Nothing"', "farsite package onboard"),
        ("package lb >=2", "of lb there is only 1.0", "farsite package onboard"),
        ("package old", "old 1.0 is DISABLED", "farsite package enable old-1.0"),
        ("adapter haproxy >=2", "of haproxy there is only 1.0", "FARSITE_ADAPTER_DIR"),
        ("service shop", 'there is no service "shop"', "farsite nsd onboard"),
    ],
)
def test_a_requirement_that_is_not_met_names_the_rule_the_fact_and_the_next_step(
    rule: str, fact: str, step: str
) -> None:
    """Whoever reads it can act."""
    there = [
        entry("lb", "1.0"),
        entry("old", "1.0", state="DISABLED"),
        entry("haproxy", "1.0", kind=EntryKind.ADAPTER),
    ]
    (breach,) = breaches(Statement(requires=rules(rule)), Shelf(entries=there, farsite="0.1.0"))
    assert f'"{read_rule(rule)}"' in str(breach)
    assert fact in str(breach)
    assert step in str(breach)


def test_a_rule_that_holds_says_nothing_and_a_feature_is_left_to_placement() -> None:
    """VIMs come and go; which one has it is seen when one is chosen."""
    there = Shelf(
        entries=[entry("lb", "1.4"), entry("haproxy", "1.0", kind=EntryKind.ADAPTER)], farsite="0.1.0"
    )
    met = rules("package lb >=1,<2", "package Acme/lb", "adapter haproxy", "farsite >=0.1", "feature chains")
    assert breaches(Statement(requires=met), there) == ()
    assert Statement(requires=met).features == {"chains"}


def test_an_incompatibility_counts_while_the_other_is_enabled_and_never_against_oneself() -> None:
    """A newer version of a package may well say that older ones are in its way."""
    said = Statement(conflicts=rules("package lb <2"))
    there = [entry("lb", "1.0"), entry("lb", "3.0")]
    (breach,) = breaches(said, Shelf(entries=there, farsite="0.1.0"))
    assert "lb 1.0 is here and ENABLED" in str(breach)
    assert "farsite package disable lb-1.0" in str(breach)
    assert breaches(said, Shelf(entries=there, farsite="0.1.0"), but="vnf:lb-1.0") == ()
    off = [entry("lb", "1.0", state="DISABLED")]
    assert breaches(said, Shelf(entries=off, farsite="0.1.0")) == ()


@pytest.mark.parametrize("text", ["pack lb", "package", "feature chains >=1", "farsite", "package lb >=x"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    """A rule that nobody reads would protect nobody."""
    with pytest.raises(Invalid):
        read_rule(text)


def test_a_licence_is_an_spdx_expression_in_one_spelling() -> None:
    """So that people can search for it."""
    assert read_licence("apache-2.0 or licenseref-Acme-1") == "Apache-2.0 OR LicenseRef-Acme-1"
    with pytest.raises(Invalid, match="LicenseRef-NAME"):
        read_licence("ask our sales")


@given(VERSIONS, RANGES)
def test_a_range_holds_what_packaging_says(version: str, versions: str) -> None:
    """One library decides, here and in the reader's head."""
    assert holds(versions, version) == SpecifierSet(versions).contains(version)
