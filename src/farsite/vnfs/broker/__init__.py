"""The broker: does what Farsite asks of devices from where these are reachable.

A job goes one way over the broker's own outgoing connection, its answer the other. A job is written down
before it is begun and its answer before it is sent, so a broker that dies or is cut off goes on where it was.
"""
