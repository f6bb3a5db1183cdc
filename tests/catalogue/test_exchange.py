"""An import brings all of a bundle or nothing, whatever is in it and whenever it dies."""

import asyncio
import multiprocessing
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from catalogue_bench import FIREWALL, Installation, adapter, die_at, installed, package, stream

from farsite.catalogue import entries
from farsite.functions.packaging import build_sample
from farsite.lifecycle.choosing import package_for
from farsite.lifecycle.create_ns import create_ns
from farsite.lifecycle.create_vnf import create_vnf
from farsite.model.catalogue import Certification, Entry, EntryKind, Evidence, SuiteResult
from farsite.model.errors import Conflict, Invalid, NotFound, NotSupported
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.ns import NsInstance
from farsite.model.package import OnboardingState, OperationalState
from farsite.settings import Settings
from farsite.store import catalogue as rows
from farsite.store import packages

STATEMENT = {
    "tags": ["firewall", "demo"],
    "licence": "apache-2.0",
    "requires": ["farsite >=0.1", "adapter example >=1"],
}


@pytest.fixture
def vendor(tmp_path: Path, _sqlite_template: Path) -> Iterator[Installation]:
    """Where bundles come from: an adapter of its own, a firewall that requires it, and its key."""
    directory = tmp_path / "vendor"
    directory.mkdir()
    (directory / "farsite.db").write_bytes(_sqlite_template.read_bytes())
    adapter(tmp_path / "adapters")
    with installed(Settings(data_dir=directory, adapter_dir=str(tmp_path / "adapters"))) as found:
        found.keys.create("vendor")
        yield found


@pytest.fixture
def anywhere(settings: Settings, vendor: Installation) -> Iterator[Installation]:
    """Where they go, on each store: nothing in it, the vendor's key trusted."""
    with _trusting(settings, vendor) as found:
        yield found


@pytest.fixture
def ours(data_dir: Path, sqlite_url: str, vendor: Installation) -> Iterator[Installation]:
    """The same, where the store makes no difference."""
    with _trusting(Settings(data_dir=data_dir, database_url=sqlite_url), vendor) as found:
        yield found


@contextmanager
def _trusting(settings: Settings, vendor: Installation) -> Iterator[Installation]:
    with installed(settings) as found:
        (key,) = vendor.keys.trusted()
        found.keys.trust("vendor", key.public_key)
        yield found


def catalogue_of(one: Installation) -> dict[str, Entry]:
    adapters = one.catalogue.adapter_entries()
    with one.database.transaction() as connection:
        known = entries.entries(connection, DEFAULT_PROJECT, adapters)
    return {
        f"{entry.kind}:{entry.name} {entry.version}": entry for entry in known if entry.origin != "shipped"
    }


def certify(one: Installation, entry: Entry, *, digest: str = "") -> None:
    told = Evidence(
        kind=entry.kind, vendor=entry.vendor, name=entry.name, version=entry.version,
        digest=digest or entry.digest, suite="vendor's acceptance 7", level=Certification.CERTIFIED,
        result=SuiteResult.PASSED, at=datetime(2026, 1, 31, tzinfo=UTC), stated_by="vendor's laboratory",
    )  # fmt: skip
    with one.database.transaction() as connection:
        rows.put_evidence(connection, DEFAULT_PROJECT, [told])


async def furnished(vendor: Installation) -> bytes:
    """The vendor's bundle: the firewall, its adapter, evidence about both."""
    assert (await vendor.onboard(package(statement=STATEMENT))).state is OnboardingState.ONBOARDED
    for entry in catalogue_of(vendor).values():
        certify(vendor, entry)
    return await vendor.bundle(FIREWALL, "adapter:example")


def is_empty(one: Installation) -> bool:
    """Whether nothing of a bundle is to be seen: no row, and no adapter."""
    with one.database.transaction() as connection:
        told = rows.evidence_of(connection, DEFAULT_PROJECT)
        adapters = rows.adapters(connection)
    return not catalogue_of(one) and not told and not adapters


