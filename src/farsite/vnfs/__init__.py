"""The VNF-management seam: how the inside of a function is reached, and the adapters of products."""
