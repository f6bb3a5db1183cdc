"""Chains of a service: derived from its NSD and the functions that stand, applied on every VIM involved.

A chain document is whole and has a revision: each VIM gets the same one and does its part, so a change
is "derive, raise the revision, apply everywhere", whatever changed.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from farsite.lifecycle.world import Op
from farsite.model.deployment import Chain, ChainEnd, ChainHop, ChainInstance, Deployment
from farsite.model.errors import Invalid
from farsite.model.ids import NsInstanceId, VimId, VnfcId, derived_id
from farsite.model.ns import NsInstance
from farsite.model.nsd import ForwardingPath, NsFlavour, PathHop
from farsite.model.vnf import VnfInstance
from farsite.store import instances, operations, packages
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vims.driver import Chains, ability


def chain_id(ns_id: NsInstanceId, path: str) -> str:
    return derived_id(ns_id, "path", path)


def vni_count(path: ForwardingPath, vims: int) -> int:
    """VXLAN ids a path may need: one per segment, direction and pair of VIMs."""
    return (len(path.hops) + 1) * 2 * max(vims * (vims - 1) // 2, 1)


def derive(
    ns: NsInstance, flavour: NsFlavour, vnfs: list[VnfInstance], *, leaving: frozenset[str] = frozenset()
) -> tuple[Chain, ...]:
    """The service's chains as they shall be now; `leaving` VNFCs get no more traffic.

    Pure. Revisions, VXLAN ids, endpoints and agents are taken from the chains recorded before.

    Raises:
        Invalid: the path names a profile or connection point that is not there.
    """
    before = {chain.id: chain for chain in ns.chains}
    return tuple(_derive_one(ns, path, vnfs, before, leaving) for path in flavour.paths)


def _derive_one(
    ns: NsInstance,
    path: ForwardingPath,
    vnfs: list[VnfInstance],
    before: Mapping[str, Chain],
    leaving: frozenset[str],
) -> Chain:
    known = before.get(chain_id(ns.id, path.id))
    chain = Chain(
        id=chain_id(ns.id, path.id),
        owner=ns.id,
        revision=(known.revision if known else 0) + 1,
        source=_end(vnfs, path.source_profile, path.source_cp, path.id),
        target=_end(vnfs, path.target_profile, path.target_cp, path.id),
        hops=tuple(_hop(index, hop, vnfs, leaving) for index, hop in enumerate(path.hops)),
        classifier=path.classifier,
        fail_open=path.fail_open,
    )
    if known is None:
        return chain
    return replace(
        chain,
        vni_first=known.vni_first,
        vni_count=known.vni_count,
        endpoints=known.endpoints,
        agents=known.agents,
    )


def _end(vnfs: list[VnfInstance], profile: str, cp: str, path: str) -> ChainEnd:
    for vnf in vnfs:
        if vnf.profile == profile and vnf.deployment is not None and vnf.vim_id is not None:
            for vnfc in vnf.deployment.vnfcs:
                port = vdu_cp(vnf, vnfc.id, cp)
                if port:
                    return ChainEnd(vnfc_id=vnfc.id, vim_id=vnf.vim_id, port=port)
    raise Invalid(f'Path "{path}" begins or ends at {profile}/{cp}, which no function of the service has.')


def _hop(index: int, hop: PathHop, vnfs: list[VnfInstance], leaving: frozenset[str]) -> ChainHop:
    """The hop's instances, less those that leave or were stopped; all of them where none would be left, so
    that the agents do what the path says of a hop where nobody lives."""
    standing = [
        (vnfc.is_stopped or vnfc.id in leaving, instance)
        for vnf in vnfs
        if vnf.profile == hop.profile and vnf.deployment is not None
        for vnfc in vnf.deployment.vnfcs
        if (instance := _instance(vnf, vnfc.id, hop)) is not None
    ]
    serving = [instance for is_out, instance in standing if not is_out]
    return ChainHop(
        name=f"{index + 1}-{hop.profile}",
        instances=tuple(serving or [instance for _, instance in standing]),
    )


def _instance(vnf: VnfInstance, vnfc_id: VnfcId, hop: PathHop) -> ChainInstance | None:
    ingress = vdu_cp(vnf, vnfc_id, hop.ingress_cp)
    if not ingress or vnf.vim_id is None:
        return None
    return ChainInstance(
        vnfc_id=vnfc_id,
        vim_id=vnf.vim_id,
        ingress_port=ingress,
        egress_port=vdu_cp(vnf, vnfc_id, hop.egress_cp),
    )


def vdu_cp(vnf: VnfInstance, vnfc_id: str, cp: str) -> str:
    """Port of a VNFC behind a connection point of its VNF; empty when this VNFC has none.

    An NSD names external connection points; the instance records which VDU connection point exposes each.
    """
    assert vnf.deployment is not None
    names = {vnf.port_of_cp.get(cp, cp)}
    for vnfc in vnf.deployment.vnfcs:
        if vnfc.id == vnfc_id:
            return next((port.name for port in vnfc.ports if port.name in names), "")
    return ""


async def steer(
    op: Op, *, effect: str, leaving: frozenset[str] = frozenset(), standing: Deployment | None = None
) -> None:
    """Derive the chains of the operation's service anew and apply them on every VIM involved.

    With `standing` as if that were the VNF's deployment, whatever is recorded. Nothing happens for a VNF
    outside a service. Repeating it with the same `effect` applies the same revision again.
    """
    chains = await op.world.database.run(_next_chains, op, effect, leaving, standing)
    for chain in chains:
        await apply(op, chain)


def _next_chains(
    connection: Connection,
    op: Op,
    effect: str,
    leaving: frozenset[str],
    standing: Deployment | None,
) -> tuple[Chain, ...]:
    def do() -> object:
        vnf = instances.get_vnf(connection, None, op.operation.instance_id)
        if vnf.ns_id is None:
            return []
        ns = instances.get_ns(connection, None, vnf.ns_id, for_update=True)
        if not ns.chains:
            return []
        nsd = packages.nsd_of(connection, ns.project_id, ns.nsd_info_id)
        flavour = nsd.flavours[ns.flavour_id]
        vnfs = instances.vnfs_of_ns(connection, ns.id)
        if standing is not None:
            vnfs = [replace(one, deployment=standing) if one.id == vnf.id else one for one in vnfs]
        chains = derive(ns, flavour, vnfs, leaving=leaving)
        instances.save_ns(connection, replace(ns, chains=chains))
        return [encode(chain) for chain in chains]

    return tuple(decode(Chain, body) for body in _list(operations.once(connection, op.operation, effect, do)))


def _list(body: object) -> list[object]:
    assert isinstance(body, list)
    return body  # pyright: ignore[reportUnknownVariableType]


async def apply(op: Op, chain: Chain) -> None:
    """Give the chain to every VIM it touches; applying it again changes nothing.

    To all at the same time: while one end steers by the old chain and the other by the new one, replies come
    back through an instance that did not see their flow begin.
    """
    involved = sorted(vims_of(chain))
    op.waits_for(f"Chain {chain.id} revision {chain.revision} on VIMs {', '.join(involved)}.")
    appliers = [ability(await op.world.drivers.of(vim_id), Chains, "chains") for vim_id in involved]
    outcomes = await asyncio.gather(*(one.apply_chain(chain) for one in appliers), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def remove(op: Op, chain: Chain) -> None:
    """Take the chain down everywhere; absent is success."""
    for vim_id in sorted(vims_of(chain)):
        driver = await op.world.drivers.of(vim_id)
        await ability(driver, Chains, "chains").delete_chain(chain.id)


def vims_of(chain: Chain) -> set[VimId]:
    """Every VIM that has, or had, a part in the chain."""
    ends = {chain.source.vim_id, chain.target.vim_id}
    return ends | {one.vim_id for hop in chain.hops for one in hop.instances} | set(chain.endpoints)
