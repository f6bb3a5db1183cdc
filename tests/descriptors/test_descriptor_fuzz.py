"""Whatever is uploaded is read or refused by `ArchiveRefused`: never another exception, never late."""

import contextlib
import io
import random

import pytest
import yaml
from descriptor_samples import NSD, TYPES, VNFD, package_files, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farsite.descriptors.archive import Limits, open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.descriptors.nsd_archive import read_nsd_archive
from farsite.descriptors.vnf_package import read_vnf_package

SAMPLE = zipped(package_files()).getvalue()
QUIET = settings(deadline=20_000, suppress_health_check=[HealthCheck.too_slow])


def survives(data: bytes) -> None:
    """Read the bytes as both kinds of archive; only the one refusal may come out."""
    for read in (read_vnf_package, read_nsd_archive):
        with contextlib.suppress(ArchiveRefused):
            read(open_archive(io.BytesIO(data), Limits(yaml_nodes=20_000)))


def packed(vnfd: str, types: str = TYPES) -> bytes:
    return zipped(package_files(vnfd) | {"Definitions/types.yaml": types}).getvalue()


@QUIET
@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]))
def test_random_bytes_are_refused(data: bytes, start: bytes) -> None:
    """Garbage, and garbage that begins like a zip."""
    survives(start + data)
    survives(data + start)


@QUIET
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_package_with_flipped_bytes_is_read_or_refused(seed: int, flips: int) -> None:
    """Transmission errors and attackers alike."""
    chance = random.Random(seed)
    data = bytearray(SAMPLE)
    for _ in range(flips):
        data[chance.randrange(len(data))] = chance.randrange(256)
    survives(bytes(data))


@QUIET
@given(st.integers(0, len(SAMPLE)), st.integers(0, len(SAMPLE)))
def test_a_package_with_a_part_missing_is_read_or_refused(first: int, second: int) -> None:
    """Broken uploads."""
    survives(SAMPLE[: min(first, second)] + SAMPLE[max(first, second) :])


WORDS = st.sampled_from(
    [
        "tosca.nodes.nfv.VNF",
        "tosca.nodes.nfv.Vdu.Compute",
        "vdu",
        "inner",
        "simple",
        "type",
        "properties",
        "targets",
        "members",
        "node",
        "file",
        "get_input",
        "get_property",
        "derived_from",
        "default",
        "entry_schema",
        "constraints",
        "512",
        "-1",
        "0",
        "1e999",
        "true",
        "~",
        "[]",
        "{}",
        "1.10",
        "../x",
        "acme.Router",
        "list",
        "map",
        "string",
    ]
)


@QUIET
@given(st.integers(0, 2**32), st.integers(1, 6), st.lists(WORDS, min_size=6, max_size=6))
@pytest.mark.parametrize("text", [VNFD, TYPES, NSD], ids=["vnfd", "types", "nsd"])
def test_a_descriptor_with_words_exchanged_is_read_or_refused(
    text: str, seed: int, changes: int, words: list[str]
) -> None:
    """Right shape, wrong content: what the checks behind the parser must stand."""
    chance = random.Random(seed)
    lines = text.splitlines()
    for word in words[:changes]:
        at = chance.randrange(1, len(lines))
        key, colon, _ = lines[at].partition(":")
        lines[at] = chance.choice(
            [f"{key}{colon} {word}", f"{key}{colon} [{word}]", f"{key}{colon} {{{word}: {word}}}"]
        )
    changed = "\n".join(lines)
    survives(packed(changed) if text is not TYPES else packed(VNFD, changed))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=25,
)
SECTIONS = ["inputs", "node_templates", "groups", "policies", "substitution_mappings"]


@QUIET
@given(st.dictionaries(st.sampled_from(SECTIONS), PLAIN), st.dictionaries(WORDS, PLAIN, max_size=3), PLAIN)
def test_random_trees_in_every_section_are_read_or_refused(
    topology: dict[str, object], definitions: dict[str, object], imports: object
) -> None:
    """Any YAML at all under the keys that we read."""
    top = {
        "tosca_definitions_version": "tosca_simple_yaml_1_2",
        "imports": imports,
        "node_types": definitions,
        "data_types": definitions,
        "topology_template": topology,
    }
    survives(yaml.safe_dump(top).encode())
    survives(packed(yaml.safe_dump(top)))


@QUIET
@given(
    PLAIN,
    st.sampled_from(["VNF", "vdu", "cp_out", "inner"]),
    st.sampled_from(["type", "properties", "requirements", "capabilities", "artifacts", "interfaces"]),
)
def test_random_trees_in_every_part_of_a_node_are_read_or_refused(
    value: object, node: str, part: str
) -> None:
    """Any YAML at all in a node template that is otherwise right."""
    top = yaml.safe_load(VNFD)
    top["topology_template"]["node_templates"][node][part] = value
    survives(packed(yaml.safe_dump(top)))


@QUIET
@given(PLAIN, st.integers(0, 3), st.sampled_from(["properties", "targets", "type"]))
def test_random_trees_in_every_part_of_a_policy_are_read_or_refused(
    value: object, policy: int, part: str
) -> None:
    """Any YAML at all in a policy that is otherwise right."""
    top = yaml.safe_load(VNFD)
    (body,) = top["topology_template"]["policies"][policy].values()
    body[part] = value
    survives(packed(yaml.safe_dump(top)))
