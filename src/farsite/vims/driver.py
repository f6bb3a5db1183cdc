"""The VIM seam: what every driver offers, and the optional abilities as separate Protocols.

A driver object serves one registered VIM. Its methods are async and may be called concurrently.
Two rules carry everything else:

* **Declare, do not command.** `deploy`, `ensure_network` and `apply_chain` state what shall be;
  repeating them changes nothing. Deleting what is absent is success.
* **Three outcomes.** A refusal is `VimFault` (with the VIM's own words), silence or a broken answer is
  `VimUnreachable` (we do not know what happened; the caller looks and repeats), else it is done.

A driver announces its optional abilities in `Capabilities.features`; `ability()` narrows.
"""

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from farsite.model.control_plane import ControlElement, Sight
from farsite.model.deployment import (
    Chain,
    Deployment,
    DeploymentStatus,
    HopCounters,
    NetworkSpec,
    Notice,
    Resource,
    VimEvent,
)
from farsite.model.errors import NotSupported, VimFault
from farsite.model.healing import Fence, Rung
from farsite.model.ids import VimId, VnfcId
from farsite.model.provider_network import ProviderNetwork
from farsite.model.vim import Capabilities, Vim, VimHealth, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class VimConnection:
    """What a driver is made from: the registration plus decrypted credentials, which it must not keep
    in anything that is printed, logged or stored."""

    vim_id: VimId
    name: str
    site: str
    auth_url: str = ""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    run_dir: Path
    """Directory for sockets, logs and state that must outlive this process."""


FOR_HEARTBEATS = frozenset(
    {"heartbeat_period_s", "heartbeat_timeout_s", "heartbeat_misses", "heartbeat_suspicion"}
)
"""Settings of a VIM that say how it is checked; they are ours and no driver sees them."""


def connection_to(vim: Vim, credentials: Mapping[str, str], run_dir: Path) -> VimConnection:
    """What the driver of a registered VIM is made from."""
    return VimConnection(
        vim_id=vim.id,
        name=vim.name,
        site=vim.site,
        auth_url=vim.auth_url,
        settings={key: value for key, value in vim.settings.items() if key not in FOR_HEARTBEATS},
        credentials=credentials,
        run_dir=run_dir,
    )


class VimDriver(Protocol):
    """The core every driver has."""

    def __init__(self, connection: VimConnection) -> None: ...

    async def validate(self) -> None:
        """Check credentials and reachability once, at registration.

        Raises:
            VimFault: the VIM refuses us, with its words.
            VimUnreachable: it does not answer.
        """
        ...

    async def capabilities(self) -> Capabilities:
        """What this VIM can do, found by trying; may be cached by the driver."""
        ...

    async def health(self) -> VimHealth:
        """Check every service once. Never raises for a service that is down: it reports it."""
        ...

    async def zones(self) -> Sequence[Zone]:
        """Regions and availability zones with capacity and usage as the VIM counts them now."""
        ...

    async def deploy(self, wanted: Deployment) -> None:
        """Make the deployment as wanted; returns once accepted, `watch` tells when it is ready.

        Idempotent by `wanted.name` and each VNFC's id and incarnation.
        """
        ...

    async def watch(self, names: Sequence[str]) -> Sequence[DeploymentStatus]:
        """State of many deployments in one request, in the order asked; unknown ones are ABSENT."""
        ...

    async def undeploy(self, name: str) -> None:
        """Remove the deployment and all it holds; returns once accepted. Absent is success."""
        ...

    async def find(self, owner: str) -> Sequence[Resource]:
        """Everything on the VIM tagged with this owner (VNF instance, NS instance or chain id), dead
        remains included. An empty owner finds everything of ours on this VIM."""
        ...

    async def reach(self, vnfc_id: VnfcId, port: int) -> socket.socket:
        """A connected, non-blocking stream socket to a TCP port on the management address inside a VNFC.

        Raises:
            VimFault: the VNFC is not there, or refuses the connection.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. What was deployed stays."""
        ...


@runtime_checkable
class Networks(Protocol):
    """Feature `networks`: layer-2 networks on request, joined between VIMs when `inter-site`."""

    async def ensure_network(self, wanted: NetworkSpec) -> None: ...

    async def delete_network(self, network_id: str) -> None: ...


@runtime_checkable
class Chains(Protocol):
    """Feature `chains`: steers classified traffic through ordered hops.

    Every VIM that a chain touches is given the whole chain and does its part. A chain of a lower
    `revision` than the one applied is ignored.
    """

    async def apply_chain(self, wanted: Chain) -> None: ...

    async def delete_chain(self, chain_id: str) -> None: ...

    async def chain_counters(self, chain_id: str) -> Sequence[HopCounters]: ...


@runtime_checkable
class TellsEvents(Protocol):
    """Feature `events`: observations as they happen, in order.

    Ends or raises `VimUnreachable` when the VIM goes away; the caller comes back with the last
    sequence it has seen and gets what happened in between.
    """

    def events(self, after: int) -> AsyncIterator[VimEvent]: ...


@runtime_checkable
class GivesNotice(Protocol):
    """A driver whose VIM may say by itself that something has changed, so that we look before it is time."""

    @property
    def gives_notice(self) -> bool:
        """Whether this VIM does."""
        ...

    def notices(self) -> AsyncGenerator[Notice]:
        """What the VIM says, as it comes, until closed. Silence says nothing: whoever must know looks."""
        ...


@runtime_checkable
class HasPulse(Protocol):
    """A driver whose VIM consists of several services asks one of them per check, so that one process can
    watch thousands of VIMs. One without this is asked for its `health` instead, which then is to be cheap."""

    async def pulse(self) -> VimHealth:
        """Ask the service whose turn it is; tell it with what is known of the others. A service that fails
        first has all of them asked at once. Errors as with `health`."""
        ...


