"""A typed, synchronous client of our own API, for the command line and for tests.

Answers come as typed dictionaries in the API's own words. A refusal is raised with the API's title,
detail and faults; silence is raised with what to do about it. `follow` tells of an operation's progress
and survives a restart of the service.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, TypedDict, cast
from urllib.parse import quote

import httpx2

from farsite.settings import Settings, read_settings

ROOT = "/farsite/v1"
_TIMEOUT_S = 60.0
_UPLOAD_TIMEOUT_S = 600.0
_ASKING_VIM_S = 180.0
_RETURN_WITHIN_S = 60.0
_LOOK_S = 0.3
_LOOKS_FOR_LAST_STEPS = 4

Document = Mapping[str, object]


class Problem(Exception):
    """The service refused or failed: its own words, and every fault by its path."""

    def __init__(self, status: int, body: Document) -> None:
        self.status = status
        self.title = str(body.get("title", f"HTTP {status}"))
        self.detail = str(body.get("detail", ""))
        self.about = cast("dict[str, str]", body.get("about", {}))
        self.faults = cast("list[dict[str, object]]", body.get("faults", []))
        self.body = body
        super().__init__(self.detail or self.title)


class NotReachable(Exception):
    """Nobody answers at the address, or not in our language."""


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


class Named(TypedDict):
    name: str


class NewBroker(TypedDict):
    name: str
    token: str


class KnownBroker(TypedDict):
    name: str
    created_at: str
    heard_at: str | None
    waiting: int


class ConfigurationDifference(TypedDict):
    place: str
    diff: str


class VnfcIdentity(TypedDict):
    vnfc: str
    host_key: str
    login_key: str
    certificate: str
    pinned_certificate: str


class Console(TypedDict):
    vnfc: str
    text: str


class ConfigurationPlan(TypedDict):
    changes: bool
    differences: list[ConfigurationDifference]
    running_version: str


class Drift(TypedDict):
    number: int
    has_drifted: bool
    differences: list[ConfigurationDifference]


class ConfigurationVersion(TypedDict):
    number: int
    state: str
    created_at: str
    requested_by: str
    cause: str
    restores: int
    operation_id: str
    said: str
    document: Document
    diff: str


class InstalledSoftware(TypedDict):
    version: str
    sha256: str


class FunctionSoftware(TypedDict):
    running: str
    previous: str
    installed: list[InstalledSoftware]


class Upgrade(TypedDict):
    operation_id: str
    state: str
    started_at: str
    ended_at: str | None
    requested_by: str
    cause: str
    image: str
    from_version: str
    to_version: str
    running_version: str
    backup: str
    said: str


class GroupUpgradeMember(TypedDict):
    vnf_id: str
    vnf: str
    stage: int
    state: str
    running_version: str
    operation_id: str | None
    said: str


class GroupUpgrade(TypedDict):
    operation_id: str
    state: str
    stage: int
    stages: list[int]
    pause_s: float
    rolls_back: bool
    members: list[GroupUpgradeMember]


class FunctionProbe(TypedDict):
    name: str
    is_well: bool
    said: str


class FunctionSample(TypedDict):
    name: str
    value: float
    labels: dict[str, str]


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


class VimAudit(TypedDict):
    score: int | None
    seen_share: float
    age_s: float | None
    single_points: list[str]
    checks: list[AuditCheck]


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
    tunnel_endpoint: str
    zones: list[Zone]
    inventory_age_s: float | None


class Subscription(TypedDict):
    id: str
    interface: str
    name: str
    callback_uri: str
    auth: str | None
    filter: dict[str, object]
    created_at: str
    created_by: str
    number: int
    pending: int
    delivered: int
    dead: int
    holder: str
    away_since: str | None
    trouble: str


class Notification(TypedDict):
    number: int
    id: str
    kind: str
    object_id: str
    state: str
    attempts: int
    is_replay: bool
    told_at: str | None
    detail: str


class Checkpoint(TypedDict):
    checkpoint: str
    doctor: str
    at: str
    after_ms: float
    who: str
    detail: str


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


class Package(TypedDict):
    id: str
    state: str
    operational_state: str
    usage_state: str
    vnfd_id: str | None
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    warnings: list[str]
    failure: list[dict[str, object]]
    created_at: str


class Level(TypedDict):
    scale_levels: dict[str, int]
    vnfcs: dict[str, int]
    vnfcs_in_all: int


class Aspect(TypedDict):
    name: str
    max_scale_level: int


class Flavour(TypedDict):
    description: str
    default_level: str
    vnfcs_at_first: dict[str, int]
    levels: dict[str, Level]
    aspects: dict[str, Aspect]
    vdus: dict[str, dict[str, object]]
    external_cps: list[str]
    lifecycle_scripts: list[str]


class Vnfd(TypedDict):
    id: str
    description: str
    default_flavour: str
    flavours: dict[str, Flavour]


class CatalogueEvidence(TypedDict):
    suite: str
    level: str
    result: str
    digest: str
    at: str
    stated_by: str
    detail: str
    signed_by: str


class CatalogueEntry(TypedDict):
    id: str
    kind: str
    vendor: str
    name: str
    product: str
    version: str
    digest: str
    state: str
    origin: str
    tags: list[str]
    licence: str
    requires: list[str]
    conflicts: list[str]
    unmet: list[str]
    certification: str
    evidence: list[CatalogueEvidence]
    stale: list[CatalogueEvidence]
    description: str
    claim: str


class ArrivedEntry(TypedDict):
    entry: CatalogueEntry
    outcome: str


class ImportedBundle(TypedDict):
    signer: str
    fingerprint: str
    arrived: list[ArrivedEntry]
    evidence: int


class CatalogueKey(TypedDict):
    name: str
    public_key: str
    fingerprint: str
    is_own: bool


class NsdInfo(TypedDict):
    id: str
    state: str
    operational_state: str
    usage_state: str
    nsd_id: str | None
    name: str
    designer: str
    version: str
    failure: list[dict[str, object]]
    created_at: str


class ForwardingPath(TypedDict):
    id: str
    source: str
    hops: list[str]
    target: str
    fail_open: bool


class Profile(TypedDict):
    vnfd_id: str
    flavour_id: str
    level_id: str
    instances: int
    links: dict[str, str]


class NsFlavour(TypedDict):
    description: str
    profiles: dict[str, Profile]
    virtual_links: list[str]
    paths: list[ForwardingPath]
    levels: dict[str, dict[str, int]]
    default_level: str


class Nsd(TypedDict):
    id: str
    name: str
    description: str
    default_flavour: str
    flavours: dict[str, NsFlavour]


class Port(TypedDict):
    name: str
    network_id: str
    mac: str
    addresses: list[str]


class Vnfc(TypedDict):
    id: str
    vdu: str
    image: str
    incarnation: int
    zone: str
    host: str
    is_alive: bool | None
    is_stopped: bool
    ports: list[Port]


class Place(TypedDict):
    vim: str
    region: str
    zone: str


class Vnf(TypedDict):
    id: str
    name: str
    description: str
    package_id: str
    vnfd_id: str
    product_name: str
    state: str
    vnf_state: str | None
    place: Place
    vim_id: str | None
    flavour_id: str
    level_id: str
    scale_levels: dict[str, int]
    vnfcs: list[Vnfc]
    ns_id: str | None
    profile: str
    metadata: dict[str, str]
    package_choice: str
    created_at: str
    resources: list[Resource] | None
    operation_id: str | None


class NsMember(TypedDict):
    vnf_id: str
    name: str
    profile: str
    vim_id: str
    state: str | None


class Chain(TypedDict):
    id: str
    revision: int
    hops: list[dict[str, object]]


class Ns(TypedDict):
    id: str
    name: str
    description: str
    nsd_info_id: str
    nsd_id: str
    state: str
    flavour_id: str
    vnfs: list[NsMember]
    networks: list[dict[str, object]]
    chains: list[Chain]
    nsd_choice: str
    created_at: str
    operation_id: str | None


class HopCounters(TypedDict):
    hop: str
    vnfc_id: str
    is_alive: bool
    forward_packets: int
    forward_bytes: int
    reverse_packets: int
    reverse_bytes: int


class OperationFault(TypedDict):
    title: str
    detail: str
    step: str
    about: dict[str, str]


class Step(TypedDict):
    sequence: int
    title: str
    is_undo: bool
    attempt: int
    state: str
    started_at: str
    ended_at: str | None
    deadline_at: str | None
    waits_for: str
    detail: str


class Operation(TypedDict):
    id: str
    kind: str
    instance_id: str
    verb: str
    type: str
    state: str
    state_entered_at: str
    started_at: str
    parameters: dict[str, object]
    error: OperationFault | None
    is_automatic: bool
    is_waiting: bool
    control: str | None
    cancel: str | None
    parent_id: str | None
    requested_by: str
    steps: list[Step] | None
    children: list[str] | None


class Command(TypedDict):
    command: str
    effect: str


class Why(TypedDict):
    operation_id: str
    state: str
    summary: str
    waits_for: str
    since: str | None
    until: str | None
    waited_s: float
    history: list[str]
    commands: list[Command]


class Alarm(TypedDict):
    id: str
    managed_object_id: str
    object_kind: str
    location: str
    event_type: str
    probable_cause: str
    specific_problem: str
    perceived_severity: str
    raised_at: str
    cleared_at: str | None
    ack_state: str
    fault_details: list[str]
    source: str
    suppressed_by: str
    flap_count: int
    is_flapping: bool


class HistoryEntry(TypedDict):
    sequence: int
    at: str
    recorded_at: str
    alarm_id: str
    object_id: str
    object_kind: str
    location: str
    event_type: str
    type: str
    specific_problem: str
    severity: str
    what: str
    who: str
    details: list[str]


class Matcher(TypedDict):
    name: str
    comparison: str
    value: str


class Silence(TypedDict):
    id: str
    matchers: list[Matcher]
    starts_at: str
    ends_at: str
    created_by: str
    comment: str


class AlarmRule(TypedDict):
    name: str
    matchers: list[Matcher]
    damping: dict[str, object]
    naming: dict[str, str]
    silent_after_s: float | None


class Threshold(TypedDict):
    name: str
    condition: str
    by: str
    severity: str
    location: str


class Availability(TypedDict):
    since: str
    until: str
    observed_s: float
    availability: float | None
    downtime_s: float
    degraded_s: float
    failures: int
    impairments: int
    mtbf_s: float | None
    mttr_s: float | None
    failures_per_day: float | None
    detection_s: float | None
    failover_s: float | None
    recovery_s: float | None
    impact: float | None


class LadderRung(TypedDict):
    kind: str
    deadline_s: float
    probe: str


class HealingPolicy(TypedDict):
    name: str
    scope: dict[str, str]
    handled_by: str
    triggers: list[dict[str, object]]
    ladder: list[LadderRung]
    fencing: str
    budget: dict[str, float]
    priority: int | None
    is_dry_run: bool


class HealingDecision(TypedDict):
    id: str
    at: str
    outcome: str
    policy: str
    reasons: list[str]
    vnfc_ids: list[str]
    evidence: dict[str, str]
    operation_id: str | None


class Climb(TypedDict):
    vnfc_id: str
    kind: str
    state: str
    began_at: str
    ended_at: str | None
    fence: str
    detail: str


class Decided(TypedDict):
    decision: HealingDecision
    climbs: list[Climb]


class Healing(TypedDict):
    vnf_id: str
    decisions: list[Decided]


class Token(TypedDict):
    name: str
    role: str
    created_at: str


class NewToken(TypedDict):
    name: str
    role: str
    project_id: str
    token: str


class Credential(TypedDict):
    name: str
    created_at: str


class NewCredential(TypedDict):
    name: str
    vnf_id: str
    token: str


class Node(TypedDict):
    id: str
    name: str
    host: str
    pid: int
    url: str
    version: str
    workflow_versions: list[str]
    state: str
    reason: str
    is_alive: bool
    is_here: bool
    operations: int
    vims: int
    started_at: str
    renewed_at: str


class Site(TypedDict):
    id: str
    name: str
    latitude: float | None
    longitude: float | None
    risk_groups: list[str]
    jurisdiction: str


ENDED = frozenset({"COMPLETED", "FAILED", "ROLLED_BACK"})
RESTS = "FAILED_TEMP"


def find_service(settings: Settings | None = None) -> tuple[str, str]:
    """Address and token of the service: from FARSITE_URL and FARSITE_TOKEN, else as a service of this
    user left them in its data directory, else the default address without a token."""
    known = settings or read_settings()
    url = os.environ.get("FARSITE_URL") or _left_in(known.data_dir / "url")
    token = os.environ.get("FARSITE_TOKEN") or _left_in(known.data_dir / "token")
    return url or f"http://{known.listen_host}:{known.listen_port}", token


def _left_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class Client:
    """One service. Every method raises Problem for a refusal and NotReachable for silence.

    `transport` is for tests that serve the application in their own process.
    """

    def __init__(
        self, url: str = "", token: str = "", *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        found_url, found_token = ("", "") if url and token else find_service()
        self.url = (url or found_url).rstrip("/")
        used = token or found_token
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {used}"} if used else {},
            timeout=_TIMEOUT_S,
            transport=transport,
            # Reading the host's certificates takes longer than most requests.
            verify=self.url.startswith("https:"),
            # The service is ours and named; a proxy of the environment is for others.
            trust_env=False,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- what all requests share --------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        content: Iterator[bytes] | bytes | None = None,
        content_type: str = "application/zip",
        timeout_s: float = _TIMEOUT_S,
    ) -> httpx2.Response:
        headers = {"Content-Type": content_type} if content is not None else {}
        try:
            answer = self._http.request(
                method,
                path if path.startswith("/") and not path.startswith("//") else f"/{path}",
                json=body,
                content=content,
                params=list(query),
                headers=headers,
                timeout=timeout_s,
            )
        except httpx2.TransportError as error:
            raise self._silence(error) from error
        return self._checked(answer)

    def _silence(self, error: Exception) -> NotReachable:
        if isinstance(error, httpx2.ConnectError):
            return NotReachable(
                f"No Farsite service answers at {self.url}. Start one (farsite serve), or say where it is "
                f"(FARSITE_URL)."
            )
        return NotReachable(
            f"The connection to {self.url} broke: {error or type(error).__name__}. Whether the request "
            f"was taken is not known; look before repeating it."
        )

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.status_code < 400:
            return answer
        try:
            body = cast("object", answer.json())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise NotReachable(
                f"{self.url} answers {answer.status_code} and not as Farsite does. Is FARSITE_URL right?"
            )
        raise Problem(answer.status_code, cast("Document", body))

    def _get(self, path: str) -> object:
        return self.request("GET", ROOT + path).json()

    def _post(self, path: str, body: object = None) -> object:
        answer = self.request("POST", ROOT + path, body)
        return answer.json() if answer.content else None

    def _list(
        self,
        path: str,
        *,
        filter: str = "",
        limit: int = 0,
        query: Sequence[tuple[str, str]] = (),
    ) -> Iterator[object]:
        """All objects of a list over all its pages; `limit` 0 for no limit."""
        page_size = min(limit, 1000) if limit else 1000
        asked = [*query, ("page_size", str(page_size)), *([("filter", filter)] if filter else [])]
        given = 0
        target = ROOT + path
        while True:
            answer = self.request("GET", target, query=asked)
            for item in cast("list[object]", answer.json()):
                yield item
                given += 1
                if limit and given >= limit:
                    return
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            target, asked = following, []

    # -- VIMs and sites -----------------------------------------------------------------------------------

    def vims(self, *, filter: str = "", limit: int = 0) -> list[Vim]:
        return cast("list[Vim]", list(self._list("/vims", filter=filter, limit=limit)))

    def vim(self, key: str) -> Vim:
        return cast("Vim", self._get(f"/vims/{_in_path(key)}"))

    def register_vim(self, body: Document) -> Vim:
        # The VIM is asked meanwhile, and may be far away.
        return cast("Vim", self.request("POST", f"{ROOT}/vims", body, timeout_s=_ASKING_VIM_S).json())

    def change_vim(self, key: str, body: Document) -> Vim:
        path = f"{ROOT}/vims/{_in_path(key)}"
        return cast("Vim", self.request("PATCH", path, body, timeout_s=_ASKING_VIM_S).json())

    def delete_vim(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/vims/{_in_path(key)}")

    def rotate_vim_key(self, key: str) -> None:
        self._post(f"/vims/{_in_path(key)}/rotate-key")

    def vim_resources(self, key: str, *, filter: str = "", limit: int = 0) -> list[Resource]:
        path = f"/vims/{_in_path(key)}/resources"
        return cast("list[Resource]", list(self._list(path, filter=filter, limit=limit)))

    def vim_statistics(self, key: str, *, hours: int = 24) -> list[HourOfVim]:
        return cast("list[HourOfVim]", self._get(f"/vims/{_in_path(key)}/statistics?hours={hours}"))

    def vim_control_plane(self, key: str) -> ControlPlane:
        return cast("ControlPlane", self._get(f"/vims/{_in_path(key)}/control-plane"))

    def vim_hosts(self, key: str, *, filter: str = "", limit: int = 0) -> list[HostHealth]:
        path = f"/vims/{_in_path(key)}/hosts"
        return cast("list[HostHealth]", list(self._list(path, filter=filter, limit=limit)))

    def vim_audit(self, key: str) -> VimAudit:
        return cast("VimAudit", self._get(f"/vims/{_in_path(key)}/audit"))

    def host_health(self, key: str, host: str) -> HostHealth:
        return cast("HostHealth", self._get(f"/vims/{_in_path(key)}/hosts/{_in_path(host)}/health"))

    def vim_events(self, key: str, *, filter: str = "", limit: int = 0) -> list[Event]:
        path = f"/vims/{_in_path(key)}/events"
        return cast("list[Event]", list(self._list(path, filter=filter, limit=limit)))

    def inject_fault(self, key: str, kind: str, target: str, settings: Document | None = None) -> None:
        body = {"kind": kind, "target": target, "settings": dict(settings or {})}
        self._post(f"/vims/{_in_path(key)}/faults", body)

    def sites(self) -> list[Site]:
        return cast("list[Site]", list(self._list("/sites")))

    # -- packages and NSDs --------------------------------------------------------------------------------

    def packages(self, *, filter: str = "", limit: int = 0) -> list[Package]:
        return cast("list[Package]", list(self._list("/packages", filter=filter, limit=limit)))

    def package(self, key: str) -> Package:
        return cast("Package", self._get(f"/packages/{_in_path(key)}"))

    def vnfd(self, key: str) -> Vnfd:
        return cast("Vnfd", self._get(f"/packages/{_in_path(key)}/vnfd"))

    def onboard_package(
        self, archive: Path, *, images: Sequence[str] = (), keep_refused: bool = False
    ) -> Package:
        """Create a package and upload its archive in pieces; a refused one is deleted again.

        Raises:
            Problem: with every fault of the archive.
        """
        return cast("Package", self._onboard("packages", archive, images, keep_refused=keep_refused))

    def _onboard(self, kind: str, archive: Path, images: Sequence[str], *, keep_refused: bool) -> object:
        with archive.open("rb"):
            pass  # an archive that cannot be read creates nothing
        created = cast("Mapping[str, str]", self._post(f"/{kind}"))
        path = f"{ROOT}/{kind}/{created['id']}"
        try:
            return self.request(
                "PUT",
                f"{path}/content",
                content=_pieces(archive),
                query=[("image", one) for one in images],
                timeout_s=_UPLOAD_TIMEOUT_S,
            ).json()
        except Problem:
            if not keep_refused:
                self.request("DELETE", path)
            raise

    def change_package(self, key: str, operational_state: str) -> Package:
        body = {"operational_state": operational_state}
        return cast("Package", self.request("PATCH", f"{ROOT}/packages/{_in_path(key)}", body).json())

    def delete_package(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/packages/{_in_path(key)}")

    def nsds(self, *, filter: str = "", limit: int = 0) -> list[NsdInfo]:
        return cast("list[NsdInfo]", list(self._list("/nsds", filter=filter, limit=limit)))

    def nsd_info(self, key: str) -> NsdInfo:
        return cast("NsdInfo", self._get(f"/nsds/{_in_path(key)}"))

    def nsd(self, key: str) -> Nsd:
        return cast("Nsd", self._get(f"/nsds/{_in_path(key)}/nsd"))

    def onboard_nsd(self, archive: Path, *, keep_refused: bool = False) -> NsdInfo:
        return cast("NsdInfo", self._onboard("nsds", archive, (), keep_refused=keep_refused))

    def change_nsd(self, key: str, operational_state: str) -> NsdInfo:
        body = {"operational_state": operational_state}
        return cast("NsdInfo", self.request("PATCH", f"{ROOT}/nsds/{_in_path(key)}", body).json())

    def delete_nsd(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/nsds/{_in_path(key)}")

    # -- The catalogue ------------------------------------------------------------------------------------

    def catalogue(
        self,
        text: str = "",
        *,
        filter: str = "",
        limit: int = 0,
    ) -> list[CatalogueEntry]:
        query = [("text", text)] if text else []
        found = self._list("/catalogue/entries", filter=filter, limit=limit, query=query)
        return cast("list[CatalogueEntry]", list(found))

    def catalogue_entry(self, key: str) -> CatalogueEntry:
        return cast("CatalogueEntry", self._get(f"/catalogue/entries/{_in_path(key)}"))

    def record_evidence(self, key: str, body: Document) -> CatalogueEntry:
        return cast("CatalogueEntry", self._post(f"/catalogue/entries/{_in_path(key)}/evidence", body))

    def export_bundle(self, entries: Sequence[str], file: Path) -> None:
        """Write a signed bundle of entries (ids or names); the file is there whole, or not at all."""
        partial = file.with_name(f".{file.name}.partial")
        try:
            with self._http.stream(
                "POST",
                f"{ROOT}/catalogue/bundle",
                json={"entries": list(entries)},
                timeout=_UPLOAD_TIMEOUT_S,
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                with partial.open("wb") as out:
                    out.writelines(answer.iter_bytes())
            partial.replace(file)
        except httpx2.TransportError as error:
            raise self._silence(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def import_bundle(self, file: Path) -> ImportedBundle:
        answer = self.request(
            "PUT",
            f"{ROOT}/catalogue/bundle",
            content=_pieces(file),
            content_type="application/x-tar",
            timeout_s=_UPLOAD_TIMEOUT_S,
        )
        return cast("ImportedBundle", answer.json())

    def catalogue_keys(self) -> list[CatalogueKey]:
        return cast("list[CatalogueKey]", list(self._list("/catalogue/keys")))

    def create_catalogue_key(self, name: str) -> CatalogueKey:
        return cast("CatalogueKey", self._post("/catalogue/keys", {"name": name}))

    def trust_catalogue_key(self, name: str, public_key: str) -> CatalogueKey:
        path = f"{ROOT}/catalogue/keys/{_in_path(name)}"
        return cast("CatalogueKey", self.request("PUT", path, {"public_key": public_key}).json())

    def forget_catalogue_key(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/catalogue/keys/{_in_path(name)}")

    # -- VNF and NS instances -----------------------------------------------------------------------------

    def vnfs(self, *, filter: str = "", limit: int = 0) -> list[Vnf]:
        return cast("list[Vnf]", list(self._list("/vnfs", filter=filter, limit=limit)))

    def vnf(self, key: str) -> Vnf:
        return cast("Vnf", self._get(f"/vnfs/{_in_path(key)}"))

    def create_vnf(
        self,
        package: str,
        *,
        name: str = "",
        description: str = "",
        vim: str = "",
        region: str = "",
        zone: str = "",
        certified_first: bool = False,
    ) -> Vnf:
        place = {"vim": vim, "region": region, "zone": zone}
        body = {"package": package, "name": name, "description": description, **place}
        body |= {"certified_first": True} if certified_first else {}
        return cast("Vnf", self._post("/vnfs", body))

    def delete_vnf(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{_in_path(key)}")

    def start(
        self, kind: Literal["vnfs", "ns"], key: str, verb: str, body: Document | None = None
    ) -> Operation:
        """Start a lifecycle verb; the operation as it was accepted."""
        return cast("Operation", self._post(f"/{kind}/{_in_path(key)}/{verb}", body or {}))

    def ns_list(self, *, filter: str = "", limit: int = 0) -> list[Ns]:
        return cast("list[Ns]", list(self._list("/ns", filter=filter, limit=limit)))

    def ns(self, key: str) -> Ns:
        return cast("Ns", self._get(f"/ns/{_in_path(key)}"))

    def create_ns(
        self, nsd: str, *, name: str = "", description: str = "", certified_first: bool = False
    ) -> Ns:
        body: dict[str, object] = {"nsd": nsd, "name": name, "description": description}
        body |= {"certified_first": True} if certified_first else {}
        return cast("Ns", self._post("/ns", body))

    def delete_ns(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/ns/{_in_path(key)}")

    def counters(self, ns: str, chain: str = "-") -> list[HopCounters]:
        path = f"/ns/{_in_path(ns)}/chains/{_in_path(chain)}/counters"
        return cast("list[HopCounters]", self._get(path))

    # -- operations ---------------------------------------------------------------------------------------

    def operations(self, *, filter: str = "", limit: int = 0) -> list[Operation]:
        return cast("list[Operation]", list(self._list("/operations", filter=filter, limit=limit)))

    def operation(self, operation_id: str) -> Operation:
        return cast("Operation", self._get(f"/operations/{_in_path(operation_id)}"))

    def why(self, operation_id: str) -> Why:
        return cast("Why", self._get(f"/operations/{_in_path(operation_id)}/why"))

    def placement(self, operation_id: str) -> Document:
        return cast("Document", self._get(f"/operations/{_in_path(operation_id)}/placement"))

    def control(self, operation_id: str, control: str, body: Document | None = None) -> Operation:
        """Ask retry, rollback, fail or cancel of an operation."""
        return cast("Operation", self._post(f"/operations/{_in_path(operation_id)}/{control}", body))

    def follow(self, operation_id: str, *, within_s: float | None = None) -> Iterator[Step | Operation]:
        """An operation's steps and states as they change, the last being its end or its rest.

        The stream is taken up again when it breaks, for up to a minute without an answer; while streams are
        cut by something in between, looking now and then does it.

        Raises:
            TimeoutError: it has not ended within `within_s` seconds.
        """
        seen: dict[int, Step] = {}
        version = ""
        give_up_at = None if within_s is None else time.monotonic() + within_s
        heard_at = time.monotonic()
        while True:
            try:
                for kind, body in self._changes(operation_id, give_up_at):
                    heard_at = time.monotonic()
                    if kind == "step":
                        step = cast("Step", body)
                        if seen.get(step["sequence"]) != step:
                            seen[step["sequence"]] = step
                            yield step
                        continue
                    operation = cast("Operation", body)
                    if operation["state"] != version:
                        version = operation["state"]
                        yield operation
                    # The stream of one that has ended goes on until its last steps were told.
                    if _is_still(operation) and (kind == "look" or operation["state"] == RESTS):
                        operation = self._with_last_steps(operation_id)
                        yield from (
                            step for step in operation["steps"] or [] if seen.get(step["sequence"]) != step
                        )
                        yield operation
                        # It may have been told to go on between the two looks.
                        if _is_still(operation):
                            return
                        version = operation["state"]
            except (NotReachable, httpx2.TransportError) as silence:
                if time.monotonic() - heard_at > _RETURN_WITHIN_S:
                    raise self._silence(silence) from silence
            except Problem as problem:
                if problem.status != 503 or time.monotonic() - heard_at > _RETURN_WITHIN_S:
                    raise
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TimeoutError(f"Operation {operation_id} has not ended within {within_s:g} s.")
            time.sleep(_LOOK_S)

    def _changes(self, operation_id: str, give_up_at: float | None) -> Iterator[tuple[str, object]]:
        """What the stream tells, then what a `look` tells: enough when no stream gets through."""
        path = f"{ROOT}/operations/{_in_path(operation_id)}/stream"
        wait_s = 20.0 if give_up_at is None else max(min(give_up_at - time.monotonic(), 20.0), 0.1)
        with self._http.stream("GET", path, timeout=httpx2.Timeout(_TIMEOUT_S, read=wait_s)) as answer:
            if answer.status_code >= 400:
                answer.read()
                self._checked(answer)
            for kind, body in _events(answer.iter_lines()):
                if kind == "end":
                    break
                yield kind, body
                if give_up_at is not None and time.monotonic() > give_up_at:
                    return
        yield "look", self.operation(operation_id)

    def _with_last_steps(self, operation_id: str) -> Operation:
        # Steps are told a moment after the state they led to.
        operation = self.operation(operation_id)
        for _ in range(_LOOKS_FOR_LAST_STEPS):
            if all(step["state"] != "RUNNING" for step in operation["steps"] or []):
                break
            time.sleep(_LOOK_S)
            operation = self.operation(operation_id)
        return operation

    def changes(self, last_event_id: str = "") -> Iterator[Operation]:
        """Every change of an operation in the project, for ever."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        path = f"{ROOT}/operations/stream"
        try:
            with self._http.stream("GET", path, headers=headers, timeout=_TIMEOUT_S) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                for kind, body in _events(answer.iter_lines()):
                    if kind == "operation":
                        yield cast("Operation", body)
        except httpx2.TransportError as error:
            raise self._silence(error) from error

    # -- alarms, access, health ---------------------------------------------------------------------------

    def alarms(self, *, filter: str = "", limit: int = 0) -> list[Alarm]:
        return cast("list[Alarm]", list(self._list("/alarms", filter=filter, limit=limit)))

    def alarm(self, alarm_id: str) -> Alarm:
        return cast("Alarm", self._get(f"/alarms/{_in_path(alarm_id)}"))

    def acknowledge(self, alarm_id: str, *, is_acknowledged: bool = True) -> Alarm:
        state = "ACKNOWLEDGED" if is_acknowledged else "UNACKNOWLEDGED"
        path = f"{ROOT}/alarms/{_in_path(alarm_id)}"
        return cast("Alarm", self.request("PATCH", path, {"ack_state": state}).json())

    def timeline(self, alarm_id: str) -> list[Checkpoint]:
        return cast("list[Checkpoint]", self._get(f"/alarms/{_in_path(alarm_id)}/timeline"))

    def subscriptions(self, *, filter: str = "", limit: int = 0) -> list[Subscription]:
        return cast("list[Subscription]", list(self._list("/subscriptions", filter=filter, limit=limit)))

    def subscription(self, key: str) -> Subscription:
        return cast("Subscription", self._get(f"/subscriptions/{_in_path(key)}"))

    def create_subscription(self, body: Document) -> Subscription:
        return cast("Subscription", self._post("/subscriptions", body))

    def delete_subscription(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/subscriptions/{_in_path(key)}")

    def notifications(
        self, key: str, *, state: str = "", after: int = 0, limit: int = 100
    ) -> list[Notification]:
        query = f"?after={after}&page_size={limit}" + (f"&state={state}" if state else "")
        path = f"/subscriptions/{_in_path(key)}/notifications{query}"
        return cast("list[Notification]", self._get(path))

    def test_subscription(self, key: str) -> Document:
        return cast("Document", self._post(f"/subscriptions/{_in_path(key)}/test"))

    def replay(self, key: str, from_number: int) -> Document:
        body = {"from_number": from_number}
        return cast("Document", self._post(f"/subscriptions/{_in_path(key)}/replay", body))

    def decide(self, key: str, number: int, decision: Literal["resume", "skip"]) -> Notification:
        """Have a dead letter sent once more, or never."""
        path = f"/subscriptions/{_in_path(key)}/notifications/{number}/{decision}"
        return cast("Notification", self._post(path))

    def alarm_history(self, query: Sequence[tuple[str, str]], *, limit: int = 0) -> list[HistoryEntry]:
        """Transitions of alarms, newest first; `query` as the API has it (since, until, object, type ...)."""
        asked = [*query, ("page_size", str(min(limit, 1000) if limit else 1000))]
        found: list[HistoryEntry] = []
        target = f"{ROOT}/alarms/history"
        while True:
            answer = self.request("GET", target, query=asked)
            found += cast("list[HistoryEntry]", answer.json())
            following = answer.links.get("next", {}).get("url")
            if not following or (limit and len(found) >= limit):
                return found[:limit] if limit else found
            target, asked = following, []

    def export_alarm_history(self, query: Sequence[tuple[str, str]]) -> Iterator[str]:
        """The whole history that answers a question, piece by piece."""
        path = f"{ROOT}/alarms/history/export"
        try:
            with self._http.stream("GET", path, params=list(query), timeout=_TIMEOUT_S) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                yield from answer.iter_text()
        except httpx2.TransportError as error:
            raise self._silence(error) from error

    def silences(self) -> list[Silence]:
        return cast("list[Silence]", list(self._list("/silences")))

    def create_silence(self, body: Document) -> Silence:
        return cast("Silence", self._post("/silences", body))

    def delete_silence(self, silence_id: str) -> None:
        self.request("DELETE", f"{ROOT}/silences/{_in_path(silence_id)}")

    def alarm_rules(self) -> list[AlarmRule]:
        return cast("list[AlarmRule]", list(self._list("/alarm-rules")))

    def put_alarm_rule(self, name: str, body: Document) -> AlarmRule:
        return cast("AlarmRule", self.request("PUT", f"{ROOT}/alarm-rules/{_in_path(name)}", body).json())

    def delete_alarm_rule(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/alarm-rules/{_in_path(name)}")

    def thresholds(self) -> list[Threshold]:
        return cast("list[Threshold]", list(self._list("/thresholds")))

    def put_threshold(self, name: str, body: Document) -> Threshold:
        return cast("Threshold", self.request("PUT", f"{ROOT}/thresholds/{_in_path(name)}", body).json())

    def delete_threshold(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/thresholds/{_in_path(name)}")

    def availability(
        self, kind: Literal["vnfs", "ns"], key: str, query: Sequence[tuple[str, str]] = ()
    ) -> Availability:
        path = f"{ROOT}/{kind}/{_in_path(key)}/availability"
        return cast("Availability", self.request("GET", path, query=query).json())

    def healing_policies(self) -> list[HealingPolicy]:
        return cast("list[HealingPolicy]", self._get("/healing-policies"))

    def healing_policy(self, name: str) -> HealingPolicy:
        return cast("HealingPolicy", self._get(f"/healing-policies/{_in_path(name)}"))

    def put_healing_policy(self, name: str, body: Document) -> HealingPolicy:
        path = f"{ROOT}/healing-policies/{_in_path(name)}"
        return cast("HealingPolicy", self.request("PUT", path, body).json())

    def delete_healing_policy(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/healing-policies/{_in_path(name)}")

    def healing(self, vnf: str) -> Healing:
        """What was decided about healing a VNF, newest first."""
        return cast("Healing", self._get(f"/vnfs/{_in_path(vnf)}/healing"))

    def tokens(self) -> list[Token]:
        return cast("list[Token]", list(self._list("/tokens")))

    def create_token(self, name: str, role: str, project_id: str = "") -> NewToken:
        body = {"name": name, "role": role, "project_id": project_id or None}
        return cast("NewToken", self._post("/tokens", body))

    def revoke_token(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/tokens/{_in_path(name)}")

    def credentials_of(self, vnf: str) -> list[Credential]:
        return cast("list[Credential]", list(self._list(f"/vnfs/{_in_path(vnf)}/credentials")))

    def create_credential(self, vnf: str, name: str) -> NewCredential:
        path = f"/vnfs/{_in_path(vnf)}/credentials"
        return cast("NewCredential", self._post(path, {"name": name}))

    def revoke_credential(self, vnf: str, name: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{_in_path(vnf)}/credentials/{_in_path(name)}")

    def manage(self, vnf: str, body: Document) -> Document:
        return cast("Document", self.request("PUT", f"{ROOT}/vnfs/{_in_path(vnf)}/management", body).json())

    def management_of(self, vnf: str) -> Document:
        return cast("Document", self._get(f"/vnfs/{_in_path(vnf)}/management"))

    def forget_management(self, vnf: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{_in_path(vnf)}/management")

    def identity_of(self, vnf: str, vnfc: str) -> VnfcIdentity:
        return cast("VnfcIdentity", self._get(f"/vnfs/{_in_path(vnf)}/vnfcs/{_in_path(vnfc)}/identity"))

    def console_of(self, vnf: str, vnfc: str) -> str:
        path = f"{ROOT}/vnfs/{_in_path(vnf)}/vnfcs/{_in_path(vnfc)}/console"
        return cast("Console", self.request("GET", path, timeout_s=_ASKING_VIM_S).json())["text"]

    def set_secret(self, vnf: str, name: str, value: str) -> None:
        path = f"{ROOT}/vnfs/{_in_path(vnf)}/secrets/{_in_path(name)}"
        self.request("PUT", path, {"value": value})

    def secrets_of(self, vnf: str) -> list[Named]:
        return cast("list[Named]", list(self._list(f"/vnfs/{_in_path(vnf)}/secrets")))

    def delete_secret(self, vnf: str, name: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{_in_path(vnf)}/secrets/{_in_path(name)}")

    def plan_configuration(self, vnf: str, document: Document) -> ConfigurationPlan:
        path = f"{ROOT}/vnfs/{_in_path(vnf)}/configuration/plan"
        answer = self.request("POST", path, document, timeout_s=_ASKING_VIM_S)
        return cast("ConfigurationPlan", answer.json())

    def configure(self, vnf: str, body: Document) -> Operation:
        return cast("Operation", self._post(f"/vnfs/{_in_path(vnf)}/configure", body))

    def configuration(self, vnf: str, number: int | None = None) -> ConfigurationVersion:
        """That which shall run, or one by its number."""
        of = f"/vnfs/{_in_path(vnf)}/configuration"
        return cast("ConfigurationVersion", self._get(of if number is None else f"{of}/versions/{number}"))

    def configurations(self, vnf: str) -> list[ConfigurationVersion]:
        path = f"/vnfs/{_in_path(vnf)}/configuration/versions"
        return cast("list[ConfigurationVersion]", list(self._list(path)))

    def drift(self, vnf: str) -> Drift:
        return cast("Drift", self._get(f"/vnfs/{_in_path(vnf)}/configuration/drift"))

    def software_of(self, vnf: str) -> FunctionSoftware:
        """Which versions lie on the device and which runs; it is asked now."""
        path = f"{ROOT}/vnfs/{_in_path(vnf)}/software"
        return cast("FunctionSoftware", self.request("GET", path, timeout_s=_ASKING_VIM_S).json())

    def upgrade(self, vnf: str, body: Document) -> Operation:
        path = f"{ROOT}/vnfs/{_in_path(vnf)}/upgrade"
        return cast("Operation", self.request("POST", path, body, timeout_s=_ASKING_VIM_S).json())

    def upgrades_of(self, vnf: str) -> list[Upgrade]:
        """What became of every upgrade, the newest first."""
        return cast("list[Upgrade]", list(self._list(f"/vnfs/{_in_path(vnf)}/upgrades")))

    def upgrade_group(self, body: Document) -> Operation:
        path = f"{ROOT}/group-upgrades"
        return cast("Operation", self.request("POST", path, body, timeout_s=_ASKING_VIM_S).json())

    def group_upgrade(self, operation_id: str) -> GroupUpgrade:
        """Which stage it is at, and who is done, failed or left."""
        return cast("GroupUpgrade", self._get(f"/group-upgrades/{_in_path(operation_id)}"))

    def function_health(self, vnf: str) -> list[FunctionProbe]:
        return cast("list[FunctionProbe]", self._get(f"/vnfs/{_in_path(vnf)}/function/health"))

    def function_metrics(self, vnf: str) -> list[FunctionSample]:
        return cast("list[FunctionSample]", self._get(f"/vnfs/{_in_path(vnf)}/function/metrics"))

    def create_broker(self, name: str) -> NewBroker:
        return cast("NewBroker", self._post("/brokers", {"name": name}))

    def brokers(self) -> list[KnownBroker]:
        return cast("list[KnownBroker]", list(self._list("/brokers")))

    def delete_broker(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/brokers/{_in_path(name)}")

    def nodes(self) -> list[Node]:
        return cast("list[Node]", list(self._list("/nodes")))

    def drain_node(self, node: str) -> Node:
        return cast("Node", self._post(f"/nodes/{_in_path(node)}/drain"))

    def undrain_node(self, node: str) -> Node:
        return cast("Node", self.request("DELETE", f"{ROOT}/nodes/{_in_path(node)}/drain").json())

    def me(self) -> Document:
        return cast("Document", self._get("/me"))

    def health(self) -> Document:
        """State of the service; also while it says that it is down."""
        try:
            answer = self._http.get("/healthz", timeout=5.0)
            return cast("Document", answer.json())
        except (httpx2.TransportError, ValueError) as error:
            raise self._silence(error) from error


def _is_still(operation: Operation) -> bool:
    """Whether it has ended, or rests and nobody has told it yet how to go on."""
    return operation["state"] in ENDED or (operation["state"] == RESTS and not operation["control"])


def _in_path(key: str) -> str:
    return quote(key, safe="")


def _pieces(archive: Path, size: int = 1 << 20) -> Iterator[bytes]:
    with archive.open("rb") as file:
        while piece := file.read(size):
            yield piece


def _events(lines: Iterator[str]) -> Iterator[tuple[str, object]]:
    """Server-sent events as (kind, body)."""
    kind, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""
