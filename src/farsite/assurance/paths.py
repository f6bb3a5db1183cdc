"""Several paths to one VIM: one that is silent while another is not is a lost path, not a lost VIM. Pure.

A path is lost when it was missed as often in a row as a VIM has to be, and back with its first answer. While
the first path is lost, over which everything but heartbeats goes, the VIM is DEGRADED: it lives and can be
watched, and little can be changed on it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from farsite.assurance.judging import Finding
from farsite.model.vim import FIRST_PATH, PathHealth, PathState, VimState


def followed(
    before: Sequence[PathState], found: Sequence[PathHealth], *, misses: int, at: datetime
) -> tuple[PathState, ...]:
    """How the paths stand after a check. What one without a past tells is believed at once."""
    past = {one.name: one for one in before}
    return tuple(_followed(past.get(one.name), one, misses=misses, at=at) for one in found)


def _followed(before: PathState | None, found: PathHealth, *, misses: int, at: datetime) -> PathState:
    missed = 0 if found.is_up else (before.misses if before else 0) + 1
    was_lost = before is None or not before.is_up
    is_lost = missed >= misses or (missed > 0 and was_lost)
    since = before.since if before is not None and before.is_up is not is_lost else at
    return PathState(
        name=found.name,
        address=found.address,
        is_up=not is_lost,
        detail="" if found.is_up else found.detail,
        misses=missed,
        since=since,
        latency_ms=found.latency_ms,
    )


def lost(paths: Sequence[PathState]) -> tuple[PathState, ...]:
    """Those that are lost while another is not."""
    gone = tuple(one for one in paths if not one.is_up)
    return gone if len(gone) < len(paths) else ()


def with_paths(finding: Finding, paths: Sequence[PathState]) -> Finding:
    """What a check means together with how the paths stand."""
    gone = lost(paths)
    if not gone or finding.state not in (VimState.ACTIVE, VimState.DEGRADED):
        return finding
    is_first = any(one.name == FIRST_PATH for one in gone)
    words = "; ".join((finding.reason, *(words_of(one) for one in gone)))
    return replace(finding, state=VimState.DEGRADED if is_first else finding.state, reason=words)


def words_of(path: PathState) -> str:
    """A lost path in words."""
    return f"{path.name} path lost: {path.detail or path.address}"
