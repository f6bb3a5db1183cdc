"""Checks kept histories (in tests/: `python -m histories FILE...`); 1 when an invariant is broken."""

import sys
from pathlib import Path

from histories import read
from histories.checkers import wrongs


def main(paths: list[str]) -> int:
    found = [f"{path}: {one}" for path in paths for one in wrongs(read(Path(path)))]
    print("\n".join(found) or f"{len(paths)} histories keep every invariant.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
