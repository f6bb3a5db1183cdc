"""Scaling aspects, deltas and instantiation levels of one flavour, with every number checked.

Numbers that cannot come true are refused where they stand: a level beyond an aspect's maximum, a delta of
an unknown aspect, a VDU count outside its profile.

Source: ETSI GS NFV-SOL 001, policy types ScalingAspects, VduScalingAspectDeltas, VduInitialDelta,
InstantiationLevels and VduInstantiationLevels; ETSI GS NFV-IFA 011, scaling aspects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.descriptors.faults import FaultLog
from farsite.descriptors.topology import Policy, Topology
from farsite.descriptors.yaml_tree import Tree
from farsite.model.vnfd import InstantiationLevel, ScalingAspect, Vdu

_SCALE_LEVEL_MOST = 10_000
"""Beyond this a maximum scale level is a typing error; it bounds what is computed per level."""


@dataclass(slots=True, kw_only=True)
class Sizes:
    """How large a flavour can be. Filled from the policies in the order in which they build on each other."""

    aspects: dict[str, ScalingAspect] = field(default_factory=dict[str, ScalingAspect])
    levels: dict[str, InstantiationLevel] = field(default_factory=dict[str, InstantiationLevel])
    default_level: str = ""
    initial_counts: dict[str, int] = field(default_factory=dict[str, int])


def read_sizes(topology: Topology, vdus: Mapping[str, Vdu], log: FaultLog) -> Sizes:
    """Read all scaling policies of a flavour; what contradicts is noted in `log`."""
    reader = _Reader(topology, vdus, log)
    reader.read_aspects()
    reader.read_deltas()
    reader.read_initial_counts()
    reader.read_levels()
    reader.read_vdu_levels()
    reader.check_reach()
    return reader.sizes


def integer(tree: Tree | None) -> int | None:
    """A whole number, None for anything else (which the property check has refused already)."""
    value = tree.value if tree is not None else None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**53:
        return None
    return value


class _Reader:
    def __init__(self, topology: Topology, vdus: Mapping[str, Vdu], log: FaultLog) -> None:
        self.topology, self.vdus, self.log = topology, vdus, log
        self.sizes = Sizes()
        self.stated_at: dict[str, Tree] = {}
        self.deltas_at: dict[str, tuple[str, Tree]] = {}

    def read_aspects(self) -> None:
        for policy in self.topology.policies_of("ScalingAspects"):
            for name, stated in _entries(policy, "aspects"):
                most = integer(stated.get("max_scale_level"))
                if name in self.sizes.aspects:
                    self.log.at(stated, f'{policy.name}: aspect "{name}" again', "each aspect once")
                if most is None or not 0 <= most <= _SCALE_LEVEL_MOST:
                    at = stated.get("max_scale_level") or stated
                    expected = f"0 to {_SCALE_LEVEL_MOST}"
                    self.log.at(at, f"{policy.name}: max_scale_level of {name}: {at.text}", expected)
                    continue
                steps = stated.get("step_deltas")
                shown = stated.get("name")
                self.stated_at[name] = stated
                self.sizes.aspects[name] = ScalingAspect(
                    id=name,
                    name=shown.string if shown else name,
                    max_scale_level=most,
                    step_deltas=tuple(step.string for step in steps.entries) if steps else (),
                )

    def _aspect(self, policy: Policy) -> ScalingAspect | None:
        stated = policy.property("aspect")
        name = stated.string if stated else ""
        if name not in self.sizes.aspects:
            known = list(self.sizes.aspects)
            at = stated or policy.tree
            self.log.at(
                at,
                f'{policy.name}: unknown aspect "{name}"',
                self.log.nearest(name, known) or "a known aspect",
            )
            return None
        return self.sizes.aspects[name]

    def read_deltas(self) -> None:
        collected: dict[str, dict[str, dict[str, int]]] = {name: {} for name in self.sizes.aspects}
        for policy in self.topology.policies_of("VduScalingAspectDeltas"):
            aspect = self._aspect(policy)
            if aspect is None:
                continue
            for name, stated in _entries(policy, "deltas"):
                if aspect.step_deltas and name not in aspect.step_deltas:
                    self.log.at(
                        stated,
                        f'{policy.name}: delta "{name}" is no step of aspect "{aspect.id}"',
                        self.log.nearest(name, aspect.step_deltas) or "one of its step_deltas",
                    )
                count = integer(stated.get("number_of_instances"))
                for vdu in self._vdus(policy):
                    collected[aspect.id].setdefault(name, {})[vdu] = count or 0
                    self.deltas_at[vdu] = (policy.name, stated)
        for name, deltas in collected.items():
            self.sizes.aspects[name] = self._with_deltas(self.sizes.aspects[name], deltas)

    def _with_deltas(self, aspect: ScalingAspect, deltas: Mapping[str, Mapping[str, int]]) -> ScalingAspect:
        at = self.stated_at[aspect.id]
        steps = aspect.step_deltas
        if not steps and len(deltas) == 1:
            steps = tuple(deltas)
        elif not steps and len(deltas) > 1:
            self.log.at(
                at, f'aspect "{aspect.id}" has {len(deltas)} deltas and no step_deltas', "step_deltas"
            )
        elif not deltas and not self._scales_only_links(aspect.id):
            self.log.warn_at(at, f'aspect "{aspect.id}" scales no VDU')
        for step in steps:
            if deltas and step not in deltas:
                self.log.at(
                    at.get("step_deltas") or at,
                    f'aspect "{aspect.id}": step "{step}" has no delta',
                    self.log.nearest(step, list(deltas)) or "a VduScalingAspectDeltas policy that states it",
                )
        return ScalingAspect(
            id=aspect.id,
            name=aspect.name,
            max_scale_level=aspect.max_scale_level,
            step_deltas=steps,
            deltas=deltas,
        )

    def _scales_only_links(self, aspect: str) -> bool:
        others = self.topology.policies_of(
            "VirtualLinkBitrateScalingAspectDeltas", "VipCpScalingAspectDeltas"
        )
        return any((stated := policy.property("aspect")) and stated.string == aspect for policy in others)

    def _vdus(self, policy: Policy) -> list[str]:
        """Target VDUs; anything else has been refused with the policy."""
        if not policy.targets:
            self.log.at(policy.tree, f"{policy.name}: no targets", "targets: the VDUs it holds for")
        return [target for target in policy.targets if target in self.vdus]

    def read_initial_counts(self) -> None:
        for policy in self.topology.policies_of("VduInitialDelta"):
            stated = policy.property("initial_delta", "number_of_instances")
            count = integer(stated)
            for vdu in self._vdus(policy):
                if count is None or stated is None:
                    continue
                if vdu in self.sizes.initial_counts:
                    self.log.at(policy.tree, f"{policy.name}: a second initial delta of {vdu}", "one per VDU")
                self._check_count(policy, stated, vdu, count)
                self.sizes.initial_counts[vdu] = count

    def _check_count(self, policy: Policy, at: Tree, vdu: str, count: int) -> None:
        profile = self.vdus[vdu]
        most = profile.max_instances
        if count < profile.min_instances or (most is not None and count > most):
            self.log.at(
                at,
                f"{policy.name}: {count} instances of {vdu}",
                f"{profile.min_instances} to {most}, as its vdu_profile says",
            )

    def read_levels(self) -> None:
        for policy in self.topology.policies_of("InstantiationLevels"):
            for name, stated in _entries(policy, "levels"):
                if name in self.sizes.levels:
                    self.log.at(stated, f'{policy.name}: level "{name}" again', "each level once")
                scales = self._scale_levels(policy, name, stated)
                self.sizes.levels[name] = InstantiationLevel(id=name, scale_levels=scales)
            default = policy.property("default_level")
            if default is None:
                continue
            self.sizes.default_level = default.string
            if default.string not in self.sizes.levels:
                known = list(self.sizes.levels)
                found = f'{policy.name}: default_level "{default.string}" is no level'
                self.log.at(
                    default, found, self.log.nearest(default.string, known) or "a level of the policy"
                )
        if not self.sizes.default_level and len(self.sizes.levels) == 1:
            (self.sizes.default_level,) = self.sizes.levels
        elif not self.sizes.default_level and self.sizes.levels:
            at = self.topology.policies_of("InstantiationLevels")[0].tree
            self.log.warn_at(
                at, "several levels and no default_level: without a level the initial sizes hold"
            )

    def _scale_levels(self, policy: Policy, level: str, stated: Tree) -> dict[str, int]:
        info = stated.get("scale_info")
        found: dict[str, int] = {}
        for name, scale in info.items.items() if info else ():
            aspect = self.sizes.aspects.get(name)
            number = integer(scale.get("scale_level"))
            if aspect is None:
                known = list(self.sizes.aspects)
                what = f'{policy.name}: level "{level}" names the unknown aspect "{name}"'
                self.log.at(
                    scale, what, self.log.nearest(name, known) or "an aspect of a ScalingAspects policy"
                )
            elif number is not None and not 0 <= number <= aspect.max_scale_level:
                self.log.at(
                    scale.get("scale_level") or scale,
                    f'{policy.name}: level "{level}" has scale level {number} of aspect "{name}"',
                    f"0 to {aspect.max_scale_level}",
                )
            elif number is not None:
                found[name] = number
        return found

    def read_vdu_levels(self) -> None:
        counts: dict[str, dict[str, int]] = {name: {} for name in self.sizes.levels}
        for policy in self.topology.policies_of("VduInstantiationLevels"):
            for level, stated in _entries(policy, "levels"):
                if level not in counts:
                    near = self.log.nearest(level, list(counts)) or "a level of an InstantiationLevels policy"
                    self.log.at(stated, f'{policy.name}: unknown level "{level}"', near)
                    continue
                number = stated.get("number_of_instances")
                count = integer(number)
                for vdu in self._vdus(policy):
                    if count is not None and number is not None:
                        self._check_count(policy, number, vdu, count)
                        counts[level][vdu] = count
        for level, stated in counts.items():
            self.sizes.levels[level] = InstantiationLevel(
                id=level, scale_levels=self.sizes.levels[level].scale_levels, vdu_counts=stated
            )

    def check_reach(self) -> None:
        """No single aspect, scaled to its maximum, may go beyond a VDU's profile."""
        for aspect in self.sizes.aspects.values():
            added: dict[str, int] = {}
            for step in range(aspect.max_scale_level if aspect.step_deltas else 0):
                name = aspect.step_deltas[min(step, len(aspect.step_deltas) - 1)]
                for vdu, count in aspect.deltas.get(name, {}).items():
                    added[vdu] = added.get(vdu, 0) + count
            for vdu, count in added.items():
                profile = self.vdus[vdu]
                start = self.sizes.initial_counts.get(vdu, profile.min_instances)
                if profile.max_instances is not None and start + count > profile.max_instances:
                    policy, at = self.deltas_at[vdu]
                    self.log.at(
                        at,
                        f'{policy}: aspect "{aspect.id}" at its maximum level {aspect.max_scale_level}'
                        f" means {start + count} instances of {vdu}",
                        f"at most {profile.max_instances}, as its vdu_profile says",
                    )


def _entries(policy: Policy, name: str) -> list[tuple[str, Tree]]:
    stated = policy.property(name)
    return list(stated.items.items()) if stated else []
