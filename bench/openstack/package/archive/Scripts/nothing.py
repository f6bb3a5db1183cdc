"""What the descriptor's start and end interfaces run under Tacker: nothing. Farsite never executes it."""

import sys

sys.stdin.buffer.read()
