"""Farsite: one control room for network functions that run on many sites."""

__version__ = "0.1.0"
