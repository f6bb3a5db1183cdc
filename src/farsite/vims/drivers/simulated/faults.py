"""Faults of a simulated VIM: the table of kinds, and whether one strikes a call.

A fault stands either in the registration's settings (the VIM is always like that) or in the world (put
there by `inject`, from any process, and gone with `clear_faults`). Uses are counted in the world, so a
fault that is meant once strikes once, also when it kills the process that it strikes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

FAULT_KINDS: Mapping[str, str] = {
    # -- calls: target is a method of the driver, empty for all of them
    "error": "The VIM refuses a call with its own words. calls | probability, message, for_s",
    "lost_answer": "The call is executed, its answer is lost (VimUnreachable). calls | probability, for_s",
    "answer_delay_s": "Answers come late, after the effect. seconds, for_s",
    "stale_list": "find and watch answer from the past: as at the injection, or lag_s ago. for_s, lag_s",
    "partition": "No call gets through and nothing is executed. for_s",
    "crash": "The VIM is gone for for_s and comes back holding all. for_s, in_progress: continue | fail",
    "crash_orchestrator_after": "SIGKILL of our own process at the N-th call. calls, when: before | after",
    # -- deployments: target is a deployment name or VNF instance id, empty for every one
    "deploy_delay_s": "Time from deploy until READY, for deployments that follow. seconds, calls, for_s",
    "fail_deployment": "The deployment ends FAILED. reason, resource (VNFC id), calls, for_s",
    "misplace": "What is made or evacuated comes to this host, whatever was asked for. host, calls, for_s",
    "misplace_substrate": "Networks and volumes that are made come to this physical network and this storage"
    " back end, whatever was asked for. physical_network, back_end, calls, for_s",
    "refuse_change": "A change of ports, or a stop or start, is accepted and then refused: the deployment is"
    " FAILED and its VNFCs go on as they were. reason, calls, for_s",
    "naive_duplicates": "Deploying what exists makes a second resource instead of finding it. calls, for_s",
    # -- resources
    "capacity": "Another size; target is a zone or empty. vcpus, memory_mib, disk_gib, hosts, for_s",
    "others": "Other tenants take room; target is a host, or a zone whose hosts they use evenly, or empty for"
    " every zone. vcpus, memory_mib, disk_gib, for_s",
    "kill_vnfc": "A VNFC dies and stays dead; target is its id. reason",
    "link_down": "A port of a VNFC goes down until clear_faults; target is the VNFC id. port",
    "datapath_lost": "A VNFC passes no packets until clear_faults; target is its id.",
    "hang_vnfc": "A VNFC hangs: it stands and answers nothing. cured_by: reboot_soft | reboot_hard |"
    " rebuild | respawn, the gentlest repair that helps; target is its id.",
    "drift_vnfc": "Its configuration is no longer the one it started with; target is its id. configuration",
    "host_down": "A host fails: all on it is dead and nothing is placed there; target is its name. for_s",
    "host_service_down": "The VIM's service on a host stops reporting; the host and all on it go on; target"
    " is its name, empty for every host. for_s",
    "service_down": "A copy of a control service stops; target is SERVICE@HOST. While no other copy of it"
    " works, or for failover_s (setting) after the loss, no call gets through. for_s",
    "host_disabled": "A host is taken out of service: what stands there goes on, nothing is placed there;"
    " target is its name. reason, for_s",
    "chain_counters": "Set counters; target is a chain. hop, vnfc_id, forward_packets, reverse_bytes ...",
}
"""Kind -> what it does and which settings it takes. Times are seconds; `calls` is how many calls it strikes
(without it: all until cleared), `probability` is between 0 and 1, `for_s` how long it stands."""

STANDING = frozenset(FAULT_KINDS) - {
    "kill_vnfc",
    "link_down",
    "datapath_lost",
    "hang_vnfc",
    "drift_vnfc",
    "chain_counters",
}
"""Kinds that wait for calls; the others act at once, on a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A standing fault. `since` and `until` are seconds since the epoch, None is until cleared."""

    id: str
    kind: str
    target: str = ""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    since: float = 0
    since_sequence: int = 0
    until: float | None = None

    def stands(self, now: float) -> bool:
        return self.until is None or now < self.until

    def aims_at(self, *names: str) -> bool:
        return self.target in ("", *names)

    def number(self, key: str, default: float) -> float:
        """A numeric setting, the default when absent. Settings were checked when the fault was made."""
        value = self.settings.get(key, default)
        return float(value) if isinstance(value, int | float) else default

    def words(self, key: str, default: str) -> str:
        return str(self.settings.get(key) or default)

    @property
    def calls(self) -> int | None:
        value = self.settings.get("calls")
        return value if isinstance(value, int) else None


_NUMBERS = frozenset(
    {
        "calls",
        "probability",
        "for_s",
        "lag_s",
        "seconds",
        "vcpus",
        "memory_mib",
        "disk_gib",
        "hosts",
        "forward_packets",
        "forward_bytes",
        "reverse_packets",
        "reverse_bytes",
    }
)
CURES = ("reboot_soft", "reboot_hard", "rebuild", "respawn")
"""What may help a VNFC that hangs, gentlest first."""
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "when": ("before", "after"),
    "in_progress": ("continue", "fail"),
    "cured_by": CURES,
}


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def faults_in(kind: str, settings: Mapping[str, object]) -> list[str]:
    """What is wrong with the settings of a fault, one sentence per mistake; empty when it can be injected."""
    if kind not in FAULT_KINDS:
        return [f'No fault kind "{kind}". Kinds: {", ".join(FAULT_KINDS)}.']
    wrong: list[str] = []
    for key, value in settings.items():
        if key in _NUMBERS and not (is_number(value) and value >= 0):
            wrong.append(f"{kind}.{key} is {value!r}; expected a number, 0 or more.")
        if key in _CHOICES and value not in _CHOICES[key]:
            wrong.append(f"{kind}.{key} is {value!r}; expected {' or '.join(_CHOICES[key])}.")
    if kind in ("answer_delay_s", "deploy_delay_s") and "seconds" not in settings:
        wrong.append(f"{kind} needs seconds.")
    if kind == "misplace" and not settings.get("host"):
        wrong.append("misplace needs host: the name of the host that things come to.")
    if kind == "crash_orchestrator_after" and not isinstance(settings.get("calls"), int):
        wrong.append(f"{kind} needs calls: the number of the call that kills.")
    return wrong
