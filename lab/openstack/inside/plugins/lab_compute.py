"""nova-compute with labnova importable as nova.virt.labnova (nova loads drivers only from there)."""

import os

import nova.virt
from nova.cmd import compute  # monkey-patches first

nova.virt.__path__.append(os.path.dirname(os.path.abspath(__file__)))
main = compute.main
