"""Grounds to try Farsite on: real OpenStack sites on one machine, and faults put in front of them.

Nothing of the product imports this package, and this package imports nothing of the product: the
laboratory must tell the truth about an orchestrator that it does not know.
"""
