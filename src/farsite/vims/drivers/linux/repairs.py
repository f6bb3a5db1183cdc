"""Reboots and fences of VDUs, made of what the site's agent does anyway: a VDU is stated to be stopped, and
then to run. Its namespace, ports and addresses stay, and its chains are steered away meanwhile.

Whether a reboot was done already is read from the age of the function's process: the agent runs on this host.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from farsite.model import clock
from farsite.model.deployment import Deployment, DeploymentStatus, Resource, ResourceKind
from farsite.model.errors import NotSupported, VimFault, VimUnreachable
from farsite.model.healing import Fence, FenceResult, Rung
from farsite.model.ids import VnfcId

FEATURES = frozenset({"fence", "repair:reboot_soft", "repair:reboot_hard"})
GRACE_S = 5.0
"""What a soft reboot gives the function to end by itself."""
_STOPS_WITHIN_S = 20.0
_PAUSE_S = 0.05

Deploy = Callable[[Deployment], Awaitable[None]]
Watch = Callable[[Sequence[str]], Awaitable[Sequence[DeploymentStatus]]]


async def reboot(
    deploy: Deploy, watch: Watch, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, since: datetime
) -> None:
    """Stop the function and start it again; see `Repairs.repair`."""
    if kind not in (Rung.REBOOT_SOFT, Rung.REBOOT_HARD):
        raise NotSupported(f"A Linux site does no {kind}: a VDU has no disk of its own. Use respawn.")
    held = await _held(watch, wanted, vnfc_id)
    if held is None or not held.is_alive:
        raise VimFault(f"VNFC {vnfc_id} is dead and its namespaces went with it, so it can only be replaced.")
    asked = next(one.incarnation for one in wanted.vnfcs if one.id == vnfc_id)
    if held.incarnation != asked:
        raise VimFault(f"VNFC {vnfc_id} is of incarnation {held.incarnation}, not {asked} as asked.")
    if not held.is_stopped:
        began = _began(held)
        if began is not None and began >= since:
            return
        await _stop(deploy, watch, wanted, vnfc_id, grace_s=GRACE_S if kind is Rung.REBOOT_SOFT else 0.0)
    await deploy(wanted)


async def fence(deploy: Deploy, watch: Watch, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
    """End all processes of a VDU; see `Fences.fence`."""
    held = await _held(watch, wanted, vnfc_id)
    if held is None or not held.is_alive:
        return Fence(result=FenceResult.CONFIRMED, how="its process is dead, and its namespaces with it")
    if not held.is_stopped:
        await _stop(deploy, watch, wanted, vnfc_id, grace_s=0.0)
    return Fence(result=FenceResult.CONFIRMED, how="all its processes were ended")


async def _stop(deploy: Deploy, watch: Watch, wanted: Deployment, vnfc_id: VnfcId, *, grace_s: float) -> None:
    # Others that stand stopped stay so: they may be fenced too.
    (status,) = await watch([wanted.name])
    stopped = {one.vnfc_id for one in status.resources if one.is_alive and one.is_stopped}
    vnfcs = tuple(
        replace(one, is_stopped=True, stop_grace_s=grace_s if one.id == vnfc_id else 0.0)
        if one.id == vnfc_id or one.id in stopped
        else one
        for one in wanted.vnfcs
    )
    await deploy(replace(wanted, vnfcs=vnfcs))
    ends = time.monotonic() + grace_s + _STOPS_WITHIN_S
    while time.monotonic() < ends:
        held = await _held(watch, wanted, vnfc_id)
        if held is None or held.is_stopped or not held.is_alive:
            return
        await asyncio.sleep(_PAUSE_S)
    raise VimUnreachable(f"VNFC {vnfc_id} did not stop within {grace_s + _STOPS_WITHIN_S:g} s.")


async def _held(watch: Watch, wanted: Deployment, vnfc_id: VnfcId) -> Resource | None:
    (status,) = await watch([wanted.name])
    return next(
        (one for one in status.resources if one.vnfc_id == vnfc_id and one.kind is ResourceKind.COMPUTE), None
    )


def _began(held: Resource) -> datetime | None:
    """When the process of a VDU began; None when it has none any more."""
    try:
        # Field 22, counted after the name, which may hold anything, parentheses too.
        fields = Path(f"/proc/{held.details['pid']}/stat").read_text().rpartition(")")[2].split()
    except (OSError, KeyError):
        return None
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return clock.now() - timedelta(seconds=age_s)
