"""Drivers, one folder per VIM type. Nobody imports one: the registry loads them by entry point."""
