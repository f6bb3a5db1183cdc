"""In which order objects have their turn to be told of: the important first, and nobody for ever last.

An object's place follows from when what it waits with was queued, and from its class: a class is worth some
seconds of waiting. So places never change while they wait, and who has waited long enough is passed by
nobody who came since. Pure.
"""

import heapq

CLASS_WORTH_S = 2.0
"""Seconds of waiting that outweigh one class of priority."""
PASSED_MOST_S = 30.0
"""Whoever has waited so long is passed by nobody who came since, of whatever class."""


class Turns:
    """Objects that have something to be told, by whose turn it is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, object_id: str, *, since: float, number: int, priority: int) -> None:
        """Have an object wait for its turn with notification `number`, queued at `since` (seconds). A smaller
        `priority` is more important; of equals the first goes first."""
        place = since + min(priority * CLASS_WORTH_S, PASSED_MOST_S)
        heapq.heappush(self._heap, (place, number, object_id))

    def next(self) -> str:
        """Take out the object whose turn it is."""
        return heapq.heappop(self._heap)[2]

    def all_out(self) -> list[str]:
        """Take out all of them."""
        found = [object_id for _, _, object_id in self._heap]
        self._heap.clear()
        return found
