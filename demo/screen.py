"""What the demonstration prints: lines with the time since its start, and tables."""

import sys
import time
from collections.abc import Sequence


class Screen:
    """Prints the story."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        self._chapter = 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def title(self, text: str) -> None:
        self._chapter += 1
        print(f"\n{self._bold(f'{self._chapter}. {text}')}", flush=True)

    def say(self, text: str) -> None:
        print(f"{self.elapsed_s:7.2f} s  {text}", flush=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Columns as wide as their longest cell; numbers to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(head), *(len(row[at]) for row in cells)) for at, head in enumerate(heads)]
        print()
        print("           " + "  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)))
        print("           " + "  ".join("-" * width for width in widths))
        for row, raw in zip(cells, rows, strict=True):
            shown = [
                cell.rjust(width) if isinstance(value, int | float) else cell.ljust(width)
                for cell, width, value in zip(row, widths, raw, strict=True)
            ]
            print("           " + "  ".join(shown).rstrip())
        print(flush=True)

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._is_terminal else text
