"""nova-compute with labnova importable as `nova.virt.labnova`: Nova loads drivers from there only."""

from pathlib import Path

from nova import virt
from nova.cmd import compute

virt.__path__.append(str(Path(__file__).resolve().parent))
main = compute.main
