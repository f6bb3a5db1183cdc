"""Which package or NSD an instance shall be of, from what the request calls it: an id, a name, a name and a
range."""

from farsite.model.catalogue import certification_of
from farsite.model.catalogue_rules import Candidate, Choice, choose
from farsite.model.ids import NsdInfoId, ProjectId, VnfPackageId
from farsite.model.package import NsdInfo, VnfPackage
from farsite.model.versions import Named, read_named
from farsite.store import catalogue, packages
from farsite.store.database import Connection


def package_for(
    connection: Connection, project_id: ProjectId, asked: str, *, certified_first: bool = False
) -> tuple[VnfPackage, str]:
    """The package that is meant, and why that one. Ids mean what they name; of a name it is the newest
    ENABLED.

    Raises:
        NotFound: none is called so, or none that the range holds.
        Conflict: vendors differ, or none that the range holds is enabled.
        Invalid: the range cannot be read.
    """
    if (exact := packages.by_id(connection, project_id, asked)) is not None:
        return exact, "named by its id"
    known = {one.id: one for one in catalogue.packages_of(connection, project_id)}
    candidates = [catalogue.package_candidate(one) for one in known.values()]
    digests = {str(one.id): one.digest for one in known.values()}
    chosen = _choose(connection, project_id, asked, candidates, digests, "package", certified_first)
    if chosen is None:
        # What is not onboarded, or not there, is told as everywhere.
        return packages.get_package(connection, project_id, asked), "named"
    return known[VnfPackageId(chosen.id)], chosen.reason


def nsd_for(
    connection: Connection, project_id: ProjectId, asked: str, *, certified_first: bool = False
) -> tuple[NsdInfo, str]:
    """The NSD that is meant, and why that one; see `package_for`."""
    if (exact := packages.nsd_by_id(connection, project_id, asked)) is not None:
        return exact, "named by its id"
    known = {one.id: one for one in catalogue.nsds_of(connection, project_id)}
    candidates = [catalogue.nsd_candidate(one) for one in known.values()]
    digests = {str(one.id): one.digest for one in known.values()}
    chosen = _choose(connection, project_id, asked, candidates, digests, "nsd", certified_first)
    if chosen is None:
        return packages.get_nsd_info(connection, project_id, asked), "named"
    return known[NsdInfoId(chosen.id)], chosen.reason


def _choose(
    connection: Connection,
    project_id: ProjectId,
    asked: str,
    candidates: list[Candidate],
    digests: dict[str, str],
    what: str,
    certified_first: bool,
) -> Choice | None:
    named = _named(asked, candidates)
    called = [one for one in candidates if named.is_named(one.vendor, one.name)]
    if not called and not named.versions:
        return None
    if len(called) == 1 and not named.versions:
        # Alone of its name: whether it can be used is for the use to say.
        return Choice(id=called[0].id, reason=f'"{named}": the only one of that name')
    if not certified_first:
        return choose(named, candidates, what=what)
    evidence = catalogue.evidence_of(connection, project_id)
    levels = {one.id: certification_of(digests[one.id], evidence) for one in called}
    return choose(named, candidates, what=what, certification=lambda one: levels[one.id])


def _named(asked: str, candidates: list[Candidate]) -> Named:
    """A product may have `<` in its name; then the whole is the name."""
    whole = Named(name=asked.strip())
    if any(whole.is_named(one.vendor, one.name) for one in candidates):
        return whole
    return read_named(asked)
