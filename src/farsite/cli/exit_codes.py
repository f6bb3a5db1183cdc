"""What the command line tells scripts by its exit code."""

from enum import IntEnum


class Exit(IntEnum):
    """A command that was accepted and not waited for is DONE: its work was to be accepted."""

    DONE = 0
    REFUSED = 1
    """Refused, wrong usage, or nobody answers."""
    PENDING = 2
    """Changes are under way: an operation that was looked at, or waited for too shortly, still runs."""
    FAILED = 3
    """The operation ended FAILED or ROLLED_BACK."""
    NEEDS_OPERATOR = 4
    """The operation rests in FAILED_TEMP until somebody decides."""


def of_state(state: str) -> Exit:
    """The exit code that an operation's state stands for."""
    return {
        "COMPLETED": Exit.DONE,
        "FAILED": Exit.FAILED,
        "ROLLED_BACK": Exit.FAILED,
        "FAILED_TEMP": Exit.NEEDS_OPERATOR,
    }.get(state, Exit.PENDING)
