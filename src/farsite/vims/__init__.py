"""The VIM seam: what the orchestrator asks of an infrastructure manager, and the drivers that answer."""
