"""What an orchestrator does in one life of its process, on a real OpenStack; it may be killed in any of them.

Here and not in a test module: processes find these by their module's name.
"""

from collections.abc import AsyncIterator, Mapping

from fault_lab import Lab, is_at_rest, until, vim_id

from farsite.functions.packaging import build_sample
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.vim import Vim
from farsite.store import vims

VIM = "west"
WITHIN_S = 240.0


async def furnish(lab: Lab, auth_url: str, region: str, credentials: Mapping[str, str], image: str) -> str:
    """Register a project as a VIM and onboard the guest; the id of a guest that is not deployed yet."""
    now = lab.clock.now()
    vim = Vim(
        id=vim_id(VIM), name=VIM, type="openstack", site=VIM, project_id=DEFAULT_PROJECT, auth_url=auth_url,
        settings={"region": region, "health_timeout_s": 20, "heartbeat_timeout_s": 30},
        state_since=now, created_at=now,
    )  # fmt: skip
    await lab.database.run(vims.insert, vim, lab.farsite.keys.encrypt(vim.id, credentials))
    await lab.farsite.watch_vim(vim.id)
    catalogue = lab.farsite.catalogue
    package = await catalogue.create_package(DEFAULT_PROJECT)
    await catalogue.upload_package(
        DEFAULT_PROJECT, package.id, _whole(build_sample("guest")), image_map={"guest-image": image}
    )
    await lab.watched()
    return await lab.create_vnf("Farsite guest")


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def run(lab: Lab, verb: str, parameters: object, instance_id: str, operation_id: str) -> str:
    """Start an operation unless an earlier life has; the state in which it settles, with nothing asked."""
    await lab.begin(verb, instance_id, parameters, operation_id=operation_id)

    async def is_settled() -> bool:
        return is_at_rest(await lab.operation(operation_id))

    await until(is_settled, f"{verb} settles", bound_s=WITHIN_S - 20)
    operation = await lab.operation(operation_id)
    return f"{operation.state.value} {operation.error or ''}".strip()


async def recorded(lab: Lab, instance_id: str) -> set[str]:
    """Ids of the resources that the record of a VNF names."""
    vnf = await lab.vnf(instance_id)
    return {one.id for one in vnf.resources}
