"""The site agent: the only code that touches namespaces."""
