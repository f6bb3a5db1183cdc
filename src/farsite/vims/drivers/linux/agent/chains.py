"""The chains of a site: rules in the kernel, tunnels, and the reflex that steers around the dead.

The reflex needs nobody: when an instance here dies, goes silent or comes back, this site's rules are replaced
at once and the agents of the chain's other sites are told, which do the same. The orchestrator learns of it
by an event.
"""

import asyncio
import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from farsite.model.deployment import Chain, ChainInstance, HopCounters, VimEventKind
from farsite.model.errors import VimFault, VimUnreachable
from farsite.model.ids import VimId, VnfcId
from farsite.vims.drivers.linux import paths, rpc, wire
from farsite.vims.drivers.linux.agent import nft, steering
from farsite.vims.drivers.linux.agent.datapath import DataPath, PathState, Watched
from farsite.vims.drivers.linux.agent.events import Journal
from farsite.vims.drivers.linux.agent.links import Links
from farsite.vims.drivers.linux.agent.rendering import Renderer, counter_name, variants
from farsite.vims.drivers.linux.agent.steering import Direction, Entry, PortDevice, Tunnel
from farsite.vims.drivers.linux.agent.vdus import Vdus

_TELL_TRIES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptChain:
    """A chain and what the other sites said of their instances."""

    chain: Chain
    states: Mapping[str, str] = field(default_factory=dict[str, str])
    """Instance of another site -> `up`, `suspect` or `down`."""
    told: Mapping[str, int] = field(default_factory=dict[str, int])
    """Other site -> when it said so, on the clock that all agents of the host share (ns)."""


