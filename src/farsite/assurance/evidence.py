"""What is the matter with a host: a verdict from what several observers say, by a table.

Each row of `MATRIX` states what it needs to see; an observation that a row does not name does not matter to
it, and one that nobody made (UNKNOWN) never fulfils a need. So missing evidence leads to UNKNOWN and not to
an action. Our own path is judged first: who cannot see anybody must not conclude that all are dead.

A verdict permits actions by `PERMITTED`. Nothing else may be done while it holds.

Source: the connectivity matrix of Masakari's host monitors; OPNFV Doctor, fault annex.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Seen(StrEnum):
    """What one observer says."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """It was not asked, did not look, or does not exist here."""


class Verdict(StrEnum):
    """What is the matter."""

    UP = "up"
    SERVICE_DOWN = "service-down"
    """The host works; the software through which it is managed does not."""
    HOST_HUNG = "host-hung"
    """Powered and silent on every plane, also to its neighbours; it may still write to storage."""
    HOST_ISOLATED = "host-isolated"
    """It works and cannot be managed: its functions still carry traffic."""
    HOST_SILENT = "host-silent"
    """The VIM's own processes there have stopped reporting while those of other hosts report, and nobody
    could see the host otherwise. It may be dead, hung or cut off."""
    DATA_PLANE_DOWN = "data-plane-down"
    """It can be managed, and the network of its functions reaches nobody, while others reach one another."""
    POWER_LOST = "power-lost"
    PARTITION_OF_US = "partition-of-us"
    """The fault is between us and everybody else."""
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What may be done about a host and what runs there."""

    RESTART_SERVICE = "restart-service"
    REBOOT = "reboot"
    """Reboot or rebuild of functions where they stand."""
    FENCE = "fence"
    RECOVER_AFTER_FENCE = "recover-after-fence"
    """Evacuate or respawn, once a fence is confirmed."""
    RECOVER = "recover"
    """Evacuate or respawn at once: nothing can serve there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one host. Times are not in here: what is too old is given as UNKNOWN."""

    agent: Seen = Seen.UNKNOWN
    """Heartbeat of the agent or monitor on the host."""
    service: Seen = Seen.UNKNOWN
    """What the VIM says of its own service there (Nova's `os-services`). It lags, and it can be wrong both
    ways: up though dead until its timeout, down though alive when forced."""
    management: Seen = Seen.UNKNOWN
    """Ping on the management network."""
    tenant: Seen = Seen.UNKNOWN
    """Ping or probe on the tenants' network, or packets counted of functions that stand there."""
    power: Seen = Seen.UNKNOWN
    """Its management controller (BMC) says that it is powered."""
    neighbours: Seen = Seen.UNKNOWN
    """Whether other hosts see it. DOWN: those that see one another do not see it."""
    others: Seen = Seen.UNKNOWN
    """Whether we see anybody else: other hosts of the site, or other sites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict, how sure it is (0 to 1), and why."""

    verdict: Verdict
    confidence: float
    reason: str

    @property
    def permitted(self) -> frozenset[Action]:
        return PERMITTED[self.verdict]


