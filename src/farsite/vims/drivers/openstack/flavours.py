"""Flavours: the one that a VNFC names, else one of its size and exactly its features, else a new one.

Descriptors count in decimal units, flavours in binary ones, and authors mean the same by both: a flavour
that is larger by no more than that difference is of the same size.

A new one needs the rights of an administrator; without them the refusal names the nearest flavours. Its
name is derived from its specification, so two deployments that want the same at once make one. Flavours
that we made stay: other deployments use them, and Nova has no notion of who still needs one.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from farsite.model.deployment import WantedVnfc
from farsite.model.errors import VimFault
from farsite.vims.drivers.openstack import racks
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.stacks import answer, entries, get, inner, text

if TYPE_CHECKING:
    from openstack.connection import Connection

_KEPT_S = 60.0
"""How long a list of flavours is believed; one that vanished meanwhile is found out by the refusal."""
_DECIMAL = 1024**3 / 1000**3
"""A GB of a descriptor is so much less than a GiB of a flavour."""
_EXTRA_SPECS_SINCE = "2.61"
"""Compute microversion that lists extra specs together with flavours; older ones need a request each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """A flavour of a VIM, or one that a VNFC needs (then without id). Memory is MiB, disk GiB."""

    id: str = ""
    name: str = ""
    vcpus: int
    memory_mib: int
    disk_gib: int
    extra_specs: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def specification(self) -> tuple[int, int, int, tuple[tuple[str, str], ...]]:
        """What makes two flavours the same."""
        return self.vcpus, self.memory_mib, self.disk_gib, tuple(sorted(self.extra_specs.items()))

    def __str__(self) -> str:
        size = f"{self.vcpus} vCPU, {self.memory_mib} MiB, {self.disk_gib} GiB"
        more = "".join(f", {key}={value}" for key, value in sorted(self.extra_specs.items()))
        return f"{self.name or 'a flavour'} ({size}{more})"


def needed(vnfc: WantedVnfc) -> Flavour:
    """The flavour a VNFC needs. A server that boots from an image has a disk of at least 1 GiB: Nova lets
    only administrators go without."""
    boots_from_volume = any(volume.is_boot for volume in vnfc.volumes)
    return Flavour(
        vcpus=vnfc.vcpus,
        memory_mib=math.ceil(vnfc.memory_mib),
        disk_gib=max(math.ceil(vnfc.disk_gib), 0 if boots_from_volume else 1),
        extra_specs=vnfc.extra_specs,
    )


def derived_name(wanted: Flavour) -> str:
    """Name of a flavour that we make: its size for people, its features as a digest."""
    size = f"farsite-{wanted.vcpus}c-{wanted.memory_mib}m-{wanted.disk_gib}g"
    if not wanted.extra_specs:
        return size
    return f"{size}-{hashlib.sha256(json.dumps(wanted.specification).encode()).hexdigest()[:8]}"


def match(wanted: Flavour, offered: Sequence[Flavour]) -> Flavour | None:
    """The flavour of this size and exactly these features; of several the smallest, the first by name."""
    fitting = [
        one
        for one in offered
        if one.vcpus == wanted.vcpus
        and dict(one.extra_specs) == dict(wanted.extra_specs)
        and _is_about(one.memory_mib, wanted.memory_mib)
        and _is_about(one.disk_gib, wanted.disk_gib)
    ]
    return min(fitting, key=lambda one: (one.memory_mib, one.disk_gib, one.name, one.id), default=None)


def _is_about(has: int, wants: int) -> bool:
    return wants <= has <= wants * _DECIMAL


def nearest(wanted: Flavour, offered: Sequence[Flavour], count: int = 3) -> list[Flavour]:
    """The flavours that are least far away: features first, then the ratio of sizes."""

    def distance(one: Flavour) -> tuple[int, int, float]:
        wants, has = set(wanted.extra_specs.items()), set(one.extra_specs.items())
        sizes = (
            (one.vcpus, wanted.vcpus),
            (one.memory_mib, wanted.memory_mib),
            (one.disk_gib, wanted.disk_gib),
        )
        # A feature that is missing weighs more than one that nobody asked for.
        return len(wants - has), len(has - wants), sum(abs(math.log((a + 1) / (b + 1))) for a, b in sizes)

    return sorted(offered, key=lambda one: (distance(one), one.name))[:count]


