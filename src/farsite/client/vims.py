"""VIMs and sites, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ASKING_VIM_S, ROOT, Connection, Document, in_path


class Rack(TypedDict):
    name: str
    hosts: int
    vcpus_free: int
    memory_mib_free: int
    disk_gib_free: int


class Zone(TypedDict):
    region: str
    name: str
    vcpus: int
    vcpus_used: int
    memory_mib: int
    memory_mib_used: int
    disk_gib: int
    disk_gib_used: int
    hosts: int
    racks: list[Rack]


class ServiceHealth(TypedDict):
    name: str
    is_vital: bool
    is_up: bool
    detail: str
    latency_ms: float | None


class Miss(TypedDict):
    at: str
    services: list[str]
    reason: str


class PathState(TypedDict):
    name: str
    address: str
    is_up: bool
    detail: str
    latency_ms: float | None
    misses: int
    since: str


class Evidence(TypedDict):
    misses_in_a_row: int
    misses: list[Miss]
    answered_at: str | None
    suspicion: float
    down_since: dict[str, str]
    paths: list[PathState]
    seen_from: str


class HourOfVim(TypedDict):
    hour: str
    service: str
    answers: int
    misses: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class ControlElement(TypedDict):
    service: str
    kind: str
    region: str
    host: str
    zone: str
    state: str
    detail: str
    seen_at: str | None
    copies: int
    working: int


class ComputeHost(TypedDict):
    host: str
    region: str
    zone: str
    service: bool | None
    agent: bool | None
    management: bool | None
    is_forced_down: bool
    is_disabled: bool
    seen_at: str | None
    verdict: str
    reason: str
    is_dead: bool


class ControlPlane(TypedDict):
    age_s: float | None
    elements: list[ControlElement]
    hosts: list[ComputeHost]


class StandingVnf(TypedDict):
    vnf_id: str
    name: str
    vnfc_ids: list[str]


class HostHealth(TypedDict):
    vim_id: str
    host: str
    region: str
    zone: str
    state: str
    since: str
    age_s: float
    verdict: str
    confidence: float
    reason: str
    evidence: dict[str, str]
    permitted: list[str]
    is_disabled: bool
    is_forced_down: bool
    seen_at: str | None
    vnfs: list[StandingVnf]


class AuditCheck(TypedDict):
    name: str
    about: str
    region: str
    result: str
    grade: str
    weight: int
    copies: int
    working: int
    hosts: list[str]
    reason: str
    drill_age_s: float | None
    drill_outcome: str | None


class VimAudit(TypedDict):
    score: int | None
    seen_share: float
    proven_share: float
    rules: str
    rules_reason: str
    age_s: float | None
    single_points: list[str]
    checks: list[AuditCheck]


class DrillFinding(TypedDict):
    demand: str
    is_met: bool | None
    measured: str


class DrillObservation(TypedDict):
    at: str
    what: str


class Drill(TypedDict):
    id: str
    vim_id: str
    check: str
    about: str
    region: str
    service: str
    host: str
    is_host: bool
    is_injected: bool
    rules: str
    state: str
    outcome: str | None
    why: str
    instruction: str
    asked_by: str
    begun_at: str
    ends_at: str
    lost_at: str | None
    mended_at: str | None
    back_at: str | None
    ended_at: str | None
    outage_s: float
    told_at: str | None
    findings: list[DrillFinding]
    observations: list[DrillObservation]


class Vim(TypedDict):
    id: str
    name: str
    type: str
    site: str
    description: str
    auth_url: str
    settings: dict[str, object]
    identity: dict[str, str]
    extra: dict[str, object]
    is_default: bool
    state: str
    state_reason: str
    state_since: str
    services: list[ServiceHealth]
    checked_at: str | None
    evidence: Evidence | None
    created_at: str
    regions: dict[str, list[str]]
    features: list[str]
    missing: dict[str, str]
    capability_details: dict[str, str]
    physical_networks: list[str]
    storage_back_ends: list[str]
    tunnel_endpoint: str
    zones: list[Zone]
    inventory_age_s: float | None
    availability: float | None
    functions_availability: float | None


class Resource(TypedDict):
    id: str
    kind: str
    owner: str
    name: str
    vnfc_id: str | None
    incarnation: int
    host: str
    zone: str
    is_alive: bool
    addresses: list[str]
    mac: str
    details: dict[str, str]


class Event(TypedDict):
    id: str
    at: str
    kind: str
    vim_id: str
    object_id: str
    detail: str
    details: dict[str, str]


class Site(TypedDict):
    id: str
    name: str
    latitude: float | None
    longitude: float | None
    risk_groups: list[str]
    jurisdiction: str


class Vims(Connection):
    """VIMs and sites."""

    def vims(self, *, filter: str = "", limit: int = 0) -> list[Vim]:
        return cast("list[Vim]", list(self._list("/vims", filter=filter, limit=limit)))

    def vim(self, key: str) -> Vim:
        return cast("Vim", self._get(f"/vims/{in_path(key)}"))

    def register_vim(self, body: Document) -> Vim:
        # The VIM is asked meanwhile, and may be far away.
        return cast("Vim", self.request("POST", f"{ROOT}/vims", body, timeout_s=ASKING_VIM_S).json())

    def change_vim(self, key: str, body: Document) -> Vim:
        path = f"{ROOT}/vims/{in_path(key)}"
        return cast("Vim", self.request("PATCH", path, body, timeout_s=ASKING_VIM_S).json())

    def delete_vim(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/vims/{in_path(key)}")

    def rotate_vim_key(self, key: str) -> None:
        self._post(f"/vims/{in_path(key)}/rotate-key")

    def vim_resources(self, key: str, *, filter: str = "", limit: int = 0) -> list[Resource]:
        path = f"/vims/{in_path(key)}/resources"
        return cast("list[Resource]", list(self._list(path, filter=filter, limit=limit)))

    def vim_statistics(self, key: str, *, hours: int = 24) -> list[HourOfVim]:
        return cast("list[HourOfVim]", self._get(f"/vims/{in_path(key)}/statistics?hours={hours}"))

    def vim_control_plane(self, key: str) -> ControlPlane:
        return cast("ControlPlane", self._get(f"/vims/{in_path(key)}/control-plane"))

    def vim_hosts(self, key: str, *, filter: str = "", limit: int = 0) -> list[HostHealth]:
        path = f"/vims/{in_path(key)}/hosts"
        return cast("list[HostHealth]", list(self._list(path, filter=filter, limit=limit)))

    def vim_audit(self, key: str, *, rules: str = "") -> VimAudit:
        asked = f"?rules={in_path(rules)}" if rules else ""
        return cast("VimAudit", self._get(f"/vims/{in_path(key)}/audit{asked}"))

    def begin_drill(self, key: str, body: Document) -> Drill:
        return cast("Drill", self._post(f"/vims/{in_path(key)}/drills", body))

    def drills(self, key: str) -> list[Drill]:
        return cast("list[Drill]", self._get(f"/vims/{in_path(key)}/drills"))

    def drill(self, key: str, drill: str) -> Drill:
        return cast("Drill", self._get(f"/vims/{in_path(key)}/drills/{in_path(drill)}"))

    def end_drill(self, key: str, drill: str) -> Drill:
        return cast("Drill", self._post(f"/vims/{in_path(key)}/drills/{in_path(drill)}/end"))

    def host_health(self, key: str, host: str) -> HostHealth:
        return cast("HostHealth", self._get(f"/vims/{in_path(key)}/hosts/{in_path(host)}/health"))

    def vim_events(self, key: str, *, filter: str = "", limit: int = 0) -> list[Event]:
        path = f"/vims/{in_path(key)}/events"
        return cast("list[Event]", list(self._list(path, filter=filter, limit=limit)))

    def inject_fault(self, key: str, kind: str, target: str, settings: Document | None = None) -> None:
        body = {"kind": kind, "target": target, "settings": dict(settings or {})}
        self._post(f"/vims/{in_path(key)}/faults", body)

    def sites(self) -> list[Site]:
        return cast("list[Site]", list(self._list("/sites")))
