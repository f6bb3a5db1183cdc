"""Watches what runs and asks for more operations: heartbeats, events, alarms, healing. One file each."""
