"""Where others tell us of faults: one module per format, each a pure reading of a body into what was told."""
