"""NS instances, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ROOT, Connection, in_path


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


class NetworkServices(Connection):
    """NS instances."""

    def ns_list(self, *, filter: str = "", limit: int = 0) -> list[Ns]:
        return cast("list[Ns]", list(self._list("/ns", filter=filter, limit=limit)))

    def ns(self, key: str) -> Ns:
        return cast("Ns", self._get(f"/ns/{in_path(key)}"))

    def create_ns(
        self, nsd: str, *, name: str = "", description: str = "", certified_first: bool = False
    ) -> Ns:
        body: dict[str, object] = {"nsd": nsd, "name": name, "description": description}
        body |= {"certified_first": True} if certified_first else {}
        return cast("Ns", self._post("/ns", body))

    def delete_ns(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/ns/{in_path(key)}")

    def counters(self, ns: str, chain: str = "-") -> list[HopCounters]:
        path = f"/ns/{in_path(ns)}/chains/{in_path(chain)}/counters"
        return cast("list[HopCounters]", self._get(path))
