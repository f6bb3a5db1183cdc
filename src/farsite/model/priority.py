"""How important a VNF is: the class that the healing policies and its metadata give it.

A class is a number, and a smaller one comes first: in the queue of what is healed, where room is short, and
where many are to be told of. Pure, and decided here alone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from farsite.model.healing import DEFAULT_POLICY, HealingPolicy
from farsite.model.ids import NsInstanceId, ProjectId, VnfInstanceId
from farsite.model.vnf import VnfInstance

USUAL_LEVEL = 2
"""Service availability level of a VNF that states none; 1 is the highest. Source: ETSI GS NFV-REL 001."""
LOWEST = 99
"""The largest priority that a policy may state."""


class Ranked(Protocol):
    """What a policy is chosen for a VNF by."""

    @property
    def vnf_id(self) -> VnfInstanceId: ...
    @property
    def name(self) -> str: ...
    @property
    def project_id(self) -> ProjectId: ...
    @property
    def vnfd_ids(self) -> frozenset[str]: ...
    @property
    def ns_id(self) -> NsInstanceId | None: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


class RankedWhole(Ranked, Protocol):
    """The same of all its VDUs."""

    @property
    def vdus(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The same, and nothing else."""

    vnf_id: VnfInstanceId
    name: str
    project_id: ProjectId
    vnfd_ids: frozenset[str]
    """VNFD id and product name."""
    ns_id: NsInstanceId | None
    metadata: Mapping[str, str]
    vdus: frozenset[str]


def subject_of(vnf: VnfInstance, vdus: Iterable[str]) -> Subject:
    """What the policies of a VNF with these VDUs are chosen by."""
    return Subject(
        vnf_id=vnf.id,
        name=vnf.name,
        project_id=vnf.project_id,
        vnfd_ids=frozenset({str(vnf.vnfd_id), vnf.product_name}),
        ns_id=vnf.ns_id,
        metadata=vnf.metadata,
        vdus=frozenset(vdus),
    )


def level_of(metadata: Mapping[str, str]) -> int:
    """Service availability level of a VNF by its metadata."""
    stated = metadata.get("service_availability_level", "")
    return int(stated) if stated.isdigit() and 1 <= int(stated) <= 9 else USUAL_LEVEL


def priority_of(policy: HealingPolicy, metadata: Mapping[str, str]) -> int:
    """Smaller is first."""
    return policy.priority if policy.priority is not None else level_of(metadata)


def policy_for(policies: Iterable[HealingPolicy], one: Ranked, vdu: str) -> HealingPolicy:
    """The most specific policy that covers a VDU of the VNF: one that its metadata names, else by scope; of
    equals the first by name. Where none does, the default."""
    named = one.metadata.get("healing_policy", "")
    covering = [
        policy for policy in policies if policy.project_id == one.project_id and _covers(policy, one, vdu)
    ]
    best = min(covering, key=lambda policy: (policy.name != named, _width(policy), policy.name), default=None)
    return best or HealingPolicy(name=DEFAULT_POLICY, project_id=one.project_id)


def class_of(policies: Collection[HealingPolicy], one: RankedWhole) -> int:
    """The class of a VNF as a whole: that of its most important VDU."""
    return min(priority_of(policy_for(policies, one, vdu), one.metadata) for vdu in one.vdus or {""})


def _covers(policy: HealingPolicy, one: Ranked, vdu: str) -> bool:
    scope = policy.scope
    return (
        scope.vnf in ("", one.vnf_id, one.name)
        and scope.ns in ("", one.ns_id)
        and (not scope.vnfd or scope.vnfd in one.vnfd_ids)
        and scope.vdu in ("", vdu)
    )


def _width(policy: HealingPolicy) -> int:
    """Smaller is narrower."""
    scope = policy.scope
    weights = ((scope.vdu, 1), (scope.vnf, 8), (scope.ns, 4), (scope.vnfd, 2))
    return -sum(weight for stated, weight in weights if stated)
