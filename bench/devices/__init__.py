"""Devices at work: what managing the inside of functions costs, on real Linux routers and, where a product
cannot be had, on emulated ones. `python -m bench devices` measures all parts in one run."""

NAME = "devices"
PARTS = ("device-rules", "device-fleet", "device-reversal", "device-broker")
