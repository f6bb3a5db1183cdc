"""Day 0: what a VNFC boots with.

Its boot data is filled in with names, addresses and values when it is placed, and that is recorded as its
initial state. Its zone, which healing may change, is put in each time when the VIM is asked for it, and so
are secrets and keys, which are recorded nowhere but, encrypted, among the secrets of the VNF.
"""

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime

from farsite.lifecycle import binding, identities, sizing
from farsite.lifecycle.world import Op, World
from farsite.model import boot_template
from farsite.model.access import Role
from farsite.model.boot_template import Part
from farsite.model.deployment import Deployment, Port, WantedVnfc
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VimId
from farsite.model.vim import Vim
from farsite.model.vnf import VnfInstance
from farsite.model.vnfd import DeploymentFlavour, Vdu
from farsite.store import managements, tokens, vims
from farsite.store.database import Connection

_BEGINS = "${{"


def placed(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    vnfcs: tuple[WantedVnfc, ...],
    *,
    flavour: DeploymentFlavour,
    vim_id: VimId,
    region: str,
) -> tuple[WantedVnfc, ...]:
    """The VNFCs with all of their boot data filled in but zones and secrets, for which keys are made where
    they ask.

    Raises:
        Invalid: something that the boot data names is not there; says what, and how to give it.
    """
    if not any(_has_parts(one) for one in vnfcs):
        return vnfcs
    vim = vims.get(connection, vnf.project_id, vim_id)
    _keep_secrets(connection, op, vnf, vnfcs)

    def values_of(one: WantedVnfc) -> _Placed:
        url = op.world.settings.function_api_url
        return _Placed(vnf, one, flavour.vdus[one.vdu], vim, region=region, url=url)

    return tuple(
        _filled(one, values_of(one).value_of, is_last=False) if _has_parts(one) else one for one in vnfcs
    )


def moved(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    vnfcs: tuple[WantedVnfc, ...],
    *,
    flavour: DeploymentFlavour,
    vim_id: VimId,
    region: str,
) -> tuple[WantedVnfc, ...]:
    """The VNFCs with boot data filled in anew from the descriptor, since their ports are others now: who
    is made anew boots with what is true then. What stands is not touched."""
    sources = tuple(sizing.booting_as_described(vnf, flavour.vdus[one.vdu], one) for one in vnfcs)
    if not any(_has_parts(one) for one in sources):
        return vnfcs
    return placed(connection, op, vnf, sources, flavour=flavour, vim_id=vim_id, region=region)


async def for_the_vim(world: World, wanted: Deployment) -> Deployment:
    """The deployment as a driver gets it, with zones, secrets and keys in its boot data. Nothing of it is
    recorded.

    Raises:
        Conflict: a secret was taken away since the VNFC was placed.
    """
    if not any(_has_parts(one) for one in wanted.vnfcs):
        return wanted
    kept = await world.database.run(world.devices.kept_for, wanted.vnf_id)

    def with_secrets(vnfc: WantedVnfc) -> WantedVnfc:
        def value_of(part: Part) -> str:
            if part.name == boot_template.ZONE:
                return vnfc.zone
            value = (
                kept.get(part.rest)
                if part.root == "secret"
                else identities.value_of(kept, vnfc.id, part.name)
            )
            if value is None:
                raise Conflict(
                    f'The boot data of VNFC {vnfc.id} needs "{part.name}", which VNF instance '
                    f"{wanted.vnf_id} has not any more. {_remedy(wanted.vnf_id, part)}",
                    about={"vnf": wanted.vnf_id},
                )
            return value

        if not _has_parts(vnfc):
            return vnfc
        has_secrets = any(part.is_secret for part in _parts_of(vnfc))
        return replace(_filled(vnfc, value_of, is_last=True), holds_secrets=has_secrets)

    return replace(wanted, vnfcs=tuple(with_secrets(one) for one in wanted.vnfcs))


def secrets_needed(deployment: Deployment | None) -> frozenset[str]:
    """Names of secrets that the recorded boot data refers to, and of what we made ourselves for it."""
    vnfcs = deployment.vnfcs if deployment else ()
    return frozenset(
        part.rest if part.root == "secret" else f"{identities.GENERATED}{part.name}"
        for one in vnfcs
        if _has_parts(one)
        for part in _parts_of(one)
        if part.is_secret
    )


