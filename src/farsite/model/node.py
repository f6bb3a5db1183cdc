"""Nodes: the equal processes of one Farsite, and how they share what is watched."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b


class NodeState(StrEnum):
    """`STARTING` has a lease and no share yet; `UP` works; `DRAINING` takes nothing on and hands over what it
    has; `GONE` stopped or was lost."""

    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One process. `id` is new at every start, `name` stays.

    `boot` tells two starts under one id apart. The lease is over at `expires_at`, by the database's clock;
    `is_expired` is what that clock said when the node was read. `is_recovered`: nothing is left to be taken
    over from a node that is gone.
    """

    id: str
    boot: str
    name: str
    host: str
    pid: int
    url: str
    version: str
    workflow_versions: tuple[str, ...]
    state: NodeState
    reason: str
    operations: int
    vims: int
    started_at: datetime
    renewed_at: datetime
    expires_at: datetime
    is_expired: bool
    is_recovered: bool

    @property
    def is_alive(self) -> bool:
        return self.state is not NodeState.GONE and not self.is_expired


def owner_of(subject: str, node_ids: Iterable[str]) -> str | None:
    """Which of the nodes a subject belongs to; None of no nodes.

    Rendezvous hashing: when a node goes, only what was its own moves, evenly to all others; when one comes,
    it gets its share from all others evenly.
    """
    return max(node_ids, key=lambda node_id: (_weight(subject, node_id), node_id), default=None)


def _weight(subject: str, node_id: str) -> bytes:
    return blake2b(f"{subject}\0{node_id}".encode(), digest_size=8).digest()
