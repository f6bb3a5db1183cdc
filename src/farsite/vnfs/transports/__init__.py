"""How devices are talked to. Each module implements one of the seams (`shell`, `rest`) over a kept library or
program."""
