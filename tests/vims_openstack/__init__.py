"""Tests of the OpenStack driver that need no OpenStack."""
