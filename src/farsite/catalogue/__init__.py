"""Packages, descriptors and artefacts at rest."""
