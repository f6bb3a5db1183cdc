"""Emulated management APIs of products that nobody may install freely: VyOS, F5 BIG-IP, FortiOS, PAN-OS.

Each is built from the request and response examples of its vendor's public documents, which are kept with
their source under `examples/`, and from nothing of ours: whoever writes an adapter does not write the
emulator it is tried on. None has met the device. What passes here is "emulated", not proved.
"""
