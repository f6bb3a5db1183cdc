"""A package's own base HOT: its parameter `nfv` filled in from the deployment, nothing of it executed.

The tree is Tacker's: `VDU/<VDU or storage>/...` with flavour, image, zone and count, `CP/<connection
point>/...` with network, port and addresses. Two styles are known by the template itself:

* a VDU whose nested template is a resource of the main one ("standard", individual VNFCs) becomes one
  resource per VNFC, `VDU1-0`, `VDU1-1`, each with parameters of its own (`VDU1-0`, `VDU1_CP1-0`);
* everything else stays as it is ("default"): a scaling group takes its size from `desired_capacity`.

Where users give `nfv` themselves, their values win.

Source: OpenStack Tacker, user data scripts "default" and "standard" of its v2 API, by their effect.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, cast

from farsite.descriptors.archive import Limits
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.yaml_tree import parse
from farsite.model.deployment import Deployment, Port, WantedVnfc
from farsite.model.errors import VimFault
from farsite.vims.drivers.openstack import hot, stacks
from farsite.vims.drivers.openstack.hot import Chosen, Json
from farsite.vims.drivers.openstack.standing import SERVER, VOLUME, Server, Standing

if TYPE_CHECKING:
    from openstack.connection import Connection

_NFV = "nfv"
_GROUPS = ("OS::Heat::AutoScalingGroup", "OS::Heat::ResourceGroup", "OS::Heat::InstanceGroup")
_COUNTS = ("desired_capacity", "number_of_instance", "number_of_instances")
_FLAVOURS = ("computeFlavourId", "flavor", "flavour")
_IMAGES = ("vcImageId", "image")
_ZONES = ("locationConstraints", "zone", "availability_zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A base HOT ready for Heat. `weight` is how many stacks it becomes, itself included."""

    template: Json
    parameters: Json
    files: dict[str, str] = field(default_factory=dict[str, str])
    weight: int = 1


def read(wanted: Deployment, chosen: Chosen) -> Made:
    """The package's template and its parameters for a deployment.

    Raises:
        VimFault: the template is not readable, or wants a value that nobody gave; says which.
    """
    assert wanted.template is not None
    _check_substrate(wanted)
    main = _parsed("base HOT", wanted.template.main)
    files = {name: text for name, text in wanted.template.files.items() if name in _file_types(wanted)}
    by_vdu: dict[str, list[WantedVnfc]] = {}
    for vnfc in wanted.vnfcs:
        by_vdu.setdefault(vnfc.vdu, []).append(vnfc)
    resources = _map(main.get("resources"))
    servers: dict[str, str] = {}
    for vdu in _individual(resources, wanted):
        servers |= _replicate(resources, vdu, by_vdu.get(vdu, []))
    for vdu, vnfcs in by_vdu.items():
        if _map(resources.get(vdu)).get("type") == SERVER:
            if len(vnfcs) != 1:
                raise VimFault(
                    f'The base HOT has VDU "{vdu}" as one server, but {len(vnfcs)} are wanted. Only a nested '
                    f"template or a scaling group can be several."
                )
            servers[vnfcs[0].id] = vdu
    main["resources"] = resources
    stated = dict(wanted.template.parameters)
    patterns = {one.vdu: one for one in wanted.template.patterns if one.vdu not in by_vdu}
    ours = _tree(by_vdu, patterns, servers, chosen)
    tree = _merged(ours, _map(stated.pop(_NFV, None)))
    tree["farsite"] = hot.record(wanted, servers)
    _check_complete(main, tree)
    known = _map(main.get("parameters"))
    parameters = {key: value for key, value in stated.items() if key in known}
    if _NFV in known:
        parameters[_NFV] = tree
    else:
        main["parameters"] = {**known, "farsite": {"type": "json", "default": {}}}
        parameters["farsite"] = tree["farsite"]
    return Made(
        template=main, parameters=parameters, files=files, weight=_weight(resources, files, len(wanted.vnfcs))
    )


def mark(
    connection: "Connection", held: Standing, replaced: Sequence[Server], surplus: Sequence[Server]
) -> None:
    """Tell Heat which resources of a package's template it shall replace or drop with the next update.

    A replaced server takes its volumes along: they hold what the old one wrote. A scaling group that
    shrinks drops its failed members first, so a surplus member is marked as such.
    """
    for server in replaced:
        stacks.mark_unhealthy(connection, server.resource, "Replaced by Farsite")
        for volume in _volumes_of(held, server):
            stacks.mark_unhealthy(connection, volume, "Replaced by Farsite together with its server")
    for server in surplus:
        parents = server.resource.parents
        if server.vnfc_id in held.record.servers or len(parents) < 2:
            continue
        for one in held.resources:
            if one.name == parents[-1] and one.parents == parents[:-1]:
                stacks.mark_unhealthy(connection, one, "Removed by Farsite: scaled in")


