"""What is told to the outside: the outbox, read in order."""
