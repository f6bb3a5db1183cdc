"""Instantiate an NS: from a record to functions on several VIMs, joined and chained.

Source: ETSI GS NFV-SOL 005 clause 6.4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farsite.lifecycle import chaining, members, placing, separating, sizing, substrate
from farsite.lifecycle.create_vnf import instance_of
from farsite.lifecycle.instantiate_vnf import INSTANTIATE_VNF, InstantiateVnf
from farsite.lifecycle.terminate_vnf import TERMINATE_VNF, TerminateVnf
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Chain, NetworkSpec
from farsite.model.errors import Conflict, Invalid, NotSupported
from farsite.model.ids import NsInstanceId, OperationId, VimId, VnfInstanceId, derived_id
from farsite.model.ns import NsInstance, NsNetwork, NsVnf
from farsite.model.nsd import NsFlavour, VnfProfile
from farsite.model.operation import InstanceKind
from farsite.model.package import VnfPackage
from farsite.model.vnf import ExternalLink, InstantiationState, VnfInstance
from farsite.model.vnfd import DeploymentFlavour
from farsite.placement.problem import Demand, Rule
from farsite.store import capacity, instances, packages, vims
from farsite.store.capacity import Holding
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vims.driver import Networks, ability
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantiateNs:
    """`vims` pins a VNF profile to a VIM (name or id), `regions` and `zones` to one there; `networks` says of
    a virtual link which network it is on a VIM (name or id; empty: on each) that has it already;
    `compute_flavours` gives a profile's VDUs flavours of their VIM; `configurations` is laid over the
    initial configuration of a profile's functions."""

    flavour_id: str = ""
    level_id: str = ""
    vims: Mapping[str, str] = field(default_factory=dict[str, str])
    regions: Mapping[str, str] = field(default_factory=dict[str, str])
    zones: Mapping[str, str] = field(default_factory=dict[str, str])
    networks: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    compute_flavours: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    configurations: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A function about to be: its record, what it asks of placement, and how it will be instantiated."""

    vnf: VnfInstance
    profile: VnfProfile
    demand: Demand


def place(connection: Connection, op: Op) -> object:
    """Choose identifiers, VIMs, networks and VXLAN ids for all functions together, and record them."""
    want = decode(InstantiateNs, op.operation.parameters)
    ns = instances.get_ns(connection, None, op.operation.instance_id)
    if ns.state is InstantiationState.INSTANTIATED or ns.vnfs:
        raise Conflict(f"NS instance {ns.id} is instantiated already.", about={"ns": ns.id})
    flavour = ns_flavour(connection, ns, want.flavour_id)
    check(want, flavour)
    chosen = _members(connection, op, ns, flavour, want)
    placement = placing.decide(
        connection, op, tuple(one.demand for one in chosen), rules=_rules(flavour, chosen)
    )
    placed: list[NsVnf] = []
    holdings: list[Holding] = []
    for one in chosen:
        assignment = placement.of(one.demand.id)
        placed.append(NsVnf(vnf_id=one.vnf.id, profile=one.profile.id, vim_id=assignment.vim_id))
        instances.insert_vnf(connection, one.vnf)
        held: dict[str, tuple[int, int, int]] = {}
        for unit, zone in zip(one.demand.units, assignment.zones, strict=True):
            place_ = sizing.place_of(assignment.region, zone)
            vcpus, memory_mib, disk_gib = held.get(place_, (0, 0, 0))
            held[place_] = (vcpus + unit.vcpus, memory_mib + unit.memory_mib, disk_gib + unit.disk_gib)
        holdings.append(
            placing.holding(
                connection,
                one.vnf.project_id,
                one.vnf.id,
                assignment.vim_id,
                held,
                priority=one.demand.priority,
            )
        )
    networks = _networks(connection, ns, flavour, tuple(placed), want)
    instances.save_ns(connection, replace(ns, flavour_id=flavour.id, vnfs=tuple(placed), networks=networks))
    capacity.claim(connection, holdings)
    return {one.vnf_id: one.vim_id for one in placed}


def ns_flavour(connection: Connection, ns: NsInstance, flavour_id: str) -> NsFlavour:
    """The NSD's flavour of that name, the default one for an empty name.

    Raises:
        Invalid: no such flavour.
    """
    nsd = packages.nsd_of(connection, ns.project_id, ns.nsd_info_id)
    name = flavour_id or nsd.default_flavour
    if name not in nsd.flavours:
        raise Invalid(
            f'NSD "{nsd.name}" has no flavour "{name}". Flavours: {", ".join(sorted(nsd.flavours))}.'
        )
    return nsd.flavours[name]


def check(want: InstantiateNs, flavour: NsFlavour) -> None:
    """See that the request fits the flavour, as far as no VIM need be known.

    Raises:
        Invalid: names what the flavour has not.
    """
    if want.level_id and want.level_id not in flavour.levels:
        known = ", ".join(sorted(flavour.levels)) or "none"
        raise Invalid(f'The service has no instantiation level "{want.level_id}". Levels: {known}.')
    substrate.check_named(flavour, want.networks)
    for given in (*want.vims, *want.regions, *want.zones, *want.compute_flavours, *want.configurations):
        if given not in flavour.profiles:
            raise Invalid(
                f'The service has no VNF profile "{given}". Profiles: {", ".join(sorted(flavour.profiles))}.'
            )
    for link in want.networks:
        if link not in flavour.virtual_links:
            known = ", ".join(sorted(flavour.virtual_links)) or "none"
            raise Invalid(f'The service has no virtual link "{link}". Virtual links: {known}.')


def _members(
    connection: Connection, op: Op, ns: NsInstance, flavour: NsFlavour, want: InstantiateNs
) -> list[_Member]:
    counts = flavour.levels.get(want.level_id or flavour.default_level, {})
    on_paths = {profile for path in flavour.paths for profile in (path.source_profile, path.target_profile)}
    on_paths |= {hop.profile for path in flavour.paths for hop in path.hops}
    found: list[_Member] = []
    for profile in flavour.profiles.values():
        package = packages.get_package(connection, ns.project_id, profile.vnfd_id)
        vnfd = packages.vnfd_of(connection, ns.project_id, profile.vnfd_id)
        if want.vims.get(profile.id):
            vims.get(connection, ns.project_id, want.vims[profile.id])
        for index in range(counts.get(profile.id, profile.instances)):
            vnf_id = VnfInstanceId(derived_id(op.id, profile.id, str(index)))
            name = f"{ns.name or ns.id[:8]}-{profile.id}-{index + 1}"
            vnf = instance_of(package, vnf_id, clock=op.clock, name=name)
            vnf = replace(vnf, ns_id=ns.id, profile=profile.id)
            rules = separating.spreading(flavour.affinity, profile.id)
            demand = _demand(
                connection,
                vnf,
                vnfd.flavour(profile.flavour_id),
                profile,
                package,
                want,
                profile.id in on_paths,
            )
            demand = _with_links(demand, flavour, profile, want)
            demand = replace(demand, is_racked=separating.is_racked(rules))
            found.append(_Member(vnf=vnf, profile=profile, demand=demand))
    return found


def _demand(
    connection: Connection,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    profile: VnfProfile,
    package: VnfPackage,
    want: InstantiateNs,
    is_chained: bool,
) -> Demand:
    vnfcs = sizing.wanted_vnfcs(vnf, package, flavour, flavour.vnfc_counts(profile.level_id))
    vim = want.vims.get(profile.id, "")
    is_made = any(not {"", vim} & want.networks.get(link, {}).keys() for link in profile.links.values())
    features = frozenset({"chains", "networks"} if is_chained else {"networks"} if is_made else set[str]())
    features |= package.statement.features
    return placing.demand_of(
        connection, vnf, vnfcs, flavour, vim=vim, region=want.regions.get(profile.id, ""),
        zone=want.zones.get(profile.id, ""), features=features,
        links_apart=substrate.links_apart(vnf, flavour),
    )  # fmt: skip


def _with_links(demand: Demand, flavour: NsFlavour, profile: VnfProfile, want: InstantiateNs) -> Demand:
    """The demand with what the virtual links of the service ask of its VIM, beside its own."""
    vim = want.vims.get(profile.id, "")
    made = {link for link in profile.links.values() if not {"", vim} & want.networks.get(link, {}).keys()}
    needed = substrate.service_links_apart(flavour, made)
    if not needed:
        return demand
    return replace(
        demand,
        features=demand.features | {substrate.PHYSICAL_NETWORKS},
        physical_networks=max(demand.physical_networks, needed),
    )


def _rules(flavour: NsFlavour, chosen: list[_Member]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for rule in flavour.affinity:
        names = frozenset(one.demand.id for one in chosen if one.profile.id in rule.targets)
        if len(names) > 1:
            rules.append(
                Rule(
                    members=names,
                    scope=rule.scope,
                    is_anti=rule.is_anti,
                    is_best_effort=rule.is_best_effort,
                )
            )
    return tuple(rules)


def _networks(
    connection: Connection,
    ns: NsInstance,
    flavour: NsFlavour,
    placed: tuple[NsVnf, ...],
    want: InstantiateNs,
) -> tuple[NsNetwork, ...]:
    networks: list[NsNetwork] = []
    for link in flavour.virtual_links.values():
        users = {one.vim_id for one in placed if link.id in flavour.profiles[one.profile].links.values()}
        said = want.networks.get(link.id, {})
        named = {vim_id: said[""] for vim_id in users if "" in said}
        named |= {vims.get(connection, ns.project_id, vim).id: said[vim] for vim in said if vim}
        named = {vim_id: network for vim_id, network in named.items() if vim_id in users}
        network_id = derived_id(ns.id, "link", link.id)
        vni = instances.take_vnis(connection, project_id=ns.project_id, owner=f"{ns.id}/{link.id}", count=1)
        spec = NetworkSpec(
            id=network_id, name=link.id, vni=vni, cidr_v4=link.cidr_v4, cidr_v6=link.cidr_v6, owner=ns.id
        )
        made = tuple(sorted(users - named.keys()))
        networks.append(NsNetwork(link=link.id, spec=spec, vims=made, named=named))
    on: dict[VimId, dict[str, str]] = {}
    for vim_id in sorted({vim_id for one in networks for vim_id in one.vims}):
        links = [one.link for one in networks if vim_id in one.vims]
        on[vim_id] = substrate.of_service(connection, ns.id, vim_id, links, flavour)
    return tuple(
        replace(
            one,
            physical_networks={vim_id: on[vim_id][one.link] for vim_id in one.vims if one.link in on[vim_id]},
        )
        for one in networks
    )


def forget(connection: Connection, op: Op) -> None:
    """Forget the functions and give back what was reserved for them."""
    forget_members(connection, NsInstanceId(op.operation.instance_id))


def forget_members(connection: Connection, ns_id: NsInstanceId) -> None:
    """Delete the records of all functions of a service and give back everything it held."""
    ns = instances.get_ns(connection, None, ns_id)
    functions = instances.vnfs_of_ns(connection, ns.id)
    capacity.claim(
        connection,
        [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id or VimId("")) for vnf in functions],
    )
    for vnf in functions:
        instances.release_addresses(connection, vnf.id)
        instances.delete_vnf(connection, vnf)
    instances.release_vnis(connection, f"{ns.id}/")
    instances.save_ns(
        connection,
        replace(
            ns, state=InstantiationState.NOT_INSTANTIATED, flavour_id="", vnfs=(), networks=(), chains=()
        ),
    )


async def create_links(op: Op) -> object:
    """Make every virtual link on every VIM that needs it, joined by tunnels."""
    ns = await op.world.database.run(instances.get_ns, None, op.operation.instance_id)
    endpoints: dict[str, str] = {}
    agents: dict[str, str] = {}
    for vim_id in sorted({one.vim_id for one in ns.vnfs}):
        offered = await (await op.world.drivers.of(vim_id)).capabilities()
        endpoints[vim_id] = offered.tunnel_endpoint
        agents[vim_id] = offered.details.get("agent", "")
    names = {one.id: one.name for one in await op.world.database.run(vims.of_project, ns.project_id)}
    for network in ns.networks:
        _check_tunnels(network, endpoints, names)
    for network in ns.networks:
        for vim_id in network.vims:
            peers = tuple(endpoints[other] for other in network.vims if other != vim_id)
            driver = await op.world.drivers.of(vim_id)
            wanted = replace(
                network.spec, peers=peers, physical_network=network.physical_networks.get(vim_id, "")
            )
            await ability(driver, Networks, "networks").ensure_network(wanted)
    return {"endpoints": endpoints, "agents": agents}


def _check_tunnels(network: NsNetwork, endpoints: Mapping[str, str], names: Mapping[VimId, str]) -> None:
    if len(network.vims) < 2:
        return
    without = sorted(f'"{names[vim_id]}"' for vim_id in network.vims if not endpoints[vim_id])
    if without:
        raise NotSupported(
            f'Virtual link "{network.link}" spans {len(network.vims)} VIMs, but {", ".join(without)} has no '
            f"tunnel endpoint. Place its functions on one VIM, or name a network of each VIM that joins them "
            f"(--network {network.link}@VIM=NETWORK)."
        )


async def delete_links(op: Op) -> None:
    """Undo: delete the links everywhere."""
    ns = await op.world.database.run(instances.get_ns, None, op.operation.instance_id)
    await remove_links(op, ns)


async def remove_links(op: Op, ns: NsInstance) -> None:
    """Delete every virtual link on every VIM; absent is success."""
    for network in ns.networks:
        for vim_id in network.vims:
            driver = await op.world.drivers.of(vim_id)
            await ability(driver, Networks, "networks").delete_network(network.spec.id)


def create_vnfs(connection: Connection, op: Op) -> object:
    """Start the instantiation of every function, each as an operation of its own."""
    want = decode(InstantiateNs, op.operation.parameters)
    ns = instances.get_ns(connection, None, op.operation.instance_id)
    flavour = ns_flavour(connection, ns, ns.flavour_id)
    return members.start_children(
        connection, op, INSTANTIATE_VNF, ns.vnfs, what="instantiate",
        parameters=lambda member: _instantiation(ns, flavour, want, member),
    )  # fmt: skip


def _instantiation(ns: NsInstance, flavour: NsFlavour, want: InstantiateNs, member: NsVnf) -> InstantiateVnf:
    profile = flavour.profiles[member.profile]
    networks = {network.link: network for network in ns.networks}
    # A hop is a bump in the wire: both its ports on one bridge would be a loop, so only the chain feeds
    # them.
    fed_by_chain = {
        cp
        for path in flavour.paths
        for hop in path.hops
        if hop.profile == profile.id and hop.ingress_cp != hop.egress_cp
        for cp in (hop.ingress_cp, hop.egress_cp)
    }
    return InstantiateVnf(
        flavour_id=profile.flavour_id,
        level_id=profile.level_id,
        vim=member.vim_id,
        region=want.regions.get(profile.id, ""),
        zone=want.zones.get(profile.id, ""),
        external_links=tuple(
            _external_link(cp, networks[link], member.vim_id)
            for cp, link in profile.links.items()
            if cp not in fed_by_chain
        ),
        compute_flavours=dict(want.compute_flavours.get(profile.id, {})),
        unbound_cps=tuple(sorted(fed_by_chain)),
        configuration=dict(want.configurations.get(profile.id, {})),
    )


def _external_link(cp: str, network: NsNetwork, vim_id: VimId) -> ExternalLink:
    # Addresses on a network of the VIM's own are the VIM's to choose.
    if vim_id in network.named:
        return ExternalLink(cp=cp, network_id=network.named[vim_id])
    spec = network.spec
    return ExternalLink(cp=cp, network_id=spec.id, cidr_v4=spec.cidr_v4, cidr_v6=spec.cidr_v6)


async def delete_vnfs(op: Op) -> None:
    """Undo: bring every function back to a mere record."""
    await members.remove_all(op, TERMINATE_VNF, lambda _member: TerminateVnf())


async def wait_for_vnfs(op: Op) -> None:
    """Wait until every function runs; a retried wait first has the failed ones try again."""
    children = [OperationId(one) for one in op.result_of(create_vnfs, list[str])]
    if op.attempt > 1:
        children = await op.world.database.run(_try_again, op)
        op.world.nudge()
    await members.wait_for(op, children)


def _try_again(connection: Connection, op: Op) -> list[OperationId]:
    want = decode(InstantiateNs, op.operation.parameters)
    ns = instances.get_ns(connection, None, op.operation.instance_id)
    flavour = ns_flavour(connection, ns, ns.flavour_id)
    return members.try_again(
        connection, op, INSTANTIATE_VNF, ns.vnfs, what=f"instantiate{op.attempt}",
        parameters=lambda member: _instantiation(ns, flavour, want, member),
    )  # fmt: skip


async def build_chains(op: Op) -> None:
    """Derive the chains from what stands and apply them on every VIM involved."""
    for chain in await op.world.database.run(_first_chains, op):
        await chaining.apply(op, chain)


def _first_chains(connection: Connection, op: Op) -> tuple[Chain, ...]:
    ns = instances.get_ns(connection, None, op.operation.instance_id, for_update=True)
    if ns.chains:
        return ns.chains
    flavour = ns_flavour(connection, ns, ns.flavour_id)
    told = op.result_of(create_links, dict[str, dict[str, str]])
    chains: list[Chain] = []
    vnfs = instances.vnfs_of_ns(connection, ns.id)
    for path, chain in zip(flavour.paths, chaining.derive(ns, flavour, vnfs), strict=True):
        involved = chaining.vims_of(chain)
        count = chaining.vni_count(path, len(involved))
        chains.append(
            replace(
                chain,
                vni_first=instances.take_vnis(
                    connection, project_id=ns.project_id, owner=f"{ns.id}/path/{path.id}", count=count
                ),
                vni_count=count,
                endpoints={VimId(vim): told["endpoints"][vim] for vim in sorted(involved)},
                agents={VimId(vim): told["agents"][vim] for vim in sorted(involved)},
            )
        )
    instances.save_ns(connection, replace(ns, chains=tuple(chains)))
    return tuple(chains)


async def delete_chains(op: Op) -> None:
    """Undo: take the chains down everywhere."""
    ns = await op.world.database.run(instances.get_ns, None, op.operation.instance_id)
    for chain in ns.chains:
        await chaining.remove(op, chain)


def record(connection: Connection, op: Op) -> object:
    """From now on the service is INSTANTIATED."""
    ns = instances.get_ns(connection, None, op.operation.instance_id)
    saved = instances.save_ns(connection, replace(ns, state=InstantiationState.INSTANTIATED))
    return encode(saved.state)


INSTANTIATE_NS: Saga[World] = Saga(
    verb="instantiate_ns",
    kind=InstanceKind.NS,
    type="INSTANTIATE",
    parameters=InstantiateNs,
    steps=(
        step("Choose identifiers and VIMs", place, undo=forget),
        step("Create the links", create_links, undo=delete_links),
        step("Create the functions", create_vnfs, undo=delete_vnfs),
        step("Wait for the functions", wait_for_vnfs),
        step("Build the chains", build_chains, undo=delete_chains),
        step("Record the service", record),
    ),
)