async def test_what_one_exports_another_imports_with_its_evidence_and_uses(
    vendor: Installation, anywhere: Installation
) -> None:
    """The whole way: a package, the adapter that it requires, and what shows that they work."""
    content = await furnished(vendor)
    assert await vendor.bundle("adapter:example", FIREWALL) == content, "an export is not the same every time"

    done = await anywhere.exchange.take_in(DEFAULT_PROJECT, stream(content))

    assert done.signer == "vendor"
    assert [one.outcome for one in done.arrived] == ["added", "added"]
    here = catalogue_of(anywhere)
    assert set(here) == {f"vnf:{FIREWALL} 1.0", "adapter:example 1.0"}
    firewall, example = here[f"vnf:{FIREWALL} 1.0"], here["adapter:example 1.0"]
    assert firewall.statement.licence == "Apache-2.0"
    assert firewall.statement.tags == ("demo", "firewall")
    for one in (firewall, example):
        assert one.certification is Certification.CERTIFIED
        assert [told.signed_by for told in one.evidence] == [done.fingerprint]
    assert example.origin == "imported"
    assert anywhere.adapters.get("example").dictionary.product == "Example router"
    assert anywhere.settings.data_dir in anywhere.adapters.folders()["example"].parents
    with anywhere.database.transaction() as connection:
        vnf = create_vnf(
            connection,
            project_id=DEFAULT_PROJECT,
            package=f"{FIREWALL}>=1,<2",
            clock=anywhere.clock,
            name="fw",
        )
        assert vnf.package_choice == f'"{FIREWALL} >=1,<2": the newest that is ENABLED is 1.0'
        assert firewall.id == f"vnf:{vnf.package_id}"
    assert anywhere.catalogue.archive_path(firewall.digest).read_bytes() == package(statement=STATEMENT)


async def test_importing_the_same_again_changes_nothing(vendor: Installation, anywhere: Installation) -> None:
    """Whoever is not sure whether it went through does it once more."""
    content = await furnished(vendor)
    await anywhere.exchange.take_in(DEFAULT_PROJECT, stream(content))
    before, files = catalogue_of(anywhere), anywhere.files()

    again = await anywhere.exchange.take_in(DEFAULT_PROJECT, stream(content))

    assert {one.outcome for one in again.arrived} == {"there already"}
    assert catalogue_of(anywhere) == before
    assert anywhere.files() == files


async def test_what_was_disabled_here_stays_so_over_an_import(
    vendor: Installation, ours: Installation
) -> None:
    """An operator had a reason."""
    content = await furnished(vendor)
    await ours.exchange.take_in(DEFAULT_PROJECT, stream(content))
    (entry,) = [one for one in catalogue_of(ours).values() if one.kind is EntryKind.VNF]
    package_id = entry.id.partition(":")[2]
    await ours.catalogue.set_operational_state(DEFAULT_PROJECT, package_id, OperationalState.DISABLED)

    await ours.exchange.take_in(DEFAULT_PROJECT, stream(content))

    assert catalogue_of(ours)[f"vnf:{FIREWALL} 1.0"].state == "DISABLED"


async def test_a_rule_that_does_not_hold_lets_nothing_in(vendor: Installation, ours: Installation) -> None:
    """Without the adapter that it requires the package could be created and never configured."""
    await furnished(vendor)
    alone = await vendor.bundle(FIREWALL)

    with pytest.raises(
        Conflict, match=r'requires "adapter example >=1": there is no adapter "example"\. To have it'
    ):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(alone))

    assert is_empty(ours)
    assert ours.files() == {}


async def test_one_entry_that_cannot_come_in_keeps_all_others_out(
    vendor: Installation, anywhere: Installation
) -> None:
    """The same VNFD id with other content is here: neither may replace the other unseen."""
    content = await furnished(vendor)
    other = await anywhere.onboard(package(statement={"tags": ["anywhere"]}))
    assert other.state is OnboardingState.ONBOARDED

    with pytest.raises(Conflict, match="onboarded already in another package"):
        await anywhere.exchange.take_in(DEFAULT_PROJECT, stream(content))

    assert set(catalogue_of(anywhere)) == {f"vnf:{FIREWALL} 1.0"}
    with anywhere.database.transaction() as connection:
        assert rows.evidence_of(connection, DEFAULT_PROJECT) == []
        assert rows.adapters(connection) == {}


async def test_a_service_comes_with_its_functions_or_not_at_all(
    vendor: Installation, ours: Installation
) -> None:
    """Its NSD names VNFDs, which may be here, or in the same bundle."""
    for sample in ("firewall", "inspector", "probe", "webserver"):
        await vendor.onboard(build_sample(sample))
    assert (await vendor.onboard_nsd(build_sample("chain-demo"))).state is OnboardingState.ONBOARDED
    alone = await vendor.bundle("ns:chain-demo")
    with pytest.raises(Conflict, match="neither here nor in the bundle"):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(alone))
    assert is_empty(ours)
    vnfs = [one.id for one in catalogue_of(vendor).values() if one.kind is EntryKind.VNF]
    done = await ours.exchange.take_in(DEFAULT_PROJECT, stream(await vendor.bundle("ns:chain-demo", *vnfs)))
    assert [one.outcome for one in done.arrived] == ["added"] * 5