def _volumes_of(held: Standing, server: Server) -> list[stacks.StackResource]:
    """Volumes attached to a server, and when it is gone already, those of its own nested stack."""
    attached, own = set(server.volume_ids), server.resource
    return [
        one
        for one in held.resources
        if one.type == VOLUME and (one.physical_id in attached or (own.parents and one.path == own.path))
    ]


# -- the template


def _parsed(name: str, text: str) -> Json:
    try:
        tree = parse(text.encode(), name, Limits(), FaultLog())
    except ArchiveRefused as refused:
        raise VimFault(f"The package's template cannot be read: {refused.detail}") from refused
    if not tree.is_map:
        raise VimFault(f"The package's template ({name}) is {tree.kind}; a HOT is a map.")
    return cast(Json, tree.plain())


def _map(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _file_types(wanted: Deployment) -> set[str]:
    """Templates that the main one refers to, directly or by way of others."""
    assert wanted.template is not None
    found: set[str] = set()
    waiting = [wanted.template.main]
    while waiting:
        for used in _types(_parsed("a nested template", waiting.pop())):
            if used in wanted.template.files and used not in found:
                found.add(used)
                waiting.append(wanted.template.files[used])
    return found


def _types(value: object) -> Iterator[str]:
    """Everything that is called a type anywhere, inside scaling groups as well."""
    for one in _walk(value):
        kind = one.get("type")
        if isinstance(kind, str):
            yield kind


def _walk(value: object) -> Iterator[Json]:
    """Every map in a tree."""
    if isinstance(value, dict):
        yield cast(Json, value)
        for inner in cast(Json, value).values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _walk(inner)


def _individual(resources: Mapping[str, object], wanted: Deployment) -> list[str]:
    """VDUs that are a nested template each and that nothing else in the template refers to."""
    assert wanted.template is not None
    files = wanted.template.files
    vdus = dict.fromkeys(vnfc.vdu for vnfc in wanted.vnfcs)
    # A VDU scaled to nothing is still in the template and must go from it.
    names = [*vdus, *(name for name in resources if name not in vdus and _is_vdu(name, resources[name]))]
    nested = [name for name in names if _map(resources.get(name)).get("type") in files]
    return [name for name in nested if not _is_referred(resources, name)]


def _is_vdu(name: str, resource: object) -> bool:
    return any(path[:2] == ("VDU", name) for path in _paths(resource))


def _is_referred(resources: Mapping[str, object], name: str) -> bool:
    for other, resource in resources.items():
        if other == name:
            continue
        for one in _walk(resource):
            referred = one.get("get_resource"), *_list(one.get("get_attr"))[:1], *_list(one.get("depends_on"))
            if name in referred or one.get("depends_on") == name:
                return True
    return False


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _replicate(resources: Json, vdu: str, vnfcs: Sequence[WantedVnfc]) -> dict[str, str]:
    """Put one resource per VNFC in the place of a VDU's; VNFC id -> its resource."""
    pattern = resources.pop(vdu)
    servers: dict[str, str] = {}
    for vnfc in vnfcs:
        suffix = _suffix(vnfc)
        own = {vdu, *(volume.name for volume in vnfc.volumes)}
        cps = {port.name for port in vnfc.ports}
        renamed = {("VDU", name): f"{name}-{suffix}" for name in own}
        renamed |= {("CP", name): f"{name}-{suffix}" for name in cps}
        servers[vnfc.id] = f"{vdu}-{suffix}"
        resources[servers[vnfc.id]] = _with_paths(copy.deepcopy(pattern), renamed)
    return servers


def _suffix(vnfc: WantedVnfc) -> str:
    """What tells the VNFCs of one VDU apart: the number at the end of the id, else the whole id."""
    number = vnfc.id.rpartition("-")[2]
    return number if number.isdecimal() else hot.label(vnfc.id, "")


def _with_paths(value: object, renamed: Mapping[tuple[str, str], str]) -> object:
    """The tree with the second part of `nfv` paths renamed."""
    for one in _walk(value):
        path = _list(one.get("get_param"))
        if len(path) > 2 and path[0] == _NFV and (new := renamed.get((str(path[1]), str(path[2])))):
            one["get_param"] = [path[0], path[1], new, *path[3:]]
    return value


def _check_substrate(wanted: Deployment) -> None:
    """See that nothing is asked of networks and volumes, which the template makes as it says itself."""
    places = [f"virtual link {one.name}" for one in wanted.networks if one.physical_network]
    places += [f"storage {one.name}" for vnfc in wanted.vnfcs for one in vnfc.volumes if one.back_end]
    if places:
        raise VimFault(
            f"The package's base HOT makes its networks and volumes itself, so nothing of it can be kept "
            f"apart by physical network or storage back end ({', '.join(dict.fromkeys(places))}). Use a "
            f"flavour without a base HOT, or a rule that is best effort."
        )


# -- the parameters


def _tree(
    by_vdu: Mapping[str, Sequence[WantedVnfc]],
    patterns: Mapping[str, WantedVnfc],
    servers: Mapping[str, str],
    chosen: Chosen,
) -> Json:
    """The `nfv` tree: of each VDU as a whole, and of each VNFC that is a resource of its own.

    A VDU without VNFCs is there with what one would be: its template is read even for none.
    """
    vdus: Json = {}
    cps: Json = {}
    for vdu, pattern in patterns.items():
        _add(vdus, cps, pattern, "", vdu, chosen)
        _map(vdus[vdu]).update(dict.fromkeys(_COUNTS, 0))
    for vdu, vnfcs in by_vdu.items():
        if len({one.rack for one in vnfcs if servers.get(one.id, vdu) == vdu}) > 1:
            raise VimFault(
                f'The base HOT makes VDU "{vdu}" a scaling group, whose members have one flavour, so they '
                f"cannot be held in different racks. Use a nested template per VNFC, or no anti-affinity of "
                f"scope zone_group."
            )
        _add(vdus, cps, vnfcs[0], "", vdu, chosen)
        _map(vdus[vdu]).update(dict.fromkeys(_COUNTS, len(vnfcs)))
        for vnfc in vnfcs:
            if servers.get(vnfc.id, vdu) != vdu:
                _add(vdus, cps, vnfc, f"-{_suffix(vnfc)}", vdu, chosen)
    return {"VDU": vdus, "CP": cps}


def _add(vdus: Json, cps: Json, vnfc: WantedVnfc, suffix: str, vdu: str, chosen: Chosen) -> None:
    flavour = chosen.flavours.get(vnfc.id) or vnfc.flavour
    image = chosen.images.get(vnfc.image, vnfc.image)
    vdus[f"{vdu}{suffix}"] = {
        **dict.fromkeys(_FLAVOURS, flavour),
        **dict.fromkeys(_IMAGES, image),
        **dict.fromkeys(_ZONES, vnfc.zone),
        "name": f"{vdu}{suffix}",
    }
    for volume in vnfc.volumes:
        vdus[f"{volume.name}{suffix}"] = dict.fromkeys(_IMAGES, chosen.images.get(volume.image, volume.image))
    for port in vnfc.ports:
        cps[f"{port.name}{suffix}"] = _cp(port, chosen)


def _cp(port: Port, chosen: Chosen) -> Json:
    network = chosen.networks.get(port.network_id, port.network_id)
    addresses = hot.fixed_ips(port)
    stated: Json = {"network": network, "network_id": network} if network else {}
    if port.port_id:
        stated |= {"port": port.port_id, "port_id": port.port_id}
    if addresses:
        stated["fixed_ips"] = addresses
        stated["subnets"] = [
            {
                **({"fixed_ip_addresses": [one["ip_address"]]} if "ip_address" in one else {}),
                **({"subnet_id": one["subnet"]} if "subnet" in one else {}),
            }
            for one in addresses
        ]
    return stated


def _merged(ours: Json, theirs: Mapping[str, object]) -> Json:
    """Two trees as one; what users state wins over what we know."""
    found = dict(ours)
    for key, value in theirs.items():
        known = found.get(key)
        if isinstance(value, dict):
            value = _merged(_map(known), _map(cast(object, value)))
        found[key] = value
    return found


def _check_complete(main: Json, tree: Json) -> None:
    """Name every value that the template takes from `nfv` and nobody gave, before Heat says it of one."""
    missing = sorted(
        {"/".join(map(str, path)) for path in _paths(main.get("resources")) if not _has(tree, path)}
    )
    if missing:
        raise VimFault(
            f"The package's base HOT takes values that nobody gave: {', '.join(missing[:10])}. Bind the "
            f"connection points (subnets and addresses included), or give them as additional parameters "
            f"below nfv."
        )


def _paths(value: object) -> Iterator[tuple[object, ...]]:
    """Paths below `nfv` that a template reads."""
    for one in _walk(value):
        path = _list(one.get("get_param"))
        if len(path) > 1 and path[0] == _NFV:
            yield tuple(path[1:])


def _has(tree: object, path: Sequence[object]) -> bool:
    def down(value: object, key: object) -> object:
        if isinstance(value, dict):
            return cast(Json, value).get(str(key))
        entries = _list(value)
        return entries[key] if isinstance(key, int) and 0 <= key < len(entries) else None

    step: Callable[[object, object], object] = down
    return reduce(step, path, tree) is not None


def _weight(resources: Mapping[str, object], files: Mapping[str, str], vnfcs: int) -> int:
    """Stacks that are under way at once: the main one, each group, and each nested one."""
    groups = sum(_map(one).get("type") in _GROUPS for one in resources.values())
    nested = sum(_map(one).get("type") in files for one in resources.values())
    return 1 + groups + max(nested, vnfcs if groups else nested)
