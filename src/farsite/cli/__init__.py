"""The command line: one file per noun, thin functions over the typed client."""