async def test_code_neither_leaves_nor_enters_in_a_bundle(
    vendor: Installation, ours: Installation, tmp_path: Path
) -> None:
    """A bundle is data: what is imported must not run by being imported, nor later by being named."""
    for with_code in ("adapter:f5", "adapter:unbound"):
        with pytest.raises(NotSupported, match="no bundle carries code"):
            await vendor.bundle(with_code)
    (tmp_path / "adapters" / "example" / "extra.py").write_text("raise SystemExit")
    with pytest.raises(NotSupported, match=r"extra\.py"):
        await vendor.bundle("adapter:example")
    (tmp_path / "adapters" / "example" / "extra.py").unlink()
    told = yaml.safe_load((tmp_path / "adapters" / "example" / "adapter.yaml").read_text())
    told |= {"access": {"method": "rest"}, "module": "antigravity"}
    evil = adapter(tmp_path / "evil")
    (evil / "adapter.yaml").write_text(yaml.safe_dump(told))
    # As a signer would who is trusted and means ill, or whose key was stolen.
    content = bundle_of_folder(vendor, evil)
    with pytest.raises(Invalid, match="no bundle carries code"):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(content))
    assert "antigravity" not in sys.modules
    told |= {"access": {"method": "ansible"}, "module": "", "playbook": {"file": "apply.yaml"}}
    (evil / "adapter.yaml").write_text(yaml.safe_dump(told))
    (evil / "apply.yaml").write_text("[]\n")
    with pytest.raises(Invalid, match=r"apply\.yaml"):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(bundle_of_folder(vendor, evil)))
    assert is_empty(ours)


def bundle_of_folder(signer: Installation, folder: Path, **changes: str) -> bytes:
    from farsite.catalogue import bundle

    files = {f"adapters/{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    listed = [
        bundle.BundleFile(path=path, size=len(content), sha256=bundle.sha256(content))
        for path, content in files.items()
    ]
    digest = bundle.folder_digest({one.path.rpartition("/")[2]: one.sha256 for one in listed})
    about = {"vendor": "Example", "name": folder.name, "version": "1.0", "digest": digest, **changes}
    entry = bundle.BundleEntry(kind=EntryKind.ADAPTER, files=listed, **about)
    manifest = bundle.Manifest(entries=[entry])
    return b"".join(bundle.write(manifest, signer.keys.sign, lambda file: iter([files[file.path]])))


async def test_a_manifest_that_calls_a_thing_otherwise_than_it_does_itself_is_refused(
    vendor: Installation, ours: Installation, tmp_path: Path
) -> None:
    """Evidence and ranges go by those names."""
    content = bundle_of_folder(vendor, adapter(tmp_path / "more"), version="9.0")
    with pytest.raises(Invalid, match=r"something else \(Example example 9\.0\)"):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(content))
    assert is_empty(ours)


async def test_a_later_version_of_an_adapter_replaces_the_imported_one_and_its_evidence_no_longer_counts(
    vendor: Installation, ours: Installation, tmp_path: Path
) -> None:
    """What was shown of the old folder is not shown of the new one, also under the same version."""
    await ours.exchange.take_in(DEFAULT_PROJECT, stream(await furnished(vendor)))
    folder = adapter(tmp_path / "more")
    (folder / "dns.conf.j2").write_text("# by Farsite, otherwise\n")

    done = await ours.exchange.take_in(DEFAULT_PROJECT, stream(bundle_of_folder(vendor, folder)))

    assert [one.outcome for one in done.arrived] == ["replaces 1.0 (imported)"]
    example = catalogue_of(ours)["adapter:example 1.0"]
    assert example.certification is Certification.NONE
    assert [one.level for one in example.stale] == [Certification.CERTIFIED]
    assert (ours.adapters.folders()["example"] / "dns.conf.j2").read_text() == "# by Farsite, otherwise\n"


