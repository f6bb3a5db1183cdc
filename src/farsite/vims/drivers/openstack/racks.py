"""Racks: which hosts of a region fail together, as its operator has grouped them.

Two ways of saying so are also kept by Nova's scheduler. A trait `CUSTOM_RACK_*` on the resource providers
of hosts counts in every Nova with Placement's traits (Rocky). Metadata of host aggregates (key `rack`, or
what the registration names as `rack_key`) count where it has AggregateInstanceExtraSpecsFilter. A host that
has both is known by its trait. Only administrators see either; to a member no host stands in a rack.

A server is held in its rack by its flavour, so whatever Nova does with it later (evacuate, migrate, resize)
keeps it there as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from farsite.model.deployment import DeploymentStatus, Resource, ResourceKind
from farsite.vims.drivers.openstack.stacks import entries, inner, text

if TYPE_CHECKING:
    from openstack.connection import Connection

TRAIT = "CUSTOM_RACK_"
USUAL_KEY = "rack"
_TRAITS = "1.6"
_REQUIRED = "1.18"
"""Microversions of Placement that list traits, and resource providers by trait."""
_HYPERVISORS = "2.53"
"""From here on a hypervisor has the id of its resource provider."""


def key_of(settings: Mapping[str, object]) -> str:
    """The key of aggregates' metadata that names racks."""
    return str(settings.get("rack_key") or USUAL_KEY)


def extra_spec(rack: str, key: str) -> dict[str, str]:
    """What a flavour says to hold a server in a rack."""
    if rack.startswith(TRAIT):
        return {f"trait:{rack}": "required"}
    return {f"aggregate_instance_extra_specs:{key}": rack}


@dataclass(slots=True)
class KnownRacks:
    """Region -> host -> rack, as read last when the hosts were counted."""

    of_region: dict[str, Mapping[str, str]]

    def on(self, region: str, status: DeploymentStatus) -> DeploymentStatus:
        """What stands, with the rack of each server's host."""
        known = self.of_region.get(region)
        if not known:
            return status

        def racked(one: Resource) -> Resource:
            rack = known.get(one.host, "") if one.kind is ResourceKind.COMPUTE else ""
            return replace(one, rack=rack) if rack else one

        return replace(status, resources=tuple(map(racked, status.resources)))


# -- in a thread


def read(connection: "Connection", key: str) -> dict[str, str]:
    """Host -> rack, of those that stand in one as far as we may see."""
    from farsite.vims.drivers.openstack.session import readable_json

    found: dict[str, str] = {}
    for aggregate in entries(readable_json(connection.compute, "/os-aggregates") or {}, "aggregates"):
        if rack := text(inner(aggregate, "metadata"), key):
            found |= dict.fromkeys(map(str, cast("list[object]", aggregate.get("hosts") or [])), rack)
    return found | _by_trait(connection)


def _by_trait(connection: "Connection") -> dict[str, str]:
    from farsite.vims.drivers.openstack.session import readable_json

    listed = readable_json(connection.placement, f"/traits?name=startswith:{TRAIT}", microversion=_TRAITS)
    rack_of: dict[str, str] = {}
    for trait in cast("list[str]", (listed or {}).get("traits", [])):
        told = readable_json(
            connection.placement, f"/resource_providers?required={trait}", microversion=_REQUIRED
        )
        rack_of |= {text(one, "uuid"): trait for one in entries(told or {}, "resource_providers")}
    if not rack_of:
        return {}
    told = readable_json(connection.compute, "/os-hypervisors/detail", microversion=_HYPERVISORS) or {}
    return {
        text(inner(one, "service"), "host"): rack_of[text(one, "id")]
        for one in entries(told, "hypervisors")
        if text(one, "id") in rack_of
    }
