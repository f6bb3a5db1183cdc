"""The checker of invariant I-08 over what one consumer got."""

from collections.abc import Sequence

from consumer_bench import Request
from histories.consumers import notification
from histories.telling import copies_marked, order_faults


def check_order(seen: Sequence[Request], expected: int, *, has_late_copies: bool = False) -> None:
    """I-08 over what one consumer got: every number, one id per number, order within each object.

    With `has_late_copies` what came before already may come again unmarked: a process that was frozen while
    it sent ends that when it thaws.
    """
    entries = [notification("sink", one) for one in seen]
    if has_late_copies:
        entries = copies_marked(entries)
    wrong = order_faults(entries)
    assert not wrong, "; ".join(wrong)
    assert {one["number"] for one in entries} == set(range(1, expected + 1))
