"""Networks between VNFs of one VIM, made in Neutron on request.

A Neutron network has no name of its own: any number may be called the same, and the id is chosen there. So
one whose answer was lost is looked for by name first, and when two came to be after all (we were killed, and
the request was still on its way), every process keeps the same one of them and removes the others.

What belongs to whom stands in the description, which is written by the request that makes the network; a tag
would be a second request, and a network without it could not be found again.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from farsite.model.deployment import NetworkSpec, Resource, ResourceKind
from farsite.model.errors import VimFault
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.hot import pools

if TYPE_CHECKING:
    from openstack.connection import Connection

_OURS = "farsite network of "
"""What the description of a network of ours begins with; the owner's id follows."""


class OwnNetworks:
    """The networks that we made on one VIM. A network stands in every region that the VIM is used in, for
    nobody says in which ones its functions will be."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def ensure(self, wanted: NetworkSpec) -> None:
        """Have a network as wanted, under the name `wanted.id`; repeating it changes nothing.

        Raises:
            VimFault: it has peers on other VIMs, or Neutron refuses it (quota, overlapping ranges).
        """
        if wanted.peers:
            raise VimFault(
                f'VIM "{self._cloud.name}" joins no networks with other VIMs: OpenStack offers nobody the '
                f'end of a tunnel. Name a network that is joined already for "{wanted.name or wanted.id}".'
            )
        what = f'make network "{wanted.name or wanted.id}"'
        for region in await self._cloud.regions():
            await self._cloud.call(region, lambda sdk: _ensure(sdk, wanted), what=what)

    async def delete(self, network_id: str) -> None:
        """Remove a network that we made; absent is success.

        Raises:
            VimFault: ports are on it still.
        """
        for region in await self._cloud.regions():
            await self._cloud.call(
                region, lambda sdk: _delete(sdk, network_id), what=f"delete network {network_id}"
            )

    async def find(self, owner: str) -> Sequence[Resource]:
        """Our networks of an owner; of an empty owner all."""
        found: list[Resource] = []
        for region in await self._cloud.regions():
            documents = await self._cloud.call(region, lambda sdk: _listed(sdk, {}), what="list its networks")
            mine = [one for one in documents if owner in ("", _owner(one))]
            found += [_resource(one, region) for one in mine]
        return found


# -- in a thread --------------------------------------------------------------------------------------------


def _ensure(sdk: "Connection", wanted: NetworkSpec) -> None:
    from farsite.vims.drivers.openstack.session import post_json

    standing = _listed(sdk, {"name": wanted.id})
    if not standing:
        network = {"name": wanted.id, "description": f"{_OURS}{wanted.owner}"}
        if wanted.physical_network:
            network["provider:network_type"] = "vlan"
            network["provider:physical_network"] = wanted.physical_network
        post_json(sdk.network, "/networks", {"network": network})
        standing = _listed(sdk, {"name": wanted.id})
    # The oldest stays; which that is does not depend on who looks.
    kept, *spare = sorted(standing, key=lambda one: (str(one.get("created_at", "")), str(one["id"])))
    for one in spare:
        _remove(sdk, str(one["id"]))
    for version, cidr in ((4, wanted.cidr_v4), (6, wanted.cidr_v6)):
        if cidr:
            _ensure_subnet(sdk, kept, wanted, version, cidr)


def _ensure_subnet(
    sdk: "Connection", network: Mapping[str, Any], wanted: NetworkSpec, version: int, cidr: str
) -> None:
    from openstack.exceptions import BadRequestException

    from farsite.vims.drivers.openstack.session import get_json, post_json

    def is_there() -> bool:
        path = f"/subnets?network_id={network['id']}&ip_version={version}"
        return bool(get_json(sdk.network, path)["subnets"])

    if is_there():
        return
    subnet = {
        "name": f"{wanted.id}-v{version}",
        "network_id": network["id"],
        "ip_version": version,
        "cidr": str(ipaddress.ip_network(cidr, strict=False)),
        # No router stands behind it; null frees the address for ports.
        "gateway_ip": None,
        **pools(cidr),
    }
    try:
        post_json(sdk.network, "/subnets", {"subnet": subnet})
    except BadRequestException:
        # Neutron refuses a second one of the same range on a network; then ours has come meanwhile.
        if not is_there():
            raise


def _delete(sdk: "Connection", network_id: str) -> None:
    for one in _listed(sdk, {"name": network_id}):
        _remove(sdk, str(one["id"]))


def _remove(sdk: "Connection", neutron_id: str) -> None:
    from openstack.exceptions import raise_from_response

    answer = sdk.network.delete(f"/networks/{neutron_id}")
    if answer.status_code != 404:
        raise_from_response(answer)


def _listed(sdk: "Connection", query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Networks of ours in the registered project, of which an administrator sees more than that."""
    from farsite.vims.drivers.openstack.session import get_json

    asked = "&".join(
        f"{key}={value}" for key, value in {**query, "project_id": sdk.current_project_id}.items()
    )
    found = cast("list[dict[str, Any]]", get_json(sdk.network, f"/networks?{asked}")["networks"])
    return [one for one in found if str(one.get("description", "")).startswith(_OURS)]


def _owner(document: Mapping[str, Any]) -> str:
    return str(document["description"]).removeprefix(_OURS)


def _resource(document: Mapping[str, Any], region: str) -> Resource:
    return Resource(
        id=str(document["id"]),
        kind=ResourceKind.VL,
        owner=_owner(document),
        name=str(document["name"]),
        physical_network=str(document.get("provider:physical_network") or ""),
        is_alive=document.get("status") == "ACTIVE",
        details={"region": region},
    )
