"""What a stranger can make us spend: small uploads that would multiply are refused before they do."""

import time
import tracemalloc

import pytest
from descriptor_samples import VNFD, changed, faults_of_package, package_files

from farsite.model.package import Fault

MIB = 1024 * 1024
HEAD = "tosca_definitions_version: tosca_simple_yaml_1_2\n"


def measured(files: dict[str, bytes | str]) -> tuple[tuple[Fault, ...], float, float]:
    """Faults, seconds of our own processor time, and MiB at the peak."""
    tracemalloc.start()
    began = time.process_time()
    faults = faults_of_package(files)
    spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return faults, spent, peak / MIB


def with_big_input() -> dict[str, bytes | str]:
    """One large input default that every property of many nodes takes: an alias bomb without aliases."""
    big = "{" + ", ".join(f"k{n}: v" for n in range(20_000)) + "}"
    stated = f"    big: {{type: map, entry_schema: {{type: string}}, default: {big}}}\n"
    text = changed(
        VNFD,
        "    memory:",
        stated + "    memory:",
    )
    nodes = "".join(
        f"    n{n}:\n      type: tosca.nodes.nfv.Vdu.Compute\n"
        "      properties:\n        nfvi_constraints: {get_input: big}\n"
        for n in range(1_900)
    )
    return package_files(changed(text, "    cp_out:\n", nodes + "    cp_out:\n"))


def with_many_missing_files() -> dict[str, bytes | str]:
    """A manifest of files that are not there, each of which might be compared with all that are."""
    meta = str(package_files()["TOSCA-Metadata/TOSCA.meta"]) + "ETSI-Entry-Manifest: m.mf\n"
    manifest = "".join(f"Source: Files/image-number-{n:06}-of-the-package\nHash: 0\n" for n in range(40_000))
    there: dict[str, bytes | str] = {f"Files/image-number-{n:06}-of-a-package": "" for n in range(5_000)}
    return package_files() | there | {"TOSCA-Metadata/TOSCA.meta": meta, "m.mf": manifest}


def with_long_derivation() -> dict[str, bytes | str]:
    """Types that derive from one another thousands of times."""
    chain = "".join(f"  acme.T{n}:\n    derived_from: acme.T{n + 1}\n" for n in range(5_000))
    types = HEAD + "node_types:\n" + chain + "  acme.T5000:\n    derived_from: tosca.nodes.Root\n"
    text = changed(VNFD, "  - types.yaml\n", "  - types.yaml\n  - chain.yaml\n")
    return package_files(text) | {"Definitions/chain.yaml": types}


def with_many_rules_on_one_group() -> dict[str, bytes | str]:
    """Rules times members."""
    members = ", ".join(["vdu"] * 20_000)
    rules = "".join(
        f"    - r{n}:\n        type: tosca.policies.nfv.AffinityRule\n"
        "        properties: {scope: zone}\n        targets: [g]\n"
        for n in range(5_000)
    )
    group = (
        "  groups:\n    g:\n      type: tosca.groups.nfv.PlacementGroup\n"
        f"      properties: {{description: d}}\n      members: [{members}]\n"
    )
    return package_files(VNFD + rules + group)


def with_merges_of_merges() -> dict[str, bytes | str]:
    """Merge keys copy; a thousand copies of a large map are a million entries."""
    big = "big: &big {" + ", ".join(f"k{n}: v" for n in range(20_000)) + "}\n"
    return package_files(VNFD + "dsl_definitions:\n  " + big + "  all: {<<: [" + "*big, " * 900 + "]}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        with_big_input,
        with_many_missing_files,
        with_long_derivation,
        with_many_rules_on_one_group,
        with_merges_of_merges,
    ],
)
def test_a_small_upload_cannot_cost_much(build) -> None:
    """One upload must not stall the orchestrator for the others."""
    faults, spent, peak = measured(build())
    assert 0 < len(faults) <= 101
    assert spent < 15, f"{spent:.1f} s"
    assert peak < 150, f"{peak:.0f} MiB"


def test_faults_are_counted_beyond_a_hundred() -> None:
    """A thousand faults have one cause; the answer stays readable."""
    faults = faults_of_package(with_many_missing_files())
    assert len(faults) == 101
    assert faults[-1].found == "39900 more faults"
