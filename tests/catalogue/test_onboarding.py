"""Onboarding is whole or not at all: a package is usable, or says what is wrong, or waits for content."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from farsite.catalogue.catalogue import Catalogue
from farsite.functions.packaging import build_sample
from farsite.model.clock import SystemClock
from farsite.model.errors import Conflict, Invalid, NotFound
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.model.package import OnboardingState, OperationalState, VnfPackage
from farsite.settings import Settings
from farsite.store import packages
from farsite.store.database import Database


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings)
    yield database
    database.close()


@pytest.fixture
def catalogue(settings: Settings, database: Database) -> Catalogue:
    return Catalogue(settings, database, SystemClock())


async def chunks(content: bytes, *, breaks_off: bool = False) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 4096):
        yield content[at : at + 4096]
        if breaks_off:
            raise ConnectionResetError("the client went away")


async def onboard(catalogue: Catalogue, content: bytes, project: ProjectId = DEFAULT_PROJECT) -> VnfPackage:
    package = await catalogue.create_package(project)
    return await catalogue.upload_package(project, package.id, chunks(content))


def archives(settings: Settings) -> list[str]:
    directory = settings.data_dir / "archives"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


async def test_an_onboarded_package_is_enabled_and_its_archive_lies_under_its_digest(
    catalogue: Catalogue, settings: Settings
) -> None:
    """What was uploaded can be given back byte for byte."""
    package = await onboard(catalogue, build_sample("firewall"))

    assert package.state is OnboardingState.ONBOARDED
    assert package.operational_state is OperationalState.ENABLED
    assert archives(settings) == [package.digest]
    assert catalogue.archive_path(package.digest).read_bytes() == build_sample("firewall")


async def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated(
    catalogue: Catalogue, settings: Settings, database: Database
) -> None:
    """A lost connection is the commonest fault of a large upload."""
    package = await catalogue.create_package(DEFAULT_PROJECT)

    with pytest.raises(ConnectionResetError):
        await catalogue.upload_package(
            DEFAULT_PROJECT, package.id, chunks(build_sample("firewall"), breaks_off=True)
        )

    assert archives(settings) == []
    left = await database.run(packages.get_package, DEFAULT_PROJECT, package.id)
    assert left.state is OnboardingState.CREATED
    again = await catalogue.upload_package(DEFAULT_PROJECT, package.id, chunks(build_sample("firewall")))
    assert again.state is OnboardingState.ONBOARDED


async def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(
    settings: Settings, database: Database
) -> None:
    """A disk must not be filled by a request that is refused."""
    catalogue = Catalogue(replace(settings, max_package_mib=0), database, SystemClock())
    package = await catalogue.create_package(DEFAULT_PROJECT)

    with pytest.raises(Invalid, match="larger than 0 MiB"):
        await catalogue.upload_package(DEFAULT_PROJECT, package.id, chunks(build_sample("firewall")))

    assert archives(settings) == []


async def test_what_is_no_package_ends_in_error_with_its_faults_and_may_be_replaced(
    catalogue: Catalogue,
) -> None:
    """A mended archive goes into the same resource, without cleaning up first."""
    package = await onboard(catalogue, b"this is not a zip")

    assert package.state is OnboardingState.ERROR
    assert package.failure
    mended = await catalogue.upload_package(DEFAULT_PROJECT, package.id, chunks(build_sample("probe")))
    assert mended.state is OnboardingState.ONBOARDED
    assert mended.failure == ()


async def test_the_same_vnfd_twice_is_refused_by_name(catalogue: Catalogue) -> None:
    """Two packages with one VNFD id would make every instantiation ambiguous."""
    first = await onboard(catalogue, build_sample("firewall"))

    second = await onboard(catalogue, build_sample("firewall"))

    assert second.state is OnboardingState.ERROR
    assert str(first.vnfd_id) in str(second.failure[0])


async def test_the_same_vnfd_in_two_projects_is_two_packages(catalogue: Catalogue) -> None:
    """Projects do not see each other, so they cannot be in each other's way."""
    mine = await onboard(catalogue, build_sample("firewall"))
    theirs = await onboard(catalogue, build_sample("firewall"), ProjectId("theirs"))

    assert mine.state is theirs.state is OnboardingState.ONBOARDED
    await catalogue.delete_package(DEFAULT_PROJECT, mine.id)
    assert catalogue.archive_path(theirs.digest).exists(), "the other project's archive went with it"


