"""Processes of ours on this host, whose end the kernel tells at once."""

import os
import select
import time
from collections.abc import Iterable, Iterator

from farsite.model.node import Node, NodeState

_COUNTS_S = 2.0
"""For so long after it an end counts: by then the session of one that really ended is over."""


class Neighbours:
    """Watches them by file descriptors (pidfd) that become readable when their process ends.

    Process ids mean something on one host only, and in one namespace of process ids: containers may share a
    host's name and not its ids. So what is told here is no more than a reason to look at once, and to take a
    lock that is free for what it then is.
    """

    def __init__(self, me: Node) -> None:
        self._me = me
        self._descriptors: dict[str, int] = {}
        self._ended: dict[str, float] = {}

    def watch(self, nodes: Iterable[Node]) -> None:
        """Watch those of these that are of this host and not gone, and no others."""
        wanted = {
            node.boot: node.pid
            for node in nodes
            if node.host == self._me.host and node.boot != self._me.boot and node.state is not NodeState.GONE
        }
        for boot in self._descriptors.keys() - wanted.keys():
            os.close(self._descriptors.pop(boot))
        self._ended = {boot: at for boot, at in self._ended.items() if boot in wanted}
        for boot in wanted.keys() - self._descriptors.keys() - self._ended.keys():
            try:
                self._descriptors[boot] = os.pidfd_open(wanted[boot])
            except ProcessLookupError:
                self._ended[boot] = time.monotonic()
            except OSError:
                pass  # its lock and its lease tell, as for a process of another host

    @property
    def descriptors(self) -> list[int]:
        """What becomes readable when one of them ends that is not known to have."""
        return list(self._descriptors.values())

    def ended(self) -> frozenset[str]:
        """Boots of those whose end the kernel has told a moment ago."""
        now = time.monotonic()
        for boot in list(self._just_ended()):
            os.close(self._descriptors.pop(boot))
            self._ended[boot] = now
        return frozenset(boot for boot, at in self._ended.items() if now - at < _COUNTS_S)

    def _just_ended(self) -> Iterator[str]:
        poll = select.poll()
        boots = {descriptor: boot for boot, descriptor in self._descriptors.items()}
        for descriptor in boots:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            yield boots[descriptor]

    def close(self) -> None:
        self.watch(())