async def test_an_adapter_that_comes_with_farsite_is_not_put_over_itself(
    vendor: Installation, ours: Installation
) -> None:
    """It would hide the one of the next Farsite."""
    done = await ours.exchange.take_in(DEFAULT_PROJECT, stream(await vendor.bundle("adapter:haproxy")))
    assert [one.outcome for one in done.arrived] == ["there already"]
    assert catalogue_of(ours) == {}


async def test_a_bundle_over_the_limit_is_refused_and_leaves_nothing(data_dir: Path, sqlite_url: str) -> None:
    """A disk must not be filled by what is refused."""
    with installed(Settings(data_dir=data_dir, database_url=sqlite_url, max_bundle_mib=0)) as ours:
        with pytest.raises(Invalid, match="larger than 0 MiB"):
            await ours.exchange.take_in(DEFAULT_PROJECT, stream(b"x"))
        assert ours.files() == {}


async def test_two_imports_of_one_bundle_at_once_are_one(
    vendor: Installation, anywhere: Installation
) -> None:
    """A client that lost patience asks again while the first is still at work."""
    content = await furnished(vendor)
    done = await asyncio.gather(
        *(anywhere.exchange.take_in(DEFAULT_PROJECT, stream(content)) for _ in range(2))
    )
    outcomes = sorted(one.outcome for each in done for one in each.arrived if one.entry.kind is EntryKind.VNF)
    assert outcomes == ["added", "there already"]
    assert len(catalogue_of(anywhere)) == 2


