"""Farsite on a real OpenStack beside what it is measured against: plain Heat, and OpenStack Tacker."""
