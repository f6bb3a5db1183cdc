"""Faults of networks and services, made to order: a proxy that stands in front of a real service."""
