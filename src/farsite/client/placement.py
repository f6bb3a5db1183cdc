"""Policies of placement as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ROOT, Connection, Document, in_path


class PlacementPolicy(TypedDict):
    name: str
    scope: dict[str, str]
    sites_apart_km: float
    risk_groups_apart: bool
    availability: float


class PlacementPolicies(Connection):
    """What a project or a service of it demands of the VIMs it comes to."""

    def placement_policies(self) -> list[PlacementPolicy]:
        return cast("list[PlacementPolicy]", self._get("/placement-policies"))

    def placement_policy(self, name: str) -> PlacementPolicy:
        return cast("PlacementPolicy", self._get(f"/placement-policies/{in_path(name)}"))

    def put_placement_policy(self, name: str, body: Document) -> PlacementPolicy:
        path = f"{ROOT}/placement-policies/{in_path(name)}"
        return cast("PlacementPolicy", self.request("PUT", path, body).json())

    def delete_placement_policy(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/placement-policies/{in_path(name)}")