class Chains:
    """All chains of the site. One object per agent; lives on its event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        here: VimId,
        endpoint: str,
        vdus: Vdus,
        links: Links,
        journal: Journal,
        device_is_up: Callable[[str], bool],
    ) -> None:
        self._records = paths.make_private(directory / "chains")
        self._here = here
        self._endpoint = endpoint
        self._vdus = vdus
        self._links = links
        self._nft = nft.Nftables()
        self._journal = journal
        self._device_is_up = device_is_up
        self._found: dict[str, KeptChain] = {}
        self._alive: dict[str, frozenset[VnfcId]] = {}
        self._said: dict[str, dict[str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.datapath = DataPath(self._on_datapath)

    def __iter__(self) -> Iterator[Chain]:
        return iter([kept.chain for kept in self._found.values()])

    # -- what is asked of us --------------------------------------------------------------------------------

    def apply(self, chain: Chain) -> None:
        """Do our part of a chain; one of a lower revision than the last is ignored.

        Raises:
            VimFault: the chain contradicts itself or this site; nothing was changed.
        """
        kept = self._found.get(chain.id)
        if kept and kept.chain.revision > chain.revision:
            return
        self._check(chain)
        self._keep(replace(kept, chain=chain) if kept else KeptChain(chain=chain))
        self._install(chain.id)
        for peer in self._peers(chain):
            self._tell(chain.id, peer)

    def delete(self, chain_id: str) -> None:
        """Steer no longer; an absent chain is well."""
        kept = self._found.pop(chain_id, None)
        self._alive.pop(chain_id, None)
        self._said.pop(chain_id, None)
        self._nft.delete(_table(chain_id))
        self._delete_tunnels(chain_id, keep=set())
        self._record(chain_id).unlink(missing_ok=True)
        if kept is not None:
            self._render_sharing(kept.chain)
        self._watch()

    def counters(self, chain_id: str) -> list[HopCounters]:
        """What this site gave to its own instances, over all revisions of the chain."""
        kept = self._found.get(chain_id)
        if kept is None:
            return []
        counted = self._nft.counters(_table(chain_id))
        alive = self._alive.get(chain_id, frozenset())
        found: list[HopCounters] = []
        for position, hop, instance in self._local(kept.chain):
            forward, reverse = (
                counted.get(counter_name(position, instance.vnfc_id, direction), (0, 0))
                for direction in Direction
            )
            found.append(
                HopCounters(
                    chain_id=chain_id,
                    hop=hop,
                    vnfc_id=instance.vnfc_id,
                    is_alive=instance.vnfc_id in alive,
                    forward_packets=forward[0],
                    forward_bytes=forward[1],
                    reverse_packets=reverse[0],
                    reverse_bytes=reverse[1],
                )
            )
        return found

    def hear(self, chain_id: str, vim: str, states: Mapping[str, str], at: int) -> dict[str, str]:
        """Another site says how its instances of a chain are; returns how ours are."""
        kept = self._found.get(chain_id)
        if kept is None:
            return {}
        if at >= kept.told.get(vim, 0):
            theirs = {
                instance.vnfc_id
                for hop in kept.chain.hops
                for instance in hop.instances
                if instance.vim_id == vim
            }
            heard = {name: state for name, state in states.items() if name in theirs}
            self._keep(replace(kept, states={**kept.states, **heard}, told={**kept.told, vim: at}))
            self._steer(chain_id, since=time.monotonic(), cause=f"told by {vim}")
        return self._own_states(kept.chain)

    def changed(self, vnfc_id: str, cause: str) -> None:
        """An instance may have died or come (back): steer anew where it matters, and tell the others."""
        since = time.monotonic()
        for chain_id, kept in tuple(self._found.items()):
            if self._holds(kept.chain, vnfc_id):
                self._steer(chain_id, since=since, cause=cause, is_forced=True)
                self._tell_if_changed(chain_id)
        self._watch()

    def restore(self) -> None:
        """Take over the chains of an earlier agent. Its rules steer until ours replace them."""
        for path in sorted(self._records.glob("*.json")):
            try:
                kept = wire.from_document(KeptChain, json.loads(path.read_text()))
            except ValueError:
                path.unlink()
                continue
            self._found[kept.chain.id] = kept
        for kept in tuple(self._found.values()):
            self._install(kept.chain.id)
            for peer in self._peers(kept.chain):
                self._tell(kept.chain.id, peer)

    def sweep(self) -> list[str]:
        """Delete tables and tunnels of no chain; returns what was swept."""
        tables = {_table(chain_id) for chain_id in self._found}
        spare = [name for name in self._nft.tables() if name.startswith("farsite-") and name not in tables]
        for name in spare:
            self._nft.delete(name)
        wanted = {
            self._tunnel_name(kept.chain, tunnel)
            for kept in self._found.values()
            for tunnel in steering.tunnels(kept.chain, self._here)
        }
        swept = [f"table {name}" for name in spare]
        for link in self._links.all():
            if link.kind == "vxlan" and link.name.startswith("t") and link.name not in wanted:
                self._links.delete(link.index)
                swept.append(f"tunnel {link.name}")
        return swept

    def carries(self, vnfc_id: str, port: str) -> bool:
        """Whether a port is an instance's way in or out of a chain, and so belongs on no bridge."""
        return any(
            instance.vnfc_id == vnfc_id and port in (instance.ingress_port, instance.egress_port)
            for kept in self._found.values()
            for hop in kept.chain.hops
            for instance in hop.instances
        )

    # -- rules ----------------------------------------------------------------------------------------------

    def _check(self, chain: Chain) -> None:
        for tunnel in steering.tunnels(chain, self._here):
            if tunnel.peer not in chain.endpoints:
                raise VimFault(f'Chain "{chain.id}" states no tunnel endpoint of VIM {tunnel.peer}.')
        needed = steering.vnis_needed(len(chain.hops), len(steering.vims_of(chain)))
        if chain.vni_count < needed:
            raise VimFault(
                f'Chain "{chain.id}" needs {needed} VXLAN ids, but only {chain.vni_count} are reserved.'
            )
        for hop in chain.hops:
            for instance in hop.instances:
                if instance.ingress_port == instance.egress_port:
                    raise VimFault(
                        f'Hop "{hop.name}" enters and leaves {instance.vnfc_id} by one port; it needs two.'
                    )
        ports = [
            (each.vnfc_id, port)
            for hop in chain.hops
            for each in hop.instances
            for port in (each.ingress_port, each.egress_port)
        ]
        if len(set(ports)) != len(ports):
            raise VimFault(f'Chain "{chain.id}" passes one port twice; give each hop instances of its own.')
        try:
            variants(chain.classifier, Direction.FORWARD)
        except (KeyError, ValueError) as error:
            raise VimFault(
                f'Chain "{chain.id}" has a classifier that cannot be understood: {error}'
            ) from error

    def _install(self, chain_id: str) -> None:
        chain = self._found[chain_id].chain
        names = self._make_tunnels(chain)
        for _, _, instance in self._local(chain):
            for port in (instance.ingress_port, instance.egress_port):
                index = self._links.index(self._vdus.device(instance.vnfc_id, port))
                if index:
                    # On a bridge, two ports of one bump in the wire would close a loop.
                    self._links.set_master(index, 0)
        self._steer(chain_id, since=time.monotonic(), cause="applied", is_forced=True)
        self._render_sharing(chain)
        self._delete_tunnels(chain_id, keep=names)
        self._watch()

    def _make_tunnels(self, chain: Chain) -> set[str]:
        names: set[str] = set()
        for tunnel in steering.tunnels(chain, self._here):
            name = self._tunnel_name(chain, tunnel)
            names.add(name)
            if self._links.index(name):
                continue
            index = steering.vni_index(chain, tunnel.position, tunnel.direction, (self._here, tunnel.peer))
            self._links.add_vxlan(
                name,
                vni=chain.vni_first + index,
                local=self._endpoint,
                remote=chain.endpoints[tunnel.peer],
            )
        return names

    def _tunnel_name(self, chain: Chain, tunnel: Tunnel) -> str:
        index = steering.vni_index(chain, tunnel.position, tunnel.direction, (self._here, tunnel.peer))
        # Two characters of the chain, the rest of what would make it another tunnel.
        remote = chain.endpoints.get(tunnel.peer, "")
        return (
            paths.device_name("t", chain.id)[:7]
            + paths.short_hash(chain.id, str(chain.vni_first + index), remote)[:8]
        )

    def _delete_tunnels(self, chain_id: str, *, keep: set[str]) -> None:
        prefix = paths.device_name("t", chain_id)[:7]
        for link in self._links.all():
            if link.kind == "vxlan" and link.name.startswith(prefix) and link.name not in keep:
                self._links.delete(link.index)

    def _steer(self, chain_id: str, *, since: float, cause: str, is_forced: bool = False) -> None:
        """Replace the rules if who lives has changed (or anyway), and tell of a re-steer."""
        kept = self._found[chain_id]
        states = {**kept.states, **self._own_states(kept.chain)}
        alive = steering.considered_alive(kept.chain, {VnfcId(name): state for name, state in states.items()})
        before = self._alive.get(chain_id)
        if alive == before and not is_forced:
            return
        self._render(chain_id, alive)
        self._alive[chain_id] = alive
        if before is None or alive == before:
            return
        took_ms = (time.monotonic() - since) * 1000
        for position, hop in enumerate(kept.chain.hops, start=1):
            for instance in hop.instances:
                if (instance.vnfc_id in alive) != (instance.vnfc_id in before):
                    self._tell_of(kept.chain, position, instance, alive, cause, took_ms)

    def _tell_of(
        self,
        chain: Chain,
        position: int,
        instance: ChainInstance,
        alive: frozenset[VnfcId],
        cause: str,
        took_ms: float,
    ) -> None:
        hop = chain.hops[position - 1]
        is_back = instance.vnfc_id in alive
        living = sum(each.vnfc_id in alive for each in hop.instances)
        vdu = self._vdus.get(instance.vnfc_id)
        self._journal.tell(
            VimEventKind.CHAIN_RESTEERED,
            f"Chain {chain.id} steers {'again to' if is_back else 'around'} {instance.vnfc_id} in hop "
            f'"{hop.name}" ({cause}); {living} of {len(hop.instances)} instances carry it.',
            chain_id=chain.id,
            vnfc_id=instance.vnfc_id,
            deployment=vdu.deployment if vdu else "",
            vnf_id=vdu.vnf_id if vdu else "",
            details={
                "hop": hop.name,
                "state": "in" if is_back else "out",
                "living": living,
                "instances": len(hop.instances),
                "ms": f"{took_ms:.2f}",
            },
        )

    def _render(self, chain_id: str, alive: frozenset[VnfcId]) -> None:
        chain = self._found[chain_id].chain
        for attempt in range(3):
            try:
                self._nft.replace(self._table_of(chain, alive))
            except OSError as error:
                # A device went away between looking and replacing.
                if attempt == 2 or error.errno not in (errno.ENOENT, errno.ENODEV, errno.EBUSY):
                    raise
            else:
                return

    def _table_of(self, chain: Chain, alive: frozenset[VnfcId]) -> nft.Table:
        entries = steering.rules(chain, self._here, alive)
        devices = {link.name: link.index for link in self._links.all()}
        counters = {
            counter_name(position, instance.vnfc_id, direction): (0, 0)
            for position, _, instance in self._local(chain)
            for direction in Direction
        }
        counted = self._nft.counters(_table(chain.id))
        renderer = Renderer(chain, lambda device: devices.get(self._device_name(chain, device), 0))
        ingress: dict[str, list[bytes]] = {}
        for entry in entries:
            name = self._device_name(chain, entry.device)
            if name in devices:
                ingress.setdefault(name, []).extend(renderer.entry(entry, self._is_shared(chain, entry)))
        return nft.Table(
            name=_table(chain.id),
            ingress=ingress,
            chains=renderer.chains,
            counters={name: counted.get(name, start) for name, start in counters.items()},
        )

    def _device_name(self, chain: Chain, device: steering.Device) -> str:
        match device:
            case PortDevice(vnfc_id, port):
                return self._vdus.device(vnfc_id, port)
            case Tunnel():
                return self._tunnel_name(chain, device)

    def _is_shared(self, chain: Chain, entry: Entry) -> bool:
        """Whether another chain passes the same port, so that only the classifier tells them apart."""
        return any(
            entry.device in _instance_ports(kept.chain)
            for kept in self._found.values()
            if kept.chain.id != chain.id
        )

    def _render_sharing(self, chain: Chain) -> None:
        ports = _instance_ports(chain)
        for chain_id, kept in tuple(self._found.items()):
            if chain_id != chain.id and ports & _instance_ports(kept.chain):
                self._render(chain_id, self._alive.get(chain_id, frozenset()))

    # -- who lives ------------------------------------------------------------------------------------------

    def _own_states(self, chain: Chain) -> dict[str, str]:
        return {instance.vnfc_id: self._state(instance) for _, _, instance in self._local(chain)}

    def _state(self, instance: ChainInstance) -> str:
        if not self._vdus.is_serving(instance.vnfc_id):
            return "down"
        for port in (instance.ingress_port, instance.egress_port):
            if not self._device_is_up(self._vdus.device(instance.vnfc_id, port)):
                return "down"
        return "suspect" if self.datapath.state(instance.vnfc_id) is PathState.LOST else "up"

    def _watch(self) -> None:
        """Probe the data path of every instance here that serves."""
        wanted: dict[VnfcId, Watched] = {}
        for kept in self._found.values():
            for _, _, instance in self._local(kept.chain):
                if self._vdus.is_serving(instance.vnfc_id):
                    ingress, egress = (
                        self._vdus.device(instance.vnfc_id, port)
                        for port in (instance.ingress_port, instance.egress_port)
                    )
                    if ingress and egress:
                        wanted[instance.vnfc_id] = Watched(ingress, egress)
        self.datapath.watch(wanted)

    def _on_datapath(self, vnfc_id: VnfcId, state: PathState, silence_s: float) -> None:
        is_lost = state is PathState.LOST
        since = time.monotonic()
        for chain_id, kept in tuple(self._found.items()):
            if self._holds(kept.chain, vnfc_id):
                self._steer(chain_id, since=since, cause=f"data path {state}")
                self._tell_if_changed(chain_id)
        vdu = self._vdus.get(vnfc_id)
        self._journal.tell(
            VimEventKind.DATAPATH_LOST if is_lost else VimEventKind.DATAPATH_RESTORED,
            f"Probes {'no longer pass' if is_lost else 'pass again through'} {vnfc_id}.",
            vnfc_id=vnfc_id,
            deployment=vdu.deployment if vdu else "",
            vnf_id=vdu.vnf_id if vdu else "",
            details={"silent_ms": f"{silence_s * 1000:.0f}"},
        )

    def _local(self, chain: Chain) -> list[tuple[int, str, ChainInstance]]:
        return [
            (position, hop.name, instance)
            for position, hop in enumerate(chain.hops, start=1)
            for instance in hop.instances
            if instance.vim_id == self._here
        ]

    def _holds(self, chain: Chain, vnfc_id: str) -> bool:
        ends = {chain.source.vnfc_id, chain.target.vnfc_id}
        return vnfc_id in ends or any(each.vnfc_id == vnfc_id for hop in chain.hops for each in hop.instances)

    # -- the other sites ------------------------------------------------------------------------------------

    def _peers(self, chain: Chain) -> list[VimId]:
        return [vim for vim in chain.agents if vim != self._here]

    def _tell_if_changed(self, chain_id: str) -> None:
        chain = self._found[chain_id].chain
        if self._said.get(chain_id) != self._own_states(chain):
            for peer in self._peers(chain):
                self._tell(chain_id, peer)

    def _tell(self, chain_id: str, peer: VimId) -> None:
        chain = self._found[chain_id].chain
        self._said[chain_id] = self._own_states(chain)
        task = asyncio.ensure_future(self._tell_peer(chain_id, peer, time.monotonic_ns()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_peer(self, chain_id: str, peer: VimId, at: int) -> None:
        for attempt in range(_TELL_TRIES):
            kept = self._found.get(chain_id)
            if kept is None or peer not in kept.chain.agents:
                return
            # Each attempt says how things are now, so a late one does no harm.
            at = time.monotonic_ns()
            params = {
                "chain_id": chain_id,
                "vim": self._here,
                "at": at,
                "states": self._own_states(kept.chain),
            }
            try:
                answer = await rpc.call(Path(kept.chain.agents[peer]), "hear", params, timeout_s=2)
            except VimUnreachable:
                await asyncio.sleep(0.05 * 3**attempt)
                continue
            except VimFault as error:
                sys.stderr.write(f"chain {chain_id}: {peer} refuses: {error.detail}\n")
                return
            if isinstance(answer, dict) and chain_id in self._found:
                self.hear(chain_id, peer, answer, at)  # pyright: ignore[reportUnknownArgumentType]
            return

    # -- records --------------------------------------------------------------------------------------------

    def _record(self, chain_id: str) -> Path:
        return self._records / f"{paths.short_hash(chain_id)}.json"

    def _keep(self, kept: KeptChain) -> None:
        self._found[kept.chain.id] = kept
        path = self._record(kept.chain.id)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(wire.to_document(kept)))
        partial.replace(path)


def _table(chain_id: str) -> str:
    return f"farsite-{paths.short_hash(chain_id)}"


def _instance_ports(chain: Chain) -> set[steering.Device]:
    return {
        PortDevice(instance.vnfc_id, port)
        for hop in chain.hops
        for instance in hop.instances
        for port in (instance.ingress_port, instance.egress_port)
    }
