"""Placement policies on the command line."""

import json
from pathlib import Path

import pytest
from command_bench import CommandLine


def test_a_policy_is_applied_shown_listed_and_deleted(farsite: CommandLine, tmp_path: Path) -> None:
    """Who writes one sees what was understood of it."""
    file = tmp_path / "vital.yaml"
    file.write_text(
        "name: vital\nscope: {nsd: Emergency calls}\nsites_apart_km: 400\navailability: 0.99995\n"
    )
    applied = farsite("policy", "placement", "apply", str(file))
    assert applied.code == 0, applied.err
    assert "400 km" in applied.out
    assert "99.995 %" in applied.out
    assert "nsd=Emergency calls" in farsite("policy", "placement", "list").out
    shown = json.loads(farsite("policy", "placement", "show", "vital", "-o", "json").out)
    assert (shown["sites_apart_km"], shown["risk_groups_apart"], shown["availability"]) == (
        400,
        False,
        0.99995,
    )
    assert farsite("policy", "placement", "delete", "vital").code == 0
    gone = farsite("policy", "placement", "show", "vital")
    assert gone.code == 1
    assert 'No placement policy "vital"' in gone.err
    assert "the settings of the installation count" in farsite("policy", "placement", "list").err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sites_apart_km: 400", "names no policy"),
        ("name: odd", "demands nothing"),
        ("name: odd\navailability: 99.9", "availability"),
        ("name: odd\navailability: .nan", "no number"),
        ("name: odd\nsites_apart_km: .inf", "no number"),
        ("name: odd\nkm: 400", "km"),
    ],
)
def test_a_policy_that_would_not_protect_is_refused_with_what_is_wrong(
    farsite: CommandLine, tmp_path: Path, text: str, told: str
) -> None:
    """Better at the desk than after the flood."""
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    refused = farsite("policy", "placement", "apply", str(file))
    assert refused.code == 1
    assert told in refused.err
