"""Figures, the bounds they have to reach, and the table that says by how much they do or do not."""

from collections.abc import Sequence
from dataclasses import dataclass


class NotMeasured(Exception):
    """A part cannot be measured here; the message says why and what would enable it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value. Less is better in all of them; `to_reach` is the bound, None where none is set."""

    what: str
    value: float | None
    unit: str
    to_reach: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Met or missed, by how much of the bound."""
        if self.value is None:
            return "not measured"
        if self.to_reach is None:
            return ""
        if not self.to_reach:
            return "MISSED" if self.value else "met"
        share = abs(self.value - self.to_reach) / self.to_reach
        if self.value > self.to_reach:
            return f"MISSED by {share:.0%}"
        return f"met, {share:.0%} to spare"

    @property
    def is_missed(self) -> bool:
        return self.value is not None and self.to_reach is not None and self.value > self.to_reach


def number(value: float | None) -> str:
    """Three significant digits, without exponents."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


HEADINGS = ("what", "figure", "to reach", "verdict", "note")


def row(figure: Figure) -> tuple[str, ...]:
    bound = "" if figure.to_reach is None else f"< {number(figure.to_reach)} {figure.unit}"
    if figure.to_reach == 0:
        bound = "none"
    measured = "-" if figure.value is None else f"{number(figure.value)} {figure.unit}"
    return figure.what, measured, bound, figure.verdict, figure.note


def as_text(figures: Sequence[Figure]) -> str:
    """The table for a terminal."""
    rows = [HEADINGS, *(row(figure) for figure in figures)]
    widths = [max(len(one[column]) for one in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)) for one in rows]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0].rstrip()), *lines[1:]])


def as_markdown(figures: Sequence[Figure]) -> str:
    """The table for docs/reference/benchmarks.md."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(row(figure) for figure in figures)]
    return "\n".join(f"| {' | '.join(one)} |" for one in rows) + "\n"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]
