"""Images that packages carry: given to Glance once per VIM, known by their digest.

The image's id is derived from the project and the file's SHA-256, so two deployments that upload at once
meet in Glance: the second creation is a conflict, and it waits for the first. An upload that broke off is
found again by the same id. Glance never gives an id of a deleted image out again, so an id that is gone
is followed by the next one of the series.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from farsite.model.deployment import ImageFile
from farsite.model.errors import VimFault, VimUnreachable
from farsite.model.ids import derived_id
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.stacks import answer, entries, get, text

if TYPE_CHECKING:
    from openstack.connection import Connection

DIGEST = "farsite_sha256"
"""Property that holds the digest of the file."""
_SERIES = 50
"""How often an image may have been deleted and uploaded again."""
_PAUSE_S = 0.5
_STALLED_S = 60.0
"""An upload of somebody else that shows no progress for so long is taken for broken off."""
_CHUNK = 1024 * 1024
_UPLOAD_LIMIT_S = 3600.0


class Images:
    """The uploaded images of one VIM."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._known: dict[tuple[str, str], str] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}

    async def ensure(self, region: str, files: Sequence[ImageFile]) -> dict[str, str]:
        """Have Glance hold these files; the image id of each, by its name.

        Raises:
            VimFault: Glance refuses, or what it stored is not what we sent.
        """
        return {file.name: await self._ensure(region, file) for file in files}

    async def check(self, region: str, image: str, properties: Mapping[str, str]) -> None:
        """See that an image of the VIM's own promises what is asked of it: Nova takes it from there only.

        Raises:
            VimFault: it does not; says how to have it do so.
        """
        found = await self._cloud.call(region, partial(_named, image=image), what=f"look for image {image}")
        if found is None:
            return  # said by who starts it, in the VIM's own words
        lacks = {key: value for key, value in properties.items() if text(found, key).lower() != value}
        if lacks:
            asked = " ".join(f"--property {key}={value}" for key, value in sorted(lacks.items()))
            raise VimFault(
                f'Image "{image}" of VIM "{self._cloud.name}" does not say that its guest has what the '
                f"descriptor asks for. If it has, say so: openstack image set {asked} {image}"
            )

    async def _ensure(self, region: str, file: ImageFile) -> str:
        key = region, _identity(file)
        async with self._turns.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if known and await self._is_usable(region, known):
                return known
            self._known[key] = await self._make(region, file)
            return self._known[key]

    async def _is_usable(self, region: str, image_id: str) -> bool:
        image = await self._cloud.call(region, partial(_image, image_id=image_id), what="look for an image")
        return image is not None and image.get("status") == "active"

    async def _make(self, region: str, file: ImageFile) -> str:
        project = await self._cloud.project_id()
        for number in range(_SERIES):
            image_id = derived_id("glance", project, _identity(file), str(number))
            is_there = await self._cloud.call(
                region, partial(_create, image_id=image_id, file=file), what=f"create image {file.name}"
            )
            if is_there and await self._fill(region, image_id, file):
                return image_id
        raise VimFault(
            f'Image "{file.name}" was deleted from VIM "{self._cloud.name}" {_SERIES} times. Upload it '
            f"yourself and map it at onboarding: --image NAME=VIM-IMAGE."
        )

    async def _fill(self, region: str, image_id: str, file: ImageFile) -> bool:
        """Have the image active with our content; False when it went away."""
        seen, since = ("", ""), time.monotonic()
        while True:
            image = await self._cloud.call(
                region, partial(_image, image_id=image_id), what=f"look for image {file.name}"
            )
            status = text(image, "status") if image else "deleted"
            if image is None or status in ("deleted", "pending_delete"):
                return False
            if status == "active":
                return True
            if status in ("killed", "deactivated"):
                raise VimFault(
                    f'Image "{file.name}" ({image_id}) is {status} on VIM "{self._cloud.name}". Delete it '
                    f"there, then retry: it is uploaded again."
                )
            if status == "queued":
                await self._cloud.call(
                    region, partial(_upload, image_id=image_id, file=file),
                    what=f"take image {file.name}", limit_s=_UPLOAD_LIMIT_S,
                )  # fmt: skip
            if seen != (status, text(image, "updated_at")):
                seen, since = (status, text(image, "updated_at")), time.monotonic()
            elif time.monotonic() - since > _STALLED_S:
                # "saving" for ever: whoever uploaded it died on the way. A new one takes the next id.
                await self._cloud.call(
                    region, partial(_delete, image_id=image_id), what=f"delete the partial image {file.name}"
                )
                return False
            await asyncio.sleep(_PAUSE_S)


