"""How soon, how much and how exactly: what checkers allow a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds, MiB and counts. The defaults are those of runs on a machine that does much else."""

    told_s: float = 5.0
    """From the fault to the record of its alarm."""
    cleared_s: float = 5.0
    """From the end of the condition to the record of the end of the alarm."""
    again_s: float = 10.0
    """What is allowed more when we were blind: who was away longer is asked again less often."""
    confirmed_s: float = 15.0
    """From the first silence of a VIM to its alarm: the hysteresis takes its time."""
    slack_s: float = 0.25
    """Two clocks of one machine, and the order in which two processes write."""
    shared_s: float = 60.0
    """Deaths within it may be told as the failure of what they share."""
    rest_s: float = 90.0
    """From the end of the last fault until all is at rest."""
    other_sites_more: float = 0.2
    """How much slower than without it a fault of one site may make the slowest hundredth elsewhere."""
    other_sites_s: float = 0.25
    """Seconds of that which are a machine's, not ours."""
    least_requests: int = 100
    """Fewer say nothing about the slowest hundredth."""
    dated_s: float = 60.0
    """By how much a record may be dated wrongly: clocks are set by more, a busy machine is late by less."""
    memory_mib: float = 1024.0
    threads: int = 200
    files: int = 512
    disk_mib: float = 1024.0


BUSY = Bounds(told_s=20.0, cleared_s=20.0, again_s=20.0, confirmed_s=30.0, other_sites_s=2.0)
"""For runs of tests, beside which a machine does anything: what never comes is found, what is late is not."""
