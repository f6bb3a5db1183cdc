"""Packages of VNFs, and NSDs, as our API shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from farsite.client.connection import ROOT, UPLOAD_TIMEOUT_S, Connection, Problem, in_path, pieces


class Package(TypedDict):
    id: str
    state: str
    operational_state: str
    usage_state: str
    vnfd_id: str | None
    provider: str
    product_name: str
    software_version: str
    vnfd_version: str
    warnings: list[str]
    failure: list[dict[str, object]]
    created_at: str


class Level(TypedDict):
    scale_levels: dict[str, int]
    vnfcs: dict[str, int]
    vnfcs_in_all: int


class Aspect(TypedDict):
    name: str
    max_scale_level: int


class Flavour(TypedDict):
    description: str
    default_level: str
    vnfcs_at_first: dict[str, int]
    levels: dict[str, Level]
    aspects: dict[str, Aspect]
    vdus: dict[str, dict[str, object]]
    external_cps: list[str]
    lifecycle_scripts: list[str]


class Vnfd(TypedDict):
    id: str
    description: str
    default_flavour: str
    flavours: dict[str, Flavour]


class NsdInfo(TypedDict):
    id: str
    state: str
    operational_state: str
    usage_state: str
    nsd_id: str | None
    name: str
    designer: str
    version: str
    failure: list[dict[str, object]]
    created_at: str


class ForwardingPath(TypedDict):
    id: str
    source: str
    hops: list[str]
    target: str
    fail_open: bool


class Profile(TypedDict):
    vnfd_id: str
    flavour_id: str
    level_id: str
    instances: int
    links: dict[str, str]


class NsFlavour(TypedDict):
    description: str
    profiles: dict[str, Profile]
    virtual_links: list[str]
    paths: list[ForwardingPath]
    levels: dict[str, dict[str, int]]
    default_level: str


class Nsd(TypedDict):
    id: str
    name: str
    description: str
    default_flavour: str
    flavours: dict[str, NsFlavour]


class Packages(Connection):
    """Packages of VNFs, and NSDs."""

    def packages(self, *, filter: str = "", limit: int = 0) -> list[Package]:
        return cast("list[Package]", list(self._list("/packages", filter=filter, limit=limit)))

    def package(self, key: str) -> Package:
        return cast("Package", self._get(f"/packages/{in_path(key)}"))

    def vnfd(self, key: str) -> Vnfd:
        return cast("Vnfd", self._get(f"/packages/{in_path(key)}/vnfd"))

    def onboard_package(
        self, archive: Path, *, images: Sequence[str] = (), keep_refused: bool = False
    ) -> Package:
        """Create a package and upload its archive in pieces; a refused one is deleted again.

        Raises:
            Problem: with every fault of the archive.
        """
        return cast("Package", self._onboard("packages", archive, images, keep_refused=keep_refused))

    def _onboard(self, kind: str, archive: Path, images: Sequence[str], *, keep_refused: bool) -> object:
        with archive.open("rb"):
            pass  # an archive that cannot be read creates nothing
        created = cast("Mapping[str, str]", self._post(f"/{kind}"))
        path = f"{ROOT}/{kind}/{created['id']}"
        try:
            return self.request(
                "PUT",
                f"{path}/content",
                content=pieces(archive),
                query=[("image", one) for one in images],
                timeout_s=UPLOAD_TIMEOUT_S,
            ).json()
        except Problem:
            if not keep_refused:
                self.request("DELETE", path)
            raise

    def change_package(self, key: str, operational_state: str) -> Package:
        body = {"operational_state": operational_state}
        return cast("Package", self.request("PATCH", f"{ROOT}/packages/{in_path(key)}", body).json())

    def delete_package(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/packages/{in_path(key)}")

    def nsds(self, *, filter: str = "", limit: int = 0) -> list[NsdInfo]:
        return cast("list[NsdInfo]", list(self._list("/nsds", filter=filter, limit=limit)))

    def nsd_info(self, key: str) -> NsdInfo:
        return cast("NsdInfo", self._get(f"/nsds/{in_path(key)}"))

    def nsd(self, key: str) -> Nsd:
        return cast("Nsd", self._get(f"/nsds/{in_path(key)}/nsd"))

    def onboard_nsd(self, archive: Path, *, keep_refused: bool = False) -> NsdInfo:
        return cast("NsdInfo", self._onboard("nsds", archive, (), keep_refused=keep_refused))

    def change_nsd(self, key: str, operational_state: str) -> NsdInfo:
        body = {"operational_state": operational_state}
        return cast("NsdInfo", self.request("PATCH", f"{ROOT}/nsds/{in_path(key)}", body).json())

    def delete_nsd(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/nsds/{in_path(key)}")