PERMITTED: Mapping[Verdict, frozenset[Action]] = {
    Verdict.UP: frozenset({Action.REBOOT, Action.FENCE, Action.RECOVER_AFTER_FENCE}),
    Verdict.SERVICE_DOWN: frozenset({Action.RESTART_SERVICE}),
    Verdict.HOST_HUNG: frozenset({Action.FENCE, Action.RECOVER_AFTER_FENCE}),
    Verdict.HOST_ISOLATED: frozenset({Action.FENCE, Action.RECOVER_AFTER_FENCE}),
    Verdict.HOST_SILENT: frozenset({Action.FENCE, Action.RECOVER_AFTER_FENCE}),
    # A reboot there mends no cable; who answers can be fenced for sure.
    Verdict.DATA_PLANE_DOWN: frozenset({Action.FENCE, Action.RECOVER_AFTER_FENCE}),
    Verdict.POWER_LOST: frozenset({Action.FENCE, Action.RECOVER}),
    Verdict.PARTITION_OF_US: frozenset[Action](),
    Verdict.UNKNOWN: frozenset[Action](),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    verdict: Verdict
    confidence: float
    needs: Mapping[str, Seen]
    reason: str


_UP, _DOWN = Seen.UP, Seen.DOWN

MATRIX: tuple[_Row, ...] = (
    # We first. Neighbours that report through another path and see the host prove that we are the blind one.
    _Row(
        verdict=Verdict.PARTITION_OF_US,
        confidence=0.95,
        needs={"others": _DOWN},
        reason="we see nobody else either",
    ),
    # Power is proof, whatever the others still say: their news may be older.
    _Row(
        verdict=Verdict.POWER_LOST,
        confidence=1.0,
        needs={"power": _DOWN, "management": _DOWN, "agent": _DOWN},
        reason="its management controller says that it is off, and nothing answers",
    ),
    _Row(
        verdict=Verdict.SERVICE_DOWN,
        confidence=0.95,
        needs={"management": _UP, "service": _DOWN},
        reason="the host answers, the VIM's service on it does not",
    ),
    _Row(
        verdict=Verdict.SERVICE_DOWN,
        confidence=0.9,
        needs={"management": _UP, "agent": _DOWN},
        reason="the host answers, the agent on it does not",
    ),
    _Row(
        verdict=Verdict.DATA_PLANE_DOWN,
        confidence=0.8,
        needs={
            "management": _UP,
            "service": _UP,
            "tenant": _DOWN,
            "neighbours": _DOWN,
            "others": _UP,
        },
        reason="it can be managed, and its functions reach nobody, while others reach one another",
    ),
    _Row(
        verdict=Verdict.UP,
        confidence=1.0,
        needs={"agent": _UP},
        reason="its agent answers",
    ),
    _Row(
        verdict=Verdict.UP,
        confidence=0.7,
        needs={"management": _UP, "service": _UP},
        reason="it answers and the VIM counts it as up",
    ),
    # Silent on the management network. Whether it still works is what the other planes say.
    _Row(
        verdict=Verdict.HOST_ISOLATED,
        confidence=0.95,
        needs={"management": _DOWN, "agent": _DOWN, "tenant": _UP},
        reason="it cannot be managed, and its functions still carry traffic",
    ),
    _Row(
        verdict=Verdict.HOST_ISOLATED,
        confidence=0.8,
        needs={"management": _DOWN, "agent": _DOWN, "neighbours": _UP},
        reason="it cannot be managed, and its neighbours still see it",
    ),
    _Row(
        verdict=Verdict.HOST_HUNG,
        confidence=0.9,
        needs={"management": _DOWN, "agent": _DOWN, "tenant": _DOWN, "neighbours": _DOWN, "others": _UP},
        reason="it is silent to us and to its neighbours on every plane",
    ),
    _Row(
        verdict=Verdict.HOST_HUNG,
        confidence=0.75,
        needs={"management": _DOWN, "agent": _DOWN, "tenant": _DOWN, "power": _UP, "others": _UP},
        reason="it is powered and silent on every plane, while others answer us",
    ),
    # Where nothing of ours runs on hosts, the VIM's word is nearly all there is. It is worth something only
    # while the processes of other hosts report: a dead message bus makes all of them look alike.
    _Row(
        verdict=Verdict.HOST_SILENT,
        confidence=0.7,
        needs={"management": _DOWN, "service": _DOWN, "agent": Seen.UNKNOWN, "others": _UP},
        reason="it does not answer, and the VIM's service on it has stopped reporting while others report",
    ),
    _Row(
        verdict=Verdict.HOST_SILENT,
        confidence=0.6,
        needs={"management": Seen.UNKNOWN, "service": _DOWN, "agent": _DOWN, "others": _UP},
        reason="the VIM's service and its other agent on it have stopped reporting while others report",
    ),
    _Row(
        verdict=Verdict.HOST_SILENT,
        confidence=0.5,
        needs={
            "management": Seen.UNKNOWN,
            "service": _DOWN,
            "agent": Seen.UNKNOWN,
            "others": _UP,
        },
        reason="the VIM's service on it has stopped reporting while others report; nobody looked at the host",
    ),
)
"""Read from the top; the first row whose needs are all seen decides."""


def judge(evidence: Evidence) -> Finding:
    """The verdict on a host. Pure; what no row covers is UNKNOWN, which permits nothing."""
    for row in MATRIX:
        if all(getattr(evidence, name) is seen for name, seen in row.needs.items()):
            return Finding(verdict=row.verdict, confidence=row.confidence, reason=row.reason)
    missing = [
        name
        for name in ("agent", "service", "management", "tenant", "power", "neighbours", "others")
        if getattr(evidence, name) is Seen.UNKNOWN
    ]
    told = f"nobody told about: {', '.join(missing)}" if missing else "the observers contradict each other"
    return Finding(verdict=Verdict.UNKNOWN, confidence=0.0, reason=told)
