"""Keeps virtual links and volumes apart below: which physical network carries each link, and which storage
back end holds each volume, where rules of the descriptor ask for it.

We choose and record, as for zones and racks, so that a VNFC that comes later keeps away from what stands, and
a repeated wish is the same wish. The choice not taken, leaving it to the VIM by a hint (Cinder's
`different_host`): a scheduler without the filter for it ignores the hint in silence.

Source: ETSI GS NFV-SOL 001 clause 6.10.11 (AntiAffinityRule); which network nodes and links share a fate is
the scope `network_link_and_node`, a storage back end is an `nfvi_node`.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from farsite.lifecycle import binding
from farsite.model.deployment import Deployment, Resource, ResourceKind, WantedVnfc
from farsite.model.errors import Conflict, Invalid, NotEnough
from farsite.model.ids import VimId, VnfcId
from farsite.model.nsd import NsFlavour
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import AffinityRule, DeploymentFlavour
from farsite.store import instances, packages, vims
from farsite.store.database import Connection

PHYSICAL_NETWORKS, STORAGE_BACK_ENDS = "physical-networks", "storage-back-ends"
"""Features of a VIM on which networks, and volumes, can be kept apart."""

Item = TypeVar("Item")
VolumeId = tuple[VnfcId, str]
"""A volume of a VNFC by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What a VIM has by name, as it was last asked. `where` names it in a refusal."""

    where: str
    physical_networks: tuple[str, ...] = ()
    storage_back_ends: tuple[str, ...] = ()


def _offer(connection: Connection, vim_id: VimId) -> _Offer:
    where = f'VIM "{vims.get_any(connection, vim_id).name}"'
    inventory = vims.inventory_of(connection, vim_id)
    if inventory is None:
        return _Offer(where=where)
    return _Offer(
        where=where,
        physical_networks=inventory.capabilities.physical_networks,
        storage_back_ends=inventory.capabilities.storage_back_ends,
    )


def links_apart(vnf: VnfInstance, flavour: DeploymentFlavour) -> int:
    """How many physical networks a VIM must have for a VNF's own virtual links; 0: none by name. Links that
    are networks of others are where those are."""
    own = {one.name for one in binding.internal_networks(vnf, flavour)}
    sizes = (len(own.intersection(one.targets)) for one in flavour.links_apart if not one.is_best_effort)
    return max((size for size in sizes if size > 1), default=0)


def volumes_apart(flavour: DeploymentFlavour, vnfcs: Iterable[WantedVnfc]) -> int:
    """How many storage back ends a VIM must have for the volumes of these VNFCs; 0: none by name."""
    volumes = [volume.name for one in vnfcs for volume in one.volumes]
    strict = [one for one in flavour.storages_apart if not one.is_best_effort]
    return max((sum(name in one.targets for name in volumes) for one in strict), default=0)


def check_links(vnf: VnfInstance, flavour: DeploymentFlavour) -> None:
    """See that no two links that must be apart were bound to one network of others.

    Raises:
        Invalid: names both and the network.
    """
    outer = binding.outer_networks(vnf, flavour)
    for rule in flavour.links_apart:
        bound: dict[str, str] = {}
        for link in () if rule.is_best_effort else rule.targets:
            network = outer.get(link)
            if network and (other := bound.setdefault(network, link)) != link:
                raise _shared(rule, other, link, network)


def check_standing(vnf: VnfInstance, flavour: DeploymentFlavour) -> None:
    """See that the links which another flavour keeps apart stand where somebody chose.

    Raises:
        Conflict: one stands on a physical network of the VIM's choice, and a network cannot be moved.
    """
    standing = {one.name: one for one in vnf.deployment.networks} if vnf.deployment else {}
    for rule in flavour.links_apart:
        for link in () if rule.is_best_effort else rule.targets:
            if link in standing and not standing[link].physical_network:
                raise Conflict(
                    f'Virtual link "{link}" must be kept apart from others by the other package, and it '
                    f"stands on a physical network that the VIM chose. Terminate VNF instance {vnf.id} and "
                    f"instantiate it from that package."
                )


def chosen(
    connection: Connection,
    wanted: Deployment,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    vim_id: VimId,
    *,
    anew: Collection[str] = (),
) -> Deployment:
    """The wish with a physical network for each link and a back end for each volume that rules keep apart.

    What stood before keeps its own. What is made `anew` (VNFC ids) does too, unless it is gone or somebody
    else of a rule is on it by now.

    Raises:
        NotEnough: the VIM has too few; says what it has.
    """
    if flavour.base_template is not None:
        # What a template of the package's makes we cannot place; who must have it is refused by the driver.
        flavour = replace(
            flavour,
            links_apart=tuple(one for one in flavour.links_apart if one.is_kept),
            storages_apart=tuple(one for one in flavour.storages_apart if one.is_kept),
        )
    if not flavour.links_apart and not flavour.storages_apart:
        return wanted
    offer = _offer(connection, vim_id)
    networks = _networks(wanted, vnf, flavour, offer)
    back_ends = _back_ends(wanted, vnf, flavour, offer, anew)
    return replace(
        wanted,
        networks=tuple(
            replace(one, physical_network=networks.get(one.name, one.physical_network))
            for one in wanted.networks
        ),
        vnfcs=tuple(
            replace(
                one,
                volumes=tuple(
                    replace(volume, back_end=back_ends.get((one.id, volume.name), volume.back_end))
                    for volume in one.volumes
                ),
            )
            for one in wanted.vnfcs
        ),
    )


def renewed(connection: Connection, vnf: VnfInstance, vnfc_ids: Collection[str]) -> None:
    """Record back ends of VNFCs that are made anew where their own are gone, or taken by now.

    Raises:
        NotEnough: there is none that keeps them apart.
    """
    if vnf.deployment is None or vnf.vim_id is None:
        return
    # The package is read only where it can matter: many are healed at once when a host is lost.
    if not any(volume.back_end for one in vnf.deployment.vnfcs for volume in one.volumes):
        return
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
    deployment = chosen(connection, vnf.deployment, vnf, flavour, vnf.vim_id, anew=vnfc_ids)
    if deployment != vnf.deployment:
        instances.save_vnf(connection, replace(vnf, deployment=deployment))


def _networks(
    wanted: Deployment, vnf: VnfInstance, flavour: DeploymentFlavour, offer: _Offer
) -> dict[str, str]:
    before = {one.name: one.physical_network for one in vnf.deployment.networks} if vnf.deployment else {}
    # One that stands on a physical network of the VIM's choice cannot be moved to another.
    own = [one.name for one in wanted.networks if before.get(one.name) != ""]
    return first_fit(
        _groups(flavour.links_apart, own),
        _in_turn(offer.physical_networks, wanted.name),
        standing={name: place for name, place in before.items() if place and name in own},
        what="physical network",
        where=offer.where,
    )


def _groups(rules: Iterable[AffinityRule], links: Sequence[str]) -> list[tuple[Sequence[str], bool]]:
    """Which of some links must be kept apart from each other; one alone from nobody."""
    found = [([name for name in links if name in rule.targets], rule.is_best_effort) for rule in rules]
    return [(members, is_best_effort) for members, is_best_effort in found if len(members) > 1]


def of_service(
    connection: Connection, ns_id: str, vim_id: VimId, links: Sequence[str], flavour: NsFlavour
) -> dict[str, str]:
    """Physical network on one VIM of each virtual link of a service that rules keep apart from others there.

    Raises:
        NotEnough: the VIM has too few.
    """
    offer = _offer(connection, vim_id)
    return first_fit(
        _groups(flavour.links_apart, links),
        _in_turn(offer.physical_networks, ns_id),
        what="physical network",
        where=offer.where,
    )


def service_links_apart(flavour: NsFlavour, links: Iterable[str]) -> int:
    """How many physical networks the VIM of a function must have for those links of its service that it is on
    and that are made for it; 0: none by name."""
    strict = [one for one in flavour.links_apart if not one.is_best_effort]
    return max((len(members) for members, _ in _groups(strict, tuple(links))), default=0)


def check_named(flavour: NsFlavour, networks: Mapping[str, Mapping[str, str]]) -> None:
    """See that no two links of a service that must be apart were given one network of a VIM (link -> VIM ->
    network; an empty VIM is each).

    Raises:
        Invalid: names both and the network.
    """
    for rule in (one for one in flavour.links_apart if one.is_kept):
        bound: dict[tuple[str, str], str] = {}
        for link in rule.targets:
            for vim, network in networks.get(link, {}).items():
                if (other := bound.setdefault((vim, network), link)) != link:
                    raise _shared(rule, other, link, network)


def _shared(rule: AffinityRule, one: str, other: str, network: str) -> Invalid:
    return Invalid(
        f'Virtual links "{one}" and "{other}" must not share a physical network (anti-affinity, '
        f'scope {rule.scope}), and both are bound to network "{network}". Bind each to its own.'
    )


def _back_ends(
    wanted: Deployment,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    offer: _Offer,
    anew: Collection[str],
) -> dict[VolumeId, str]:
    before = {
        (one.id, volume.name): volume.back_end
        for one in (vnf.deployment.vnfcs if vnf.deployment else ())
        for volume in one.volumes
    }
    told = back_ends_of(vnf.resources)
    asked = [(one.id, volume.name) for one in wanted.vnfcs for volume in one.volumes]
    standing = {
        one: place for one in asked if one[0] not in anew and (place := told.get(one) or before.get(one))
    }
    found = first_fit(
        [
            ([one for one in asked if one[1] in rule.targets], rule.is_best_effort)
            for rule in flavour.storages_apart
        ],
        # A VIM that tells of none now has lost its voice, not the back ends that it told of before.
        _in_turn(offer.storage_back_ends or sorted({*before.values()} - {""}), wanted.name),
        standing=standing,
        preferred={one: place for one in asked if (place := before.get(one))},
        what="storage back end",
        where=offer.where,
    )
    # Where the VIM has put what stands counts for the others; what is wished of it stays what it was.
    return {one: before.get(one, "") if one in standing else place for one, place in found.items()}


def back_ends_of(resources: Iterable[Resource]) -> dict[VolumeId, str]:
    """Back end of each volume, by what a VIM said."""
    return {
        (one.vnfc_id, one.name): one.back_end
        for one in resources
        if one.kind is ResourceKind.STORAGE and one.vnfc_id is not None and one.back_end
    }


def _in_turn(places: Sequence[str], name: str) -> list[str]:
    """From another one on for each deployment: else the first would carry all that need not be apart."""
    first = zlib.crc32(name.encode()) % len(places) if places else 0
    return [*places[first:], *places[:first]]


def first_fit(
    groups: Sequence[tuple[Sequence[Item], bool]],
    places: Sequence[str],
    *,
    standing: Mapping[Item, str] | None = None,
    preferred: Mapping[Item, str] | None = None,
    what: str = "place",
    where: str = "The VIM",
) -> dict[Item, str]:
    """A place for every member of the groups, so that no two of a group share one.

    First come, first served: where groups overlap it may ask for a place more than the best answer would. A
    group that is best effort (the second of the pair) shares where it must. `standing` are where they are
    and stay, `preferred` where one goes if it can.

    Raises:
        NotEnough: too few places.
    """
    taken = dict(standing or {})
    for item in dict.fromkeys(item for members, _ in groups for item in members):
        if item in taken:
            continue
        strict = _beside(item, groups, taken, is_best_effort=False)
        free = [place for place in places if place not in strict]
        is_bound = any(item in members for members, is_best_effort in groups if not is_best_effort)
        if not free and is_bound:
            names = f" ({', '.join(places)})" if places else ""
            raise NotEnough(
                f"{where} has {len(places)} {what}(s){names}, too few for what must not share one "
                f"(anti-affinity). Choose another VIM, or have its operator name more of them."
            )
        if not free:
            continue
        soft = _beside(item, groups, taken, is_best_effort=True)
        wish = (preferred or {}).get(item, "")
        taken[item] = min(free, key=lambda place: (soft.count(place), place != wish))
    return taken


def _beside(
    item: Item,
    groups: Sequence[tuple[Sequence[Item], bool]],
    taken: Mapping[Item, str],
    *,
    is_best_effort: bool,
) -> list[str]:
    """Places of the others in the groups of that kind which an item is in."""
    return [
        taken[other]
        for members, is_soft in groups
        if is_soft is is_best_effort and item in members
        for other in members
        if other in taken
    ]
