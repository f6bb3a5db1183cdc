"""First contact with VNFCs: what each was given to be known by, and what it said on its console."""

from dataclasses import asdict

from fastapi import APIRouter

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here, Wire
from farsite.lifecycle import identities
from farsite.lifecycle.sizing import vnfc_named
from farsite.model.deployment import WantedVnfc
from farsite.model.errors import Conflict, NotFound
from farsite.model.vnf import VnfInstance
from farsite.store import instances
from farsite.vims.driver import ShowsConsoles, ability

router = APIRouter(prefix=ROOT, tags=["VNF instances"])


class IdentityView(Wire):
    """What a VNFC was given before its first boot. `host_key` and `login_key` are `TYPE BASE64`: its SSH host
    key, and the public key that we log in with; `certificate` is PEM and `pinned_certificate` the line that
    pins it. Empty: its boot data did not ask for it. Private keys are never shown."""

    vnfc: str
    host_key: str
    login_key: str
    certificate: str
    pinned_certificate: str


class ConsoleView(Wire):
    """The end of what a VNFC wrote on its console, 64 KiB at most."""

    vnfc: str
    text: str


@router.get("/vnfs/{vnf}/vnfcs/{vnfc}/identity")
def get_identity(vnf: str, vnfc: str, context: Here, caller: Asker) -> IdentityView:
    """What a VNFC is known by at first contact."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        one = _vnfc(found, vnfc)
        made = identities.of(context.devices.kept_for(connection, found.id), one.id)
    return IdentityView(vnfc=one.id, **asdict(made))


@router.get("/vnfs/{vnf}/vnfcs/{vnfc}/console")
async def get_console(vnf: str, vnfc: str, context: Here, caller: Asker) -> ConsoleView:
    """What a VNFC wrote on its console, as its VIM shows it: a guest tells its host keys there."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    one = _vnfc(found, vnfc)
    if found.vim_id is None:
        raise Conflict(f"VNF instance {found.id} is not instantiated.", about={"vnf": found.id})
    driver = await context.drivers.of(found.vim_id)
    text = await ability(driver, ShowsConsoles, "console").console(one.id)
    return ConsoleView(vnfc=one.id, text=text)


def _vnfc(found: VnfInstance, key: str) -> WantedVnfc:
    if found.deployment is None:
        raise Conflict(f"VNF instance {found.id} is not instantiated.", about={"vnf": found.id})
    vnfc = vnfc_named(found.id, key)
    for one in found.deployment.vnfcs:
        if one.id == vnfc:
            return one
    known = ", ".join(one.id for one in found.deployment.vnfcs)
    raise NotFound(f'VNF instance {found.id} has no VNFC "{key}". VNFCs: {known}.')
