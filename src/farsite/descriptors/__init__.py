"""SOL004 archives and SOL001 descriptors to model. Reads bytes, does no I/O of its own.

`archive.open_archive` takes a binary file from a stranger; `vnf_package.read_vnf_package` and
`nsd_archive.read_nsd_archive` make a VNFD or an NSD of it; `faults.ArchiveRefused` tells every fault at once.
"""
