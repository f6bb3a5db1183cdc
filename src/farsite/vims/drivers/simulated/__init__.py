"""The simulated driver: a VIM made of numbers, with a knob for every failure. No claim rests on it."""