class Flavours:
    """The flavours of one VIM, per region."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._known: dict[str, tuple[float, list[Flavour]]] = {}

    async def choose(self, region: str, vnfcs: Sequence[WantedVnfc]) -> dict[str, str]:
        """The flavour of each VNFC, by its id; found, or made where the VIM lets us.

        Raises:
            VimFault: a VNFC needs a flavour that is not there and that we may not make.
        """
        return {vnfc.id: await self._choose(region, vnfc) for vnfc in vnfcs}

    async def _choose(self, region: str, vnfc: WantedVnfc) -> str:
        if vnfc.rack:
            return await self._of_size(region, await self._in_rack(region, vnfc), vnfc)
        if vnfc.flavour:
            return vnfc.flavour
        # What the descriptor demands beyond a name must hold, whatever the name promises.
        if vnfc.flavour_hints and not vnfc.extra_specs:
            names = {one.name: one.id for one in await self._list(region)}
            hinted = [names[hint] for hint in vnfc.flavour_hints if hint in names]
            if hinted:
                return hinted[0]
        return await self._of_size(region, needed(vnfc), vnfc)

    async def _in_rack(self, region: str, vnfc: WantedVnfc) -> Flavour:
        """What a VNFC needs that is held in a rack: its own flavour, or one like that which it names, and the
        rack."""
        hints = () if vnfc.extra_specs else vnfc.flavour_hints
        names = {vnfc.flavour} if vnfc.flavour else set(hints)
        named = [one for one in await self._list(region) if {one.id, one.name} & names] if names else []
        if vnfc.flavour and not named:
            raise VimFault(f'VIM "{self._cloud.name}" has no flavour "{vnfc.flavour}".')
        base = named[0] if named else needed(vnfc)
        spec = racks.extra_spec(vnfc.rack, racks.key_of(self._cloud.registration.settings))
        return replace(base, id="", name="", extra_specs={**base.extra_specs, **spec})

    def forget(self, region: str) -> None:
        """Ask the VIM again next time: what we believed was wrong."""
        self._known.pop(region, None)

    async def _of_size(self, region: str, wanted: Flavour, vnfc: WantedVnfc) -> str:
        offered = await self._list(region)
        if found := match(wanted, offered):
            return found.id
        self.forget(region)
        offered = await self._list(region)
        if found := match(wanted, offered):
            return found.id
        made = await self._cloud.call(
            region, lambda connection: _make(connection, wanted), what="make a flavour"
        )
        self.forget(region)
        if made:
            return made
        near = "; ".join(map(str, nearest(wanted, offered))) or "none at all"
        raise VimFault(
            f'VIM "{self._cloud.name}" has no flavour for VDU "{vnfc.vdu}": it needs {wanted}, and our '
            f"rights do not allow making one. Nearest: {near}. Ask the VIM's operator for it, or register "
            f"the VIM with rights to make flavours."
        )

    async def _list(self, region: str) -> list[Flavour]:
        at, offered = self._known.get(region, (-math.inf, []))
        if time.monotonic() - at > _KEPT_S:
            offered = await self._cloud.call(region, _offered, what="list flavours")
            self._known[region] = time.monotonic(), offered
        return offered


def _offered(connection: "Connection") -> list[Flavour]:
    from openstack.utils import maximum_supported_microversion

    usable = maximum_supported_microversion(connection.compute, _EXTRA_SPECS_SINCE)
    version = usable if usable == _EXTRA_SPECS_SINCE else None
    found: list[Flavour] = []
    marker = ""
    while True:
        query = {"limit": "500", **({"marker": marker} if marker else {})}
        page = entries(get(connection.compute, "/flavors/detail", query, microversion=version), "flavors")
        found += [_flavour(connection, one, has_extra_specs=bool(version)) for one in page]
        if len(page) < 500:
            return found
        marker = text(page[-1], "id")


def _flavour(connection: "Connection", document: Json, *, has_extra_specs: bool) -> Flavour:
    if not has_extra_specs:
        document = {**document, **get(connection.compute, f"/flavors/{document['id']}/os-extra_specs")}
    extra_specs = {key: str(value) for key, value in inner(document, "extra_specs").items()}
    return Flavour(
        id=text(document, "id"),
        name=text(document, "name"),
        vcpus=int(text(document, "vcpus") or 0),
        memory_mib=int(text(document, "ram") or 0),
        disk_gib=int(text(document, "disk") or 0),
        extra_specs=extra_specs,
    )


def _make(connection: "Connection", wanted: Flavour) -> str:
    """Make a flavour; its id, empty when our rights do not allow it.

    Made by somebody else at the same moment, or half made by us before: completed and taken.
    """
    name = derived_name(wanted)
    body = {
        "name": name, "vcpus": wanted.vcpus, "ram": wanted.memory_mib, "disk": wanted.disk_gib,
        "os-flavor-access:is_public": True,
    }  # fmt: skip
    response = connection.compute.post("/flavors", json={"flavor": body})
    if response.status_code == 403:
        return ""
    if response.status_code == 409:
        page = entries(get(connection.compute, "/flavors/detail"), "flavors")
        flavour_id = next((text(one, "id") for one in page if one.get("name") == name), "")
    else:
        flavour_id = text(inner(answer(response), "flavor"), "id")
    if flavour_id and wanted.extra_specs:
        answer(
            connection.compute.post(
                f"/flavors/{flavour_id}/os-extra_specs", json={"extra_specs": dict(wanted.extra_specs)}
            )
        )
    return flavour_id
