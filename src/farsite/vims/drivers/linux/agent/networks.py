"""The layer-2 networks of a site: a bridge each, and a VXLAN tunnel to the other sites that hold it."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from farsite.model.deployment import NetworkSpec, Resource, ResourceKind
from farsite.model.errors import VimFault
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent.links import Links


class SiteNetworks:
    """All networks of the site, by id. One object per agent; lives on its event loop."""

    def __init__(
        self, directory: Path, *, links: Links, endpoint: str, users_of: Callable[[str], list[str]]
    ) -> None:
        """`endpoint` is the site's address on the underlay; `users_of` names the VNFCs that have ports on
        a network."""
        self._records = paths.make_private(directory / "networks")
        self._links = links
        self._endpoint = endpoint
        self._users_of = users_of
        self._found: dict[str, NetworkSpec] = {}

    def __contains__(self, network_id: object) -> bool:
        return network_id in self._found

    def __iter__(self) -> Iterator[NetworkSpec]:
        return iter(tuple(self._found.values()))

    def bridge(self, network_id: str) -> int:
        """Index of a network's bridge; 0 when there is none."""
        return self._links.index(_bridge(network_id))

    def ensure(self, wanted: NetworkSpec) -> None:
        """Make a network as wanted: a bridge, and a tunnel to its peers when it has a VXLAN id."""
        self._found[wanted.id] = wanted
        path = self._record(wanted.id)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(wire.to_document(wanted)))
        partial.replace(path)
        self._build(wanted)

    def delete(self, network_id: str) -> None:
        """Delete a network; an absent one is well.

        Raises:
            VimFault: VNFCs still have ports on it.
        """
        users = self._users_of(network_id)
        if users:
            raise VimFault(f'Network "{network_id}" still has ports of {", ".join(users)}.')
        for name in (_tunnel(network_id), _bridge(network_id)):
            index = self._links.index(name)
            if index:
                self._links.delete(index)
        self._found.pop(network_id, None)
        self._record(network_id).unlink(missing_ok=True)

    def restore(self) -> None:
        """Take over the networks of an earlier agent; what is missing of them is built again."""
        for path in sorted(self._records.glob("*.json")):
            with contextlib.suppress(ValueError):
                network = wire.from_document(NetworkSpec, json.loads(path.read_text()))
                self._found[network.id] = network
                self._build(network)

    def sweep(self) -> list[str]:
        """Delete bridges and tunnels of no network; returns what was swept."""
        wanted = {name for each in self._found for name in (_bridge(each), _tunnel(each))}
        swept: list[str] = []
        for link in self._links.all():
            is_ours = (link.kind, link.name[0]) in (("bridge", "b"), ("vxlan", "x"))
            if is_ours and link.name not in wanted:
                self._links.delete(link.index)
                swept.append(f"network {link.name}")
        return swept

    def resources(self) -> list[Resource]:
        """Every network as a resource of its owner."""
        return [
            Resource(
                id=network.id,
                kind=ResourceKind.VL,
                owner=network.owner,
                name=network.name or network.id,
                is_alive=bool(self.bridge(network.id)),
                details={"bridge": _bridge(network.id), "vni": str(network.vni)},
            )
            for network in self
        ]

    def _build(self, wanted: NetworkSpec) -> None:
        bridge = self.bridge(wanted.id) or self._links.add_bridge(_bridge(wanted.id))
        tunnel = self._links.index(_tunnel(wanted.id))
        before = self._links.vxlan_id(tunnel) if tunnel else 0
        if tunnel and (before != wanted.vni or not wanted.peers):
            self._links.delete(tunnel)
            tunnel = 0
        if not wanted.vni or not wanted.peers:
            return
        if not tunnel:
            tunnel = self._links.add_vxlan(_tunnel(wanted.id), vni=wanted.vni, local=self._endpoint)
        self._links.set_master(tunnel, bridge)
        peers = {peer for peer in wanted.peers if peer != self._endpoint}
        flooded = self._links.flood_to(tunnel)
        for peer in peers - flooded:
            self._links.add_flood(tunnel, peer)
        for peer in flooded - peers:
            self._links.delete_flood(tunnel, peer)

    def _record(self, network_id: str) -> Path:
        return self._records / f"{paths.short_hash(network_id)}.json"


def _bridge(network_id: str) -> str:
    return paths.device_name("b", network_id)


def _tunnel(network_id: str) -> str:
    return paths.device_name("x", network_id)