async def test_two_uploads_at_once_to_one_package_are_one(catalogue: Catalogue) -> None:
    """Both used to read CREATED and both were taken in."""
    package = await catalogue.create_package(DEFAULT_PROJECT)

    outcomes = await asyncio.gather(
        *(
            catalogue.upload_package(DEFAULT_PROJECT, package.id, chunks(build_sample("firewall")))
            for _ in range(2)
        ),
        return_exceptions=True,
    )

    done = [one for one in outcomes if isinstance(one, VnfPackage)]
    refused = [one for one in outcomes if isinstance(one, Conflict)]
    assert len(done) == 1
    assert len(refused) == 1


async def test_a_service_whose_functions_are_not_onboarded_is_refused_by_their_names(
    catalogue: Catalogue,
) -> None:
    """The order of onboarding is told, not discovered at instantiation."""
    info = await catalogue.create_nsd(DEFAULT_PROJECT)

    info = await catalogue.upload_nsd(DEFAULT_PROJECT, info.id, chunks(build_sample("chain-demo")))

    assert info.state is OnboardingState.ERROR
    assert "not onboarded" in str(info.failure[0])


@pytest.mark.parametrize("state", [OnboardingState.UPLOADING, OnboardingState.PROCESSING])
async def test_an_onboarding_cut_off_by_a_crash_is_finished_or_can_be_repeated(
    catalogue: Catalogue, database: Database, state: OnboardingState
) -> None:
    """A package may not stay in a state that only a database hand could repair."""
    package = await onboard(catalogue, build_sample("firewall"))
    cut_off = replace(package, state=state, vnfd_id=None, operational_state=OperationalState.DISABLED)
    await database.run(packages.put_package, cut_off)

    await catalogue.recover()

    found = await database.run(packages.get_package, DEFAULT_PROJECT, package.id)
    expected = {
        OnboardingState.UPLOADING: OnboardingState.CREATED,
        OnboardingState.PROCESSING: OnboardingState.ONBOARDED,
    }
    assert found.state is expected[state]


async def test_a_disabled_package_is_told_apart_from_an_enabled_one(catalogue: Catalogue) -> None:
    """Disabling twice is a mistake worth hearing of."""
    package = await onboard(catalogue, build_sample("firewall"))

    disabled = await catalogue.set_operational_state(DEFAULT_PROJECT, package.id, OperationalState.DISABLED)

    assert disabled.operational_state is OperationalState.DISABLED
    with pytest.raises(Conflict, match="DISABLED already"):
        await catalogue.set_operational_state(DEFAULT_PROJECT, package.id, OperationalState.DISABLED)


async def test_a_deleted_package_takes_its_archive_along(catalogue: Catalogue, settings: Settings) -> None:
    """Archives are large; what no row refers to goes."""
    package = await onboard(catalogue, build_sample("firewall"))

    await catalogue.delete_package(DEFAULT_PROJECT, package.id)

    assert archives(settings) == []
    with pytest.raises(NotFound):
        await catalogue.delete_package(DEFAULT_PROJECT, package.id)


async def test_a_bomb_is_refused_as_a_package_like_any_other_fault(catalogue: Catalogue) -> None:
    """Fifty megabytes of nothing in a small file are a fault of the file, not of us."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("TOSCA-Metadata/TOSCA.meta", b"\0" * 50_000_000)

    package = await onboard(catalogue, buffer.getvalue())

    assert package.state is OnboardingState.ERROR
