"""The dashboard and the rules that operators load: they ask for what the program really tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import Metric

from farsite.telemetry import REGISTRY

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
OF_PROMETHEUS = {"instance", "le", "job"}
_KINDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def dashboard() -> Iterator[tuple[str, str]]:
    for panel in json.loads((MONITORING / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def rules() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            told = " ".join(rule["annotations"].values())
            yield rule["expr"], told.replace("{{ $labels.", "{{").replace(" }}", "}}")


def series() -> dict[str, Metric]:
    return {one.name + suffix: one for one in REGISTRY.collect() for suffix in _KINDS[one.type]}


def labels_of(name: str) -> set[str]:
    collector = REGISTRY._names_to_collectors[name]
    return set(getattr(collector, "_labelnames", ()))


@pytest.mark.parametrize(("expression", "told"), [*dashboard(), *rules()])
def test_every_expression_asks_for_series_and_labels_that_there_are(expression: str, told: str) -> None:
    """A panel that is empty for ever looks like a service in which all is well."""
    names = set(re.findall(r"\bfarsite_\w+", expression))
    assert names
    assert names <= series().keys()
    known = OF_PROMETHEUS.union(*map(labels_of, names))
    by = {one.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for one in group.split(",")}
    chosen = set(re.findall(r"[{,]\s*(\w+)=", expression))
    shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", told))
    assert by | chosen | shown <= known
    assert expression.count("(") == expression.count(")")
    assert shown <= by, "a label that was summed away is shown empty"


def test_panels_stand_beside_each_other() -> None:
    """Grafana lays one over the other without a word."""
    panels = json.loads((MONITORING / "grafana.json").read_text())["panels"]
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]
    assert len(set(places)) == len(places)
    assert len({one["id"] for one in panels}) == len(panels)
