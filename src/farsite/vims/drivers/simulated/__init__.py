"""The simulated driver: a VIM made of numbers, with knobs for every failure. Never proves a claim about a real VIM."""
