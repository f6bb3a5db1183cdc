"""Sources that can do no HTTP: sockets on which they tell of faults in protocols of their own."""
