"""PAN-OS over its XML API; see `product`."""
