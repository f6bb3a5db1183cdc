"""How devices are talked to. Each module implements one of the seams (`shell`) over a kept library or "
"program."""
