"""VNF instances, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ASKING_VIM_S, ROOT, Connection, in_path
from farsite.client.vims import Resource


class VnfcIdentity(TypedDict):
    vnfc: str
    host_key: str
    login_key: str
    certificate: str
    pinned_certificate: str


class Console(TypedDict):
    vnfc: str
    text: str


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


class Vnfs(Connection):
    """VNF instances."""

    def vnfs(self, *, filter: str = "", limit: int = 0) -> list[Vnf]:
        return cast("list[Vnf]", list(self._list("/vnfs", filter=filter, limit=limit)))

    def vnf(self, key: str) -> Vnf:
        return cast("Vnf", self._get(f"/vnfs/{in_path(key)}"))

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
        self.request("DELETE", f"{ROOT}/vnfs/{in_path(key)}")

    def identity_of(self, vnf: str, vnfc: str) -> VnfcIdentity:
        return cast("VnfcIdentity", self._get(f"/vnfs/{in_path(vnf)}/vnfcs/{in_path(vnfc)}/identity"))

    def console_of(self, vnf: str, vnfc: str) -> str:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/vnfcs/{in_path(vnfc)}/console"
        return cast("Console", self.request("GET", path, timeout_s=ASKING_VIM_S).json())["text"]
