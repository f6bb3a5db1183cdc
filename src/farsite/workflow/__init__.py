"""Durable operations: sagas of steps that survive the death of this process at any point.

The only package that knows the engine (DBOS). A saga is a list of steps, each an action and perhaps an
undo. An action that is a plain function gets a database connection and is done exactly once; an action
that is `async` works on the outside, is done at least once, and so must look before it creates.
"""
