"""SOL004 archives and SOL001 descriptors to model. Reads bytes, does no I/O of its own."""
