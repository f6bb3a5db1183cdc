"""What one health check of a VIM means. Pure: a state comes from the check, the misses before it, and how
surprising the silence is.

A vital service that is silent makes the VIM UNREACHABLE at once and ERROR after some misses in a row; one
good answer makes it ACTIVE again. What a driver refuses (credentials, above all) is ERROR at once: waiting
does not make a wrong password right. A VIM far away may be asked less often, or given more time, by its own
settings.
"""

from dataclasses import dataclass, replace

from farsite.model.errors import FarsiteError, VimFault
from farsite.model.vim import ServiceHealth, Vim, VimHealth, VimState
from farsite.settings import Settings

ALL_ANSWER = "all services answer"
_PATIENCE = 3
"""So many times the misses confirm a silence that is not surprising: a VIM that is often away is away,
too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check means."""

    state: VimState
    reason: str
    misses: int
    took_s: float = 0.0
    services: tuple[ServiceHealth, ...] | None = None
    """None: the check was not answered, so nothing is known of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How one VIM is checked: those of its own settings that bear the names of ours win."""

    period_s: float
    timeout_s: float
    misses: int
    suspicion: float = 0.0


def rhythm_of(vim: Vim | None, settings: Settings) -> Rhythm:
    """The rhythm of a VIM; a setting that is no positive number is as good as none."""

    def chosen(name: str, otherwise: float) -> float:
        value = None if vim is None else vim.settings.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 86_400:
            return float(value)
        return otherwise

    return Rhythm(
        period_s=chosen("heartbeat_period_s", settings.heartbeat_period_s),
        timeout_s=chosen("heartbeat_timeout_s", settings.heartbeat_timeout_s),
        misses=int(chosen("heartbeat_misses", settings.heartbeat_misses)) or 1,
        suspicion=chosen("heartbeat_suspicion", settings.heartbeat_suspicion),
    )


def judge(
    health: VimHealth | FarsiteError | None,
    *,
    misses: int,
    misses_until_error: int,
    is_surprising: bool = True,
    weight: int = 1,
) -> Finding:
    """The state that a check leads to; None is silence. `misses` is how many were missed in a row before, and
    `weight` for how many this one counts; a silence that is not surprising takes longer to be confirmed."""
    if isinstance(health, VimFault):
        return Finding(state=VimState.ERROR, reason=health.detail, misses=misses + 1)
    misses += weight - 1
    needed = misses_until_error if is_surprising else misses_until_error * _PATIENCE
    if health is None or isinstance(health, FarsiteError):
        reason = "no answer in time" if health is None else health.detail
        return _missed(reason, misses, needed)
    down = [one for one in health.services if not one.is_up]
    words = "; ".join(f"{one.name}: {one.detail or 'down'}" for one in down)
    if any(one.is_vital for one in down):
        # The vital ones first: they are why.
        down.sort(key=lambda one: not one.is_vital)
        words = "; ".join(f"{one.name}: {one.detail or 'down'}" for one in down)
        return replace(_missed(words, misses, needed), services=health.services)
    if down:
        return Finding(state=VimState.DEGRADED, reason=words, misses=0, services=health.services)
    return Finding(state=VimState.ACTIVE, reason=ALL_ANSWER, misses=0, services=health.services)


def _missed(reason: str, misses: int, needed: int) -> Finding:
    is_confirmed = misses + 1 >= needed
    return Finding(
        state=VimState.ERROR if is_confirmed else VimState.UNREACHABLE, reason=reason, misses=misses + 1
    )


def weight_of(took_s: float, rhythm: Rhythm) -> int:
    """For how many misses a check counts that was not answered. One that was waited for longer than a period
    kept the next from being made and counts for both; no more, so that a single one confirms nothing."""
    return 2 if took_s > 1.5 * rhythm.period_s and rhythm.misses > 2 else 1


def next_due_s(due_s: float, now_s: float, period_s: float) -> float:
    """When the next check is due: one or more whole periods after this one was. What was missed is not made
    up for, and VIMs keep their distance, so that a pause does not have all of them checked at once ever
    after."""
    behind = max(now_s - due_s, 0.0)
    return due_s + period_s * (1 + behind // period_s)


def inventory_period_s(settings: Settings, count: int) -> float:
    """Seconds between readings of a VIM's inventory, of so many VIMs, that nothing is being placed on."""
    return max(settings.inventory_period_s, count / settings.inventory_rate)
