"""Lifecycle verbs, one file each: parameters, the story in steps, the actions in the same order."""
