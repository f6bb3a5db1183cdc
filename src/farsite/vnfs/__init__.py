"""The VNF-management seam: how the inside of a function is reached. Adapters will live here."""
