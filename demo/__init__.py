"""The demonstration: Farsite's main job on this machine, with real packets, told in operator's words."""
