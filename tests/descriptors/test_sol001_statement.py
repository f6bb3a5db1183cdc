"""Our statement of SOL001's types against ETSI's own files, version by version."""

from pathlib import Path

import pytest
import yaml
from descriptor_samples import SHARED

from farsite.descriptors.type_system import SECTIONS, UNITS, Types, TypeStatement, sol001

FILES = SHARED / "etsi" / "sol001"
VERSIONS = sorted(
    (path.name for path in FILES.iterdir() if path.is_dir()) if FILES.is_dir() else (),
    key=lambda name: [int(part) for part in name[1:].split(".")],
)

pytestmark = pytest.mark.skipif(not VERSIONS, reason="needs ../shared/etsi/sol001 beside the project")

# (version, type): reason. Everything else must agree.
OTHER_PARENT = {
    ("v2.5.1", "tosca.capabilities.nfv.VirtualLinkable"): "its VNFD file says Root, its NSD file Node",
    ("v2.5.1", "tosca.policies.nfv.SecurityGroupRule"): "2.7.1 moved its properties to an abstract parent",
    ("v2.6.1", "tosca.policies.nfv.SecurityGroupRule"): "2.7.1 moved its properties to an abstract parent",
}
OURS = {"vim"}
"""Valid values that we add: an affinity scope that a multi-site orchestrator needs."""


def statements(version: str) -> list[tuple[str, str, dict]]:
    """All types in one version's files; 2.5.1 states some in two files, not always alike."""
    found: list[tuple[str, str, dict]] = []
    for path in sorted((FILES / version).glob("*.yaml")):
        content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        for section, kind in SECTIONS.items():
            for name, body in (content.get(section) or {}).items():
                found.append((kind, name, body or {}))
    return found


def bodies_of(statement: TypeStatement, theirs) -> list[dict]:
    """Every statement of the type by ETSI, in whatever version."""
    wanted = (statement.kind, statement.name)
    return [body for types in theirs.values() for kind, name, body in types if (kind, name) == wanted]


@pytest.fixture(scope="module")
def ours() -> Types:
    return Types(sol001())


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[tuple[str, str, dict]]]:
    return {version: statements(version) for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_type_of_the_version_is_known_with_its_parent(version: str, ours: Types, theirs) -> None:
    """A type that we do not know would refuse an honest package."""
    for kind, name, body in theirs[version]:
        statement = ours.get(kind, name)
        assert statement is not None, f"{version} {name}"
        if (version, name) not in OTHER_PARENT:
            assert statement.parent == body["derived_from"], f"{version} {name}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_property_of_the_version_is_known_and_takes_its_type(version: str, ours: Types, theirs) -> None:
    """What a version allows, we allow."""
    for kind, name, body in theirs[version]:
        known = ours.properties(kind, name)
        for key, stated in (body.get("properties") or {}).items():
            assert key in known, f"{version} {name}.{key}"
            wanted = stated["type"].removeprefix("scalar-unit.")
            assert wanted in {values.type for values in known[key].values}, f"{version} {name}.{key}"
            entry = stated.get("entry_schema")
            if entry:
                entry_type = entry if isinstance(entry, str) else entry["type"]
                entries = {item.type for values in known[key].values for item in values.entry}
                # 3.6.1 gives the string `externally_managed` an entry schema, which means nothing.
                if wanted in ("list", "map"):
                    assert entry_type in entries, f"{version} {name}.{key}"


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_demanded_that_the_version_does_not_demand(version: str, ours: Types, theirs) -> None:
    """A package of an old version must not be refused for a rule of a newer one."""
    for kind, name, body in theirs[version]:
        stated = body.get("properties") or {}
        for key, known in ours.get(kind, name).properties.items():
            if known.is_required:
                assert key in stated, f"{version} {name}.{key}"
                assert stated[key].get("required", True), f"{version} {name}.{key}"
                assert "default" not in stated[key], f"{version} {name}.{key}"


def test_what_every_version_demands_is_demanded(ours: Types, theirs) -> None:
    """Else a package without it would be accepted and fail later."""
    for statement in sol001():
        bodies = bodies_of(statement, theirs)
        keys = set.intersection(*(set(body.get("properties") or {}) for body in bodies)) if bodies else set()
        for key in keys:
            stated = [body["properties"][key] for body in bodies]
            is_required = all(item.get("required", True) and "default" not in item for item in stated)
            assert ours.properties(statement.kind, statement.name)[key].is_required == is_required, (
                f"{statement.name}.{key}"
            )


@pytest.mark.parametrize("version", VERSIONS)
def test_valid_values_of_the_version_are_valid(version: str, ours: Types, theirs) -> None:
    """Enumerations grow from version to version; ours is their union."""
    for kind, name, body in theirs[version]:
        for key, stated in (body.get("properties") or {}).items():
            theirs_valid = {
                str(value)
                for clause in stated.get("constraints") or ()
                for value in clause.get("valid_values") or ()
            }
            for values in ours.properties(kind, name)[key].values:
                for operator, operand in values.constraints:
                    if operator == "in" and theirs_valid and values.type == stated["type"]:
                        assert theirs_valid <= set(operand), f"{version} {name}.{key}"


def test_we_add_no_property_no_type_and_no_value_of_our_own(ours: Types, theirs) -> None:
    """The statement is ETSI's facts; what is ours is listed above."""
    for statement in sol001():
        bodies = bodies_of(statement, theirs)
        if not statement.since:
            continue
        assert bodies, statement.name
        known = {key for body in bodies for key in body.get("properties") or ()}
        assert set(statement.properties) <= known, statement.name
        for key, declared in statement.properties.items():
            valid = {
                str(value)
                for body in bodies
                for clause in ((body.get("properties") or {}).get(key) or {}).get("constraints") or ()
                for value in clause.get("valid_values") or ()
            }
            for values in declared.values:
                for operator, operand in values.constraints:
                    if operator == "in":
                        assert set(operand) <= valid | OURS, f"{statement.name}.{key}"


def test_since_and_last_are_the_versions_that_have_the_type(theirs) -> None:
    """They tell an author whether a type may be used for an older orchestrator."""

    def spans(statement: TypeStatement) -> tuple[str, str]:
        having = [v for v in VERSIONS if bodies_of(statement, {v: theirs[v]})]
        return having[0][1:], "" if having[-1] == VERSIONS[-1] else having[-1][1:]

    for statement in sol001():
        if statement.since:
            assert (statement.since, statement.last) == spans(statement), statement.name


@pytest.mark.parametrize("version", VERSIONS)
def test_capabilities_and_requirements_of_the_version_are_known(version: str, ours: Types, theirs) -> None:
    """They decide what may be connected to what."""
    for kind, name, body in theirs[version]:
        if kind != "node":
            continue
        for key, stated in (body.get("capabilities") or {}).items():
            assert ours.capabilities(name)[key] == (stated if isinstance(stated, str) else stated["type"])
        for item in body.get("requirements") or ():
            ((key, stated),) = item.items()
            assert ours.requirements(name)[key].capability == stated["capability"], f"{version} {name}.{key}"


def test_the_statement_needs_no_file_of_etsi() -> None:
    """The installed program knows the types without ../shared."""
    source = Path(__file__).parents[2] / "src" / "farsite" / "descriptors" / "sol001.py"
    assert "open(" not in source.read_text()
    assert set(UNITS) == {"size", "time", "frequency", "bitrate"}
