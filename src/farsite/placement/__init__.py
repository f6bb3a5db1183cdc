"""Where functions go: a problem in, a placement with its explanation out. Pure."""
