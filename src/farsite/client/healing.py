"""Healing: its policies, and what was decided, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ROOT, Connection, Document, in_path


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
    preempts: str
    is_preemptible: bool
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


class HealingPolicies(Connection):
    """Healing: its policies, and what was decided."""

    def healing_policies(self) -> list[HealingPolicy]:
        return cast("list[HealingPolicy]", self._get("/healing-policies"))

    def healing_policy(self, name: str) -> HealingPolicy:
        return cast("HealingPolicy", self._get(f"/healing-policies/{in_path(name)}"))

    def put_healing_policy(self, name: str, body: Document) -> HealingPolicy:
        path = f"{ROOT}/healing-policies/{in_path(name)}"
        return cast("HealingPolicy", self.request("PUT", path, body).json())

    def delete_healing_policy(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/healing-policies/{in_path(name)}")

    def healing(self, vnf: str) -> Healing:
        """What was decided about healing a VNF, newest first."""
        return cast("Healing", self._get(f"/vnfs/{in_path(vnf)}/healing"))