class _Placed:
    """What one VNFC's variable parts stand for, once it is placed."""

    def __init__(
        self, vnf: VnfInstance, vnfc: WantedVnfc, vdu: Vdu, vim: Vim, *, region: str, url: str
    ) -> None:
        self._vnf, self._vnfc, self._vdu = vnf, vnfc, vdu
        self._fixed: Mapping[str, str] = {
            "vnf.id": vnf.id,
            "vnf.name": vnf.name or vnf.id,
            "vnf.provider": vnf.provider,
            "vnf.product": vnf.product_name,
            "vnf.software_version": vnf.software_version,
            "vnf.vnfd_id": vnf.vnfd_id,
            "vnfc.id": vnfc.id,
            "vnfc.vdu": vnfc.vdu,
            "vnfc.index": str(binding.position_of(vnfc.id)),
            "vim.name": vim.name,
            "vim.site": vim.site,
            "vim.region": region,
            "farsite.url": url,
        }

    def value_of(self, part: Part) -> str | None:
        """None: it is filled in for the VIM."""
        if part.is_late:
            return None
        match part.root:
            case "data":
                return self._data(part)
            case "port":
                return self._port(part)
            case "farsite" if not self._fixed[part.name]:
                raise self._lacks(part, "Start Farsite with FARSITE_FUNCTION_API_URL, as functions reach it.")
            case _ if part.name in self._fixed:
                return self._fixed[part.name]
            case _:
                key = part.rest.removeprefix("metadata.")
                if key not in self._vnf.metadata:
                    raise self._lacks(part, f"Give the VNF the metadata {key} when it is created.")
                return self._vnf.metadata[key]

    def _data(self, part: Part) -> str:
        for values in (self._vnf.configuration, self._vdu.boot_values, self._vdu.boot_pairs):
            if part.rest in values:
                value = values[part.rest]
                return value if isinstance(value, str) else json.dumps(value)
        raise self._lacks(part, f"Give {part.rest} in the configuration of the instantiation.")

    def _port(self, part: Part) -> str:
        cp, _, what = part.rest.rpartition(".")
        port = next((one for one in self._vnfc.ports if one.name == cp), Port(name=cp))
        address, _, length = next(iter(port.addresses), "").partition("/")
        value = {
            "mac": port.mac,
            "address": address,
            "prefix_length": length,
            "addresses": ",".join(port.addresses),
        }[what]
        if not value:
            raise self._lacks(
                part,
                f"Its VIM chooses it, so it is known only later: fix it for {cp}, or state the prefix of its "
                f"network.",
            )
        return value

    def _lacks(self, part: Part, remedy: str) -> Invalid:
        return Invalid(
            f'The boot data of VDU "{self._vdu.id}" (line {part.line}) needs "{part.name}", which VNFC '
            f"{self._vnfc.id} has not. {remedy}"
        )


def _keep_secrets(connection: Connection, op: Op, vnf: VnfInstance, vnfcs: tuple[WantedVnfc, ...]) -> None:
    devices = op.world.devices
    wanted = {one.id: [part for part in _parts_of(one) if part.is_secret] for one in vnfcs}
    if not any(wanted.values()):
        return
    managements.hold_secrets(connection, vnf.id)
    kept = devices.kept_for(connection, vnf.id)
    for vnfc in vnfcs:
        for part in wanted[vnfc.id]:
            if part.root == "secret" and part.rest not in kept:
                raise Invalid(
                    f'The boot data of VDU "{vnfc.vdu}" (line {part.line}) needs the secret "{part.rest}", '
                    f"which VNF instance {vnf.id} has not. {_remedy(vnf.id, part)}"
                )
    is_new = any(
        part.name == boot_template.CREDENTIAL for parts in wanted.values() for part in parts
    ) and _has_credential_made(connection, vnf, kept, op.clock.now())
    is_more = [identities.make(kept, vnfc.id, wanted[vnfc.id], op.clock.now()) for vnfc in vnfcs]
    if is_new or any(is_more):
        managements.save_secrets(connection, vnf.project_id, vnf.id, devices.keys.encrypt(vnf.id, kept))


def _has_credential_made(
    connection: Connection, vnf: VnfInstance, kept: MutableMapping[str, str], now: datetime
) -> bool:
    """Add the VNF's credential to what is kept, unless one that works is there; whether it was added."""
    name = f"first-boot-{vnf.id}"
    if identities.CREDENTIAL in kept and name in dict(tokens.of_vnf(connection, vnf.id)):
        return False
    kept[identities.CREDENTIAL] = tokens.create(
        connection, name=name, project_id=vnf.project_id, role=Role.VNF, at=now, vnf_id=vnf.id
    )
    return True


def _remedy(vnf_id: str, part: Part) -> str:
    if part.root == "secret":
        return f"Set it, then ask again: farsite vnf config secret set {vnf_id} {part.rest}."
    return "Its keys are gone: terminate the VNF and instantiate it anew."


def _has_parts(vnfc: WantedVnfc) -> bool:
    return (
        _BEGINS in vnfc.user_data
        or any(_BEGINS in value for value in vnfc.metadata.values())
        or any(_BEGINS in text for text in boot_template.texts_of(vnfc.configuration))
    )


def _parts_of(vnfc: WantedVnfc) -> list[Part]:
    texts = [vnfc.user_data, *boot_template.texts_of(vnfc.configuration)]
    return [part for text in texts for part in boot_template.parts(text)]


def _filled(vnfc: WantedVnfc, value_of: Callable[[Part], str | None], *, is_last: bool) -> WantedVnfc:
    def open_value(part: Part) -> str | None:
        if part.is_secret:
            raise Invalid(
                f'The key-value pairs of the boot data of VDU "{vnfc.vdu}" name "{part.name}". A VIM shows '
                f"them to whoever may see the server: put secrets into its content."
            )
        return value_of(part)

    return replace(
        vnfc,
        user_data=boot_template.fill(vnfc.user_data, value_of, is_last=is_last),
        configuration=boot_template.filled_document(vnfc.configuration, value_of, is_last=is_last),
        metadata={
            key: boot_template.fill(value, open_value, is_last=is_last)
            for key, value in vnfc.metadata.items()
        },
    )
