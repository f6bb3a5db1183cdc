"""Other orchestrators, set up beside the laboratory for the length of a benchmark."""