async def test_an_import_that_stops_coming_leaves_nothing(vendor: Installation, ours: Installation) -> None:
    """A lost connection is the commonest fault of a large upload."""
    content = await furnished(vendor)

    async def broken() -> AsyncIterator[bytes]:
        yield content[: len(content) // 2]
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        await ours.exchange.take_in(DEFAULT_PROJECT, broken())
    with pytest.raises(Invalid, match="it was cut, or added to"):
        await ours.exchange.take_in(DEFAULT_PROJECT, stream(content[: len(content) // 2]))
    assert is_empty(ours)
    assert ours.files() == {}


async def test_a_service_is_chosen_by_name_and_range_too(ours: Installation) -> None:
    """Whoever runs the second version of a service does not look up its id."""
    for sample in ("firewall", "inspector", "probe", "webserver"):
        await ours.onboard(build_sample(sample))
    first = await ours.onboard_nsd(build_sample("chain-demo"))
    second = await ours.onboard_nsd(package("2.0", sample="chain-demo"))
    assert second.state is OnboardingState.ONBOARDED, second.failure
    with ours.database.transaction() as connection:

        def made(asked: str) -> NsInstance:
            return create_ns(connection, project_id=DEFAULT_PROJECT, nsd=asked, clock=ours.clock)

        assert made("chain-demo>=1,<2").nsd_info_id == first.id
        newest = made("chain-demo")
        assert newest.nsd_info_id == second.id
        assert newest.nsd_choice == '"chain-demo": the newest that is ENABLED is 2.0; passed over: 1.0'
        assert made(first.id).nsd_choice == "named by its id"


async def test_onboarding_refuses_what_its_rules_or_those_of_others_forbid(ours: Installation) -> None:
    """Each by rule, fact and next step; a package that is here has a say too."""
    needs = await ours.onboard(package("2.0", statement={"requires": ["package Farsite traffic probe >=1"]}))
    assert needs.state is OnboardingState.ERROR
    assert 'requires "package Farsite traffic probe >=1": there is no package "Farsite traffic probe"' in str(
        needs.failure[0]
    )
    alone = await ours.onboard(package("3.0", statement={"conflicts": ["package Farsite traffic probe <2"]}))
    assert alone.state is OnboardingState.ONBOARDED
    probe = await ours.onboard(build_sample("probe"))
    assert probe.state is OnboardingState.ERROR
    said = str(probe.failure[0])
    assert "Farsite firewall 3.0, which is here: It is incompatible with" in said
    assert "Disable it (farsite package disable" in said


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ({"tags": ["Two Words"]}, "is no tag"),
        ({"licence": "ask us"}, "no SPDX licence expression"),
        ({"requires": ["lb >=1"]}, "is no rule"),
        ({"conflicts": ["feature chains"]}, "nothing conflicts with a feature"),
        ({"depends": []}, 'the key "depends"'),
        ({"tags": "firewall"}, "a string (expected a list"),
    ],
)
async def test_a_statement_that_cannot_be_read_is_refused_by_file_and_line(
    sqlite_url: str, data_dir: Path, statement: dict[str, object], said: str
) -> None:
    """Like every other fault of an archive."""
    with installed(Settings(data_dir=data_dir, database_url=sqlite_url)) as ours:
        refused = await ours.onboard(package(statement=statement))
    assert refused.state is OnboardingState.ERROR
    assert str(refused.failure[0]).startswith(("Files/catalogue.yaml:1", "Files/catalogue.yaml:2"))
    assert said in str(refused.failure[0])


async def test_of_many_versions_a_name_and_range_choose_one_and_ids_still_mean_what_they_name(
    ours: Installation,
) -> None:
    """By one function for every way in, with the reason recorded."""
    known = {version: await ours.onboard(package(version)) for version in ("1.0", "1.10", "1.9", "2.0")}
    assert {one.state for one in known.values()} == {OnboardingState.ONBOARDED}
    await ours.catalogue.set_operational_state(DEFAULT_PROJECT, known["2.0"].id, OperationalState.DISABLED)
    certify(ours, catalogue_of(ours)[f"vnf:{FIREWALL} 1.9"])
    with ours.database.transaction() as connection:

        def chosen(asked: str, **how: bool) -> tuple[str, str]:
            found, reason = package_for(connection, DEFAULT_PROJECT, asked, **how)
            return found.software_version, reason

        assert chosen(FIREWALL)[0] == "1.10"
        version, reason = chosen(f"{FIREWALL}>=1,<3")
        assert version == "1.10"
        assert reason.endswith("passed over: 2.0 (DISABLED), 1.9, 1.0")
        assert chosen(f"Farsite/{FIREWALL}<1.10")[0] == "1.9"
        assert chosen(FIREWALL, certified_first=True)[0] == "1.9"
        assert chosen(known["1.0"].id) == ("1.0", "named by its id")
        assert chosen(str(known["2.0"].vnfd_id)) == ("2.0", "named by its id")
        with pytest.raises(
            NotFound, match=r"has a version in >=4; there is 2\.0 \(DISABLED\), 1\.10, 1\.9, 1\.0"
        ):
            chosen(f"{FIREWALL}>=4")
        with pytest.raises(NotFound, match="farsite package list"):
            chosen("nothing")


POINTS = {
    "while it is received": "farsite.catalogue.bundle:verify",
    "before contents are laid out": "farsite.catalogue.exchange:Exchange._lay_out",
    "when half of them are": "farsite.catalogue.catalogue:Catalogue.unpack_images",
    "in the transaction": "farsite.store.catalogue:put_evidence",
    "right after it": "farsite.catalogue.exchange:Exchange._settle",
}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["farsite.catalogue.exchange", "farsite.store.migrations"])


@pytest.mark.parametrize("point", POINTS)
async def test_an_import_that_is_killed_has_brought_nothing_or_all_and_can_be_repeated(
    sqlite_url: str, data_dir: Path, vendor: Installation, tmp_path: Path, point: str
) -> None:
    """The transaction is the moment of the import. What a start finds half done it finishes or clears
    away."""
    (tmp_path / "bundle").write_bytes(await furnished(vendor))
    (key,) = vendor.keys.trusted()
    ours_settings = Settings(data_dir=data_dir, database_url=sqlite_url, executor_id="ours")
    with installed(ours_settings) as ours:
        ours.keys.trust("vendor", key.public_key)

    dying = FORKS.Process(target=die_at, args=(POINTS[point], ours_settings, tmp_path / "bundle"))
    dying.start()
    dying.join(60)

    assert dying.exitcode == -signal.SIGKILL
    with installed(ours_settings) as ours:
        is_decided = point == "right after it"
        if not is_decided:
            assert is_empty(ours)
        await ours.exchange.recover()
        assert not list((data_dir / "catalogue").glob("incoming-*"))
        if is_decided:
            assert set(catalogue_of(ours)) == {f"vnf:{FIREWALL} 1.0", "adapter:example 1.0"}
            assert ours.adapters.get("example").dictionary.release == "1.0"
        else:
            assert is_empty(ours)
        again = await ours.exchange.take_in(DEFAULT_PROJECT, stream((tmp_path / "bundle").read_bytes()))
        expected = "there already" if is_decided else "added"
        assert [one.outcome for one in again.arrived] == [expected, expected]
        with ours.database.transaction() as connection:
            assert len(rows.packages_of(connection, DEFAULT_PROJECT)) == 1
            assert packages.digests(connection)