@runtime_checkable
class KnowsItsAccount(Protocol):
    """A driver whose VIM has projects says for which one, and as whom, the VIM knows us."""

    async def account(self) -> Mapping[str, str]:
        """What of `project_id`, `project_name`, `project_domain_name`, `user_id`, `username` and
        `user_domain_name` the VIM tells; asked once, right after `validate`.

        Raises:
            VimFault: the VIM refuses us.
            VimUnreachable: it does not answer.
        """
        ...


@runtime_checkable
class TellsProviderNetworks(Protocol):
    """A driver that says which networks stand on the wires of its site, so that VIMs which share them can be
    kept from giving out the same addresses."""

    async def provider_networks(self) -> Sequence[ProviderNetwork]: ...


@runtime_checkable
class Retires(Protocol):
    """A driver that runs something of its own beside the VIM (a site agent) stops it here, after the VIM
    was deleted and nothing stands on it any more. Repeating it is quiet."""

    async def retire(self) -> None: ...


@runtime_checkable
class InjectsFaults(Protocol):
    """Feature `faults`: breaks things on purpose, for tests and game days. Kinds are the driver's own
    words and are listed by `fault_kinds`."""

    def fault_kinds(self) -> Mapping[str, str]: ...

    async def inject(self, kind: str, target: str, settings: Mapping[str, object]) -> None: ...

    async def clear_faults(self) -> None: ...


@runtime_checkable
class StopsForDrills(Protocol):
    """A driver that can itself stop one part of its VIM and have it work again, so that a drill needs nobody
    who does. What it stops must come back without us, should we die meanwhile."""

    def can_stop(self, element: ControlElement, *, is_host: bool) -> str:
        """Empty when it can stop this one (`is_host`: the whole host that it stands on); else why not."""
        ...

    async def stop_for_drill(self, element: ControlElement, *, is_host: bool, for_s: float) -> str:
        """Stop it as a fault would, for `for_s` seconds at most; what was done, in words.

        Raises:
            VimFault: it cannot be stopped, or the VIM refuses.
            VimUnreachable: we do not know.
        """
        ...

    async def end_drill(self, element: ControlElement, *, is_host: bool) -> None:
        """Have it work again. Repeating it is quiet, and so it is where nothing was stopped.

        Raises:
            VimFault, VimUnreachable: it may not work yet.
        """
        ...


@runtime_checkable
class ShowsConsoles(Protocol):
    """Feature `console`: what a VNFC wrote on its console, where a guest tells of its first boot."""

    async def console(self, vnfc_id: VnfcId) -> str:
        """The last 64 KiB at most, in lines; empty when it wrote nothing yet.

        Raises:
            VimFault: the VNFC is not there, or the VIM refuses.
            VimUnreachable: no answer.
        """
        ...


CONSOLE_MOST = 64 * 1024
"""How much of a console is shown, in bytes."""


@runtime_checkable
class Repairs(Protocol):
    """Features `repair:KIND` (kinds are those of `Rung`): mends a VNFC without making another one."""

    async def repair(self, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, *, since: datetime) -> None:
        """Reboot, rebuild or evacuate the VNFC of a deployment; returns once accepted, `watch` and the
        function itself tell what came of it.

        Idempotent: what was accepted after `since` for this VNFC and kind is not done once more, so a lost
        answer costs no second reboot. A rebuilt VNFC starts in its recorded initial state (`wanted`).

        Raises:
            VimFault: it does not stand, is of another incarnation than wanted, or the VIM refuses.
            VimUnreachable: no answer.
            NotSupported: this VIM, or these credentials, cannot do that kind.
        """
        ...


def refuse_evacuation(wanted: Deployment, vnfc_id: VnfcId, kind: Rung) -> None:
    """For every driver that evacuates: what may not be moved is not.

    Raises:
        VimFault: the VNFC's descriptor does not let it be started on another host.
    """
    for one in wanted.vnfcs:
        if one.id == vnfc_id and kind is Rung.EVACUATE and not one.may_be_evacuated:
            raise VimFault(
                f"VNFC {vnfc_id} may not be evacuated: its descriptor allows "
                f"{', '.join(one.migration_types)} only. Heal it with respawn, which makes another one."
            )


@runtime_checkable
class Fences(Protocol):
    """Feature `fence`: makes sure that what stands of a VNFC cannot serve any more."""

    async def fence(self, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
        """Stop the VNFC, or cut it off. Repeating it is quiet; what does not stand is fenced.

        Raises:
            VimUnreachable: we do not know.
        """
        ...


@runtime_checkable
class ObservesHosts(Protocol):
    """Tells of compute hosts, and of what the VIM consists of, by looking; needs rights that not every
    registration has. What may not be seen is left out."""

    async def look(self) -> Sight:
        """The compute hosts now, and which deployments have changed since the look before. Cheap: it is asked
        each second.

        Raises:
            VimFault: the VIM refuses us.
            VimUnreachable: it does not answer.
        """
        ...

    async def control_plane(self) -> Sequence[ControlElement]:
        """Every copy of every service that we may see, and those that the registration declares. Errors as
        with `look`."""
        ...


Ability = TypeVar("Ability")


def ability(driver: VimDriver, protocol: type[Ability], feature: str) -> Ability:
    """The driver as one of the optional Protocols.

    Raises:
        NotSupported: this driver has no such ability.
    """
    if not isinstance(driver, protocol):
        raise NotSupported(f"This VIM's driver ({type(driver).__name__}) does not offer {feature}.")
    return driver
