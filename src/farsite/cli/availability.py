"""`farsite vnf availability` and `farsite ns availability`."""

from typing import Literal

from farsite.cli import printing
from farsite.cli.alarm_wishes import moment
from farsite.cli.printing import Form
from farsite.client import Client


def show(kind: Literal["vnfs", "ns"], key: str, since: str, until: str, form: Form) -> None:
    """Print the figures of an object."""
    query = [
        (name, moment(text, is_past=True)) for name, text in (("since", since), ("until", until)) if text
    ]
    with Client() as client:
        found = client.availability(kind, key, query)
    share = found["availability"]
    printing.facts(
        found,
        [
            ("since", printing.when(found["since"])),
            ("until", printing.when(found["until"])),
            ("observed", _span(found["observed_s"])),
            ("availability", None if share is None else f"{share:.5%}"),
            ("down", _span(found["downtime_s"])),
            ("degraded", _span(found["degraded_s"])),
            ("service failures", found["failures"]),
            ("impairments", found["impairments"]),
            ("MTBF", _span(found["mtbf_s"])),
            ("MTTR", _span(found["mttr_s"])),
            ("detection", _span(found["detection_s"])),
            ("failover", _span(found["failover_s"])),
            ("recovery", _span(found["recovery_s"])),
            ("lost at worst", None if found["impact"] is None else f"{found['impact']:.0%}"),
        ],
        form,
    )


def _span(seconds: float | None) -> str | None:
    """Seconds as people say them."""
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
