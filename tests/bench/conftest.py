"""The benchmarks are no part of the installed package, so the checkout goes on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
