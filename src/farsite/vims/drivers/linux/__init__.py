"""The Linux driver: a site is a network namespace on a Linux host, kept by a site agent."""
