"""Room for so many operations at work; those that find none wait in line, in the order in which they came.

Who waits holds nothing but its place: no connection, no thread, no deadline that runs.
"""

import asyncio
from collections import deque


class Room:
    """A bound on what one process works on at once. Used on one event loop."""

    def __init__(self, most: int) -> None:
        """`most`: how many may be at work, 1 or more."""
        assert most >= 1
        self.most = most
        self.at_work = 0
        self._line: deque[Place] = deque()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def ask(self) -> "Place":
        """A place at work if there is one, else the last in line. It is its owner's until `Place.leave`."""
        place = Place(self, ahead=len(self._line))
        self._line.append(place)
        self._admit()
        return place

    def _admit(self) -> None:
        while self._line and self.at_work < self.most:
            self.at_work += 1
            self._line.popleft().found.set_result(None)

    def _left(self, place: "Place") -> None:
        if place.found.done():
            self.at_work -= 1
            self._admit()
        else:
            self._line.remove(place)


class Place:
    """Somebody's place in a room, or in the line before it. `ahead`: how many stood in line when he came."""

    def __init__(self, room: Room, *, ahead: int) -> None:
        self.room = room
        self.ahead = ahead
        self.found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once there is room."""
        self._is_left = False

    def leave(self) -> None:
        """Give the place to the next, or leave the line; again: nothing happens."""
        if not self._is_left:
            self._is_left = True
            self.room._left(self)  # pyright: ignore[reportPrivateUsage]  # the two are one thing
