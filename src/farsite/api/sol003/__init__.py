"""ETSI NFV-SOL 003 towards a VNFM: VNF lifecycle management, version 2."""