def _identity(file: ImageFile) -> str:
    """What makes two images the same: one that promises more is another one."""
    promised = "".join(f",{key}={value}" for key, value in sorted(file.properties.items()))
    return file.sha256 + promised


def _named(connection: "Connection", image: str) -> Json | None:
    """An image by id or name; of several of one name the first, as Heat takes it."""
    if (found := _image(connection, image)) is not None:
        return found
    told = get(connection.image, "/images", {"name": image, "limit": "1"})
    return next(iter(entries(told, "images")), None)


def _image(connection: "Connection", image_id: str) -> Json | None:
    response = connection.image.get(f"/images/{image_id}")
    return None if response.status_code == 404 else answer(response)


def _create(connection: "Connection", image_id: str, file: ImageFile) -> bool:
    """Make an image without content; whether one of this id is there and ours to see."""
    body = {
        "id": image_id,
        "name": f"farsite-{file.name}"[:255],
        "disk_format": file.disk_format,
        "container_format": file.container_format,
        "min_disk": int(-(-file.min_disk_gib // 1)),
        "min_ram": int(-(-file.min_ram_mib // 1)),
        "visibility": "private",
        DIGEST: file.sha256,
        **file.properties,
    }
    response = connection.image.post("/images", json=body)
    if response.status_code == 409:
        return _image(connection, image_id) is not None
    answer(response)
    return True


def _upload(connection: "Connection", image_id: str, file: ImageFile) -> None:
    """Send the content and compare what Glance stored with it. Somebody else's upload is left alone."""
    path = Path(file.path)
    if not path.is_file():
        raise VimFault(f'The file of image "{file.name}" is no longer there. Onboard the package again.')
    with path.open("rb") as content:
        sent = _Sent(content)
        response = connection.image.put(
            f"/images/{image_id}/file",
            data=iter(sent),
            headers={"Content-Type": "application/octet-stream", "Accept": ""},
        )
    if response.status_code in (404, 409, 410):
        return
    answer(response)
    _compare(connection, image_id, file, sent)


def _compare(connection: "Connection", image_id: str, file: ImageFile, sent: "_Sent") -> None:
    if sent.digests["sha256"].hexdigest() != file.sha256:
        _delete(connection, image_id)
        raise VimFault(
            f'The file of image "{file.name}" is not the one that was onboarded. Onboard the package again.'
        )
    stored = _image(connection, image_id) or {}
    algorithm = text(stored, "os_hash_algo")
    # Glance before Rocky tells only an MD5, which says nothing that its own check did not.
    if algorithm in sent.digests and text(stored, "os_hash_value") != sent.digests[algorithm].hexdigest():
        _delete(connection, image_id)
        raise VimUnreachable(f'Glance stored image "{file.name}" with another content than we sent.')


def _delete(connection: "Connection", image_id: str) -> None:
    response = connection.image.delete(f"/images/{image_id}")
    if response.status_code != 404:
        answer(response)


class _Sent:
    """A file in pieces, and the digests of what was read of it."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self.digests = {name: hashlib.new(name) for name in ("sha256", "sha512")}

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._content.read(_CHUNK):
            for digest in self.digests.values():
                digest.update(chunk)
            yield chunk
