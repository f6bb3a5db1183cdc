"""The checker of invariant I-08 over what one consumer got."""

from collections import defaultdict
from collections.abc import Sequence

from consumer_bench import Request


def check_order(seen: Sequence[Request], expected: int) -> None:
    """I-08 over what one consumer got: every number, one id per number, order within each object."""
    ids: dict[int, str] = {}
    latest: dict[str, int] = defaultdict(int)
    for one in seen:
        known = ids.setdefault(one.number, one.json["id"])
        assert known == one.json["id"], f"number {one.number} came with two ids"
        about = one.json["alarm"]["managedObjectId"] if "alarm" in one.json else one.json.get("object_id", "")
        is_first = one.number > latest[about]
        assert is_first or one.headers.get("farsite-replay") == "true", f"{one.number} came late, unmarked"
        latest[about] = max(latest[about], one.number)
    assert sorted(ids) == list(range(1, expected + 1))
    assert len(set(ids.values())) == expected
