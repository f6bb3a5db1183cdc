"""ETSI NFV-SOL 005 towards an NFVO: VNF package management, version 1."""
