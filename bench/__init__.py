"""Benchmarks: the figures that the design promises, measured on the machine at hand."""
