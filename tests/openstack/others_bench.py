"""The whole program against a site of the laboratory, and packages of others as they are."""

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from laboratory import Account

from farsite.settings import Settings
from service_bench import Service, running

BOUND_S = 240.0
ENDED = ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP")
SAMPLES = Path(__file__).parents[2].parent / "shared" / "packages" / "tacker-samples"


def archive_of(folder: Path, *changes: tuple[bytes, bytes]) -> bytes:
    """The folder's content as an archive, with every old text in it replaced by its new one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                for old, new in changes:
                    content = content.replace(old, new)
                archive.writestr(str(path.relative_to(folder)), content)
    return out.getvalue()


class Orchestrator:
    """A running service with one OpenStack VIM, and what these tests ask of it."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def register(self, name: str, account: Account, **settings: object) -> Mapping[str, Any]:
        """Register the account's project as a VIM and wait until its zones are known."""
        body = {
            "name": name, "type": "openstack", "auth_url": account.auth_url,
            "credentials": account.credentials, "settings": settings,
        }  # fmt: skip
        answer = self.service.native("POST", "/vims", json=body)
        assert answer.status_code == 201, answer.text
        return self.service.until(
            lambda: self.service.native("GET", f"/vims/{name}").json(),
            lambda seen: bool(seen["zones"]),
            within_s=60,
        )

    def upload(self, content: bytes, images: Mapping[str, str]) -> httpx2.Response:
        """Make a package of an archive; `images` are its `--image NAME=VIM-IMAGE`."""
        created = self.service.native("POST", "/packages").json()
        return self.service.native(
            "PUT",
            f"/packages/{created['id']}/content",
            content=content,
            headers={"Content-Type": "application/zip"},
            params={"image": [f"{name}={image}" for name, image in images.items()]},
        )

    def onboard(
        self, name: str, images: Mapping[str, str], *changes: tuple[bytes, bytes]
    ) -> Mapping[str, Any]:
        """Onboard one of the samples, with every old text in it replaced by its new one."""
        answer = self.upload(archive_of(SAMPLES / name, *changes), images)
        assert answer.status_code == 200, answer.text
        package = answer.json()
        assert package["state"] == "ONBOARDED", package
        return package

    def create(self, package: Mapping[str, Any], name: str) -> str:
        answer = self.service.native("POST", "/vnfs", json={"package": package["id"], "name": name})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def ask(self, vnf_id: str, verb: str, **body: object) -> Mapping[str, Any]:
        """Start an operation and wait until it ends or rests."""
        answer = self.service.native("POST", f"/vnfs/{vnf_id}/{verb}", json=body)
        assert answer.status_code == 202, answer.text
        return self.ended(answer.json()["id"])

    def done(self, vnf_id: str, verb: str, **body: object) -> None:
        """The same, and it must come to a good end."""
        seen = self.ask(vnf_id, verb, **body)
        assert seen["state"] == "COMPLETED", seen.get("error") or seen

    def control(self, operation_id: str, what: str) -> Mapping[str, Any]:
        """Retry, roll back or fail an operation that rests."""
        answer = self.service.native("POST", f"/operations/{operation_id}/{what}")
        assert answer.status_code in (200, 202), answer.text
        return self.ended(operation_id)

    def ended(self, operation_id: str) -> Mapping[str, Any]:
        return self.service.until(
            lambda: self.service.native("GET", f"/operations/{operation_id}").json(),
            # A control that nobody has taken up yet: it still rests as it did before.
            lambda seen: seen["state"] in ENDED and not seen["control"],
            within_s=BOUND_S,
        )

    def vnf(self, vnf_id: str) -> Mapping[str, Any]:
        return self.service.native("GET", f"/vnfs/{vnf_id}").json()

    def servers(self, vnf_id: str) -> dict[str, str]:
        """VNFC id -> server id, of what the record says stands."""
        resources = self.vnf(vnf_id)["resources"]
        return {one["vnfc_id"]: one["id"] for one in resources if one["kind"] == "COMPUTE"}


@contextmanager
def orchestrator() -> Iterator[Orchestrator]:
    """A service in a directory of its own."""
    data_dir = Path(tempfile.mkdtemp(prefix="fsto-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir)) as service:
            yield Orchestrator(service)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
