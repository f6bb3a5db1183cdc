"""The checker of invariant I-08 over what one consumer got."""

from collections import defaultdict
from collections.abc import Sequence

from consumer_bench import Request


def check_order(seen: Sequence[Request], expected: int, *, has_late_copies: bool = False) -> None:
    """I-08 over what one consumer got: every number, one id per number, order within each object.

    With `has_late_copies` what came before already may come again unmarked: a process that was frozen while
    it sent ends that when it thaws.
    """
    ids: dict[int, str] = {}
    latest: dict[str, int] = defaultdict(int)
    for one in seen:
        is_copy = one.number in ids
        known = ids.setdefault(one.number, one.json["id"])
        assert known == one.json["id"], f"number {one.number} came with two ids"
        about = one.json["alarm"]["managedObjectId"] if "alarm" in one.json else one.json.get("object_id", "")
        is_first = one.number > latest[about]
        is_marked = one.headers.get("farsite-replay") == "true" or (has_late_copies and is_copy)
        assert is_first or is_marked, f"{one.number} came late, unmarked"
        latest[about] = max(latest[about], one.number)
    assert sorted(ids) == list(range(1, expected + 1))
    assert len(set(ids.values())) == expected
