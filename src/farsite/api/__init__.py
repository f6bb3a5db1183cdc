"""The northbound interfaces: ETSI's under their own names, ours under /farsite/v1."""
