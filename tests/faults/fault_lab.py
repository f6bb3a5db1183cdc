"""A Farsite under test: one process of it, its database and two simulated VIMs, and questions to all three.

The questions go behind its back: to the tables, and to the journals of the simulated worlds.
"""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

import farsite.compose
from farsite.functions.packaging import build_sample
from farsite.lifecycle import requests, sizing
from farsite.lifecycle.create_ns import create_ns
from farsite.lifecycle.create_vnf import create_vnf
from farsite.lifecycle.verbs import VERBS
from farsite.model.deployment import Deployment, NetworkSpec, ResourceKind
from farsite.model.ids import DEFAULT_PROJECT, OperationId, VimId, derived_id, new_id
from farsite.model.operation import TERMINAL, CancelMode, Control, Operation, OperationState
from farsite.model.vim import Vim
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.settings import Settings
from farsite.store import instances, operations, tables, vims
from farsite.store.database import Database
from farsite.store.encoding import encode
from farsite.vims.driver import Networks, VimConnection, ability
from farsite.vims.drivers.simulated.driver import SimulatedDriver, world_path
from farsite.vims.drivers.simulated.effects import Effect
from farsite.vims.drivers.simulated.state import State, duplicates
from farsite.workflow.saga import Saga, Step, is_outside
from next_package import next_inspector

BOUND_S = 90.0
"""How long anything may take before the test says that it never came."""

SITES = ("north", "south")
SAMPLES = ("firewall", "inspector", "webserver", "probe")
SIDES = ("side-a", "side-b")
"""Networks that each VIM has, whoever asks."""
RUNNING = frozenset({OperationState.STARTING, OperationState.PROCESSING, OperationState.ROLLING_BACK})


def vim_id(site: str) -> VimId:
    return VimId(derived_id("fault-lab", site))


def settings_of(data_dir: Path, database_url: str, **changed: object) -> Settings:
    """Settings of a process that notices everything soon."""
    quick: dict[str, Any] = {
        "queue_poll_s": 0.02,
        "control_poll_s": 0.05,
        "vim_poll_first_s": 0.02,
        "vim_poll_max_s": 0.1,
        "heartbeat_period_s": 0.2,
        "heartbeat_timeout_s": 1.0,
        # One process after another under one name: each takes up at once what the one before left.
        "executor_id": "lab",
    }
    return Settings(data_dir=data_dir, database_url=database_url, **(quick | changed))


# -- breaking sagas


class Bug(RuntimeError):
    """A programming error of ours, as a step may meet it."""


@dataclass(frozen=True, kw_only=True)
class Break:
    """An error that one step's action (or undo) raises, `times` times, before or after its effect."""

    step: str
    error: Exception
    is_undo: bool = False
    after: bool = False
    times: int = 1


@dataclass
class Sabotage:
    """Which steps of which operations break. Steps ask it on every call."""

    planned: dict[str, list[Break]] = field(default_factory=dict[str, list[Break]])
    """Operation id, or a verb for every operation of it, -> what breaks."""
    used: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def due(self, operation: Operation, step: str, *, is_undo: bool, after: bool) -> Exception | None:
        for key in (operation.id, operation.verb):
            for number, one in enumerate(self.planned.get(key, ())):
                is_meant = (one.step, one.is_undo, one.after) == (step, is_undo, after)
                if is_meant and self.used.get((key, number), 0) < one.times:
                    self.used[key, number] = self.used.get((key, number), 0) + 1
                    return one.error
        return None

    def verbs(self) -> dict[str, Saga[Any]]:
        """The registered verbs, each step of which asks us first and last."""
        return {name: self._saga(saga) for name, saga in VERBS.items()}

    def _saga(self, saga: Saga[Any]) -> Saga[Any]:
        return replace(saga, steps=tuple(self._step(one) for one in saga.steps))

    def _step(self, one: Step[Any]) -> Step[Any]:
        name = one.name
        undo = one.undo and self._wrapped(one.undo, name, is_undo=True)
        return replace(one, action=self._wrapped(one.action, name, is_undo=False), undo=undo)

    def _wrapped(self, action: Callable[..., Any], step: str, *, is_undo: bool) -> Callable[..., Any]:
        def strike(operation: Operation, *, after: bool) -> None:
            error = self.due(operation, step, is_undo=is_undo, after=after)
            if error is not None:
                raise error

        async def outside(op: Any) -> object:
            strike(op.operation, after=False)
            result = await action(op)
            strike(op.operation, after=True)
            return result

        def in_database(connection: sa.Connection, op: Any) -> object:
            strike(op.operation, after=False)
            result = action(connection, op)
            strike(op.operation, after=True)
            return result

        wrapped = outside if is_outside(action) else in_database
        wrapped.__name__ = action.__name__
        return wrapped


# -- killing ourselves


@dataclass(frozen=True, kw_only=True)
class Kill:
    """SIGKILL of the process at a step of an operation; `step` as the runner's key without attempt."""

    operation_id: str
    step: str
    when: str

    def __call__(self, operation_id: OperationId, key: str, when: str) -> None:
        if (operation_id, key.partition("#")[0], when) == (self.operation_id, self.step, self.when):
            os.kill(os.getpid(), signal.SIGKILL)


# -- the lab


class Lab:
    """One process of Farsite with all that a scenario needs of it."""

    def __init__(self, settings: Settings, sabotage: Sabotage | None = None) -> None:
        self.settings = settings
        self.sabotage = sabotage or Sabotage()
        # The composition root knows the verbs by name; ours are the same ones, breakable.
        farsite.compose.VERBS = self.sabotage.verbs()
        self.farsite = farsite.compose.Farsite(settings)
        self.clock = self.farsite.clock
        self.database: Database = self.farsite.database
        self.eyes = {site: Eyes(settings, site) for site in SITES}
        self.known_faults: set[str] = set()

    async def start(self, kill: Kill | None = None) -> None:
        if kill is not None:
            self.farsite.runner.on_step = kill
        await self.farsite.start()

    async def stop(self) -> None:
        await self.farsite.stop()

    async def furnish(self, type_: str = "simulated") -> None:
        """Register the VIMs and onboard the samples."""
        for site in SITES:
            await self.register(site, type_=type_)
        for name in SAMPLES:
            package = await self.farsite.catalogue.create_package(DEFAULT_PROJECT)
            await self.farsite.catalogue.upload_package(
                DEFAULT_PROJECT, package.id, _one_piece(build_sample(name))
            )
        package = await self.farsite.catalogue.create_package(DEFAULT_PROJECT)
        await self.farsite.catalogue.upload_package(DEFAULT_PROJECT, package.id, _one_piece(next_inspector()))
        nsd = await self.farsite.catalogue.create_nsd(DEFAULT_PROJECT)
        await self.farsite.catalogue.upload_nsd(
            DEFAULT_PROJECT, nsd.id, _one_piece(build_sample("chain-demo"))
        )

    async def register(self, site: str, *, type_: str = "simulated", **knobs: object) -> VimId:
        now = self.clock.now()
        if type_ == "simulated":
            knobs = {"deploy_delay_s": 0.02, "provider_networks": list(SIDES)} | knobs
        vim = Vim(
            id=vim_id(site), name=site, type=type_, site=site, project_id=DEFAULT_PROJECT,
            settings=knobs, state_since=now, created_at=now,
        )  # fmt: skip
        await self.database.run(vims.insert, vim, None)
        await self.farsite.watch_vim(vim.id)
        if type_ != "simulated":
            driver = await self.farsite.drivers.of(vim.id)
            for side in SIDES:
                await ability(driver, Networks, "networks").ensure_network(NetworkSpec(id=side, owner=side))
        return vim.id

    async def watched(self) -> None:
        """Wait until every registered VIM has been checked since the start, and answered."""
        opening = self.farsite._opening  # pyright: ignore[reportPrivateUsage]
        assert opening is not None
        await opening
        await until(self._are_active, "every VIM is ACTIVE")

    async def _are_active(self) -> bool:
        return all(vim.state == "ACTIVE" for vim in await self.database.run(vims.everywhere))

    # -- instances

    async def create_vnf(self, product: str = "Farsite inspector") -> str:
        def create(connection: sa.Connection) -> str:
            # Healing by itself would meddle with what the scenario breaks.
            return create_vnf(
                connection, project_id=DEFAULT_PROJECT, package=product, clock=self.clock,
                metadata={"autoheal": "false"},
            ).id  # fmt: skip

        return await self.database.run(create)

    async def create_ns(self) -> str:
        def create(connection: sa.Connection) -> str:
            return create_ns(
                connection, project_id=DEFAULT_PROJECT, nsd="chain-demo", clock=self.clock, name=new_id()[:8]
            ).id

        return await self.database.run(create)

    async def vnf(self, instance_id: str) -> VnfInstance:
        return await self.database.run(instances.get_vnf, None, instance_id)

    # -- operations

    async def begin(
        self, verb: str, instance_id: str, parameters: object, *, operation_id: str | None = None
    ) -> str:
        """Start an operation; its id. One that exists already is left as it is."""

        def start(connection: sa.Connection) -> str:
            if operation_id is not None and operations.find(connection, operation_id) is not None:
                return operation_id
            return requests.start(
                connection, self.farsite.begin, VERBS[verb], instance_id=instance_id,
                project_id=DEFAULT_PROJECT, parameters=parameters, clock=self.clock,
                operation_id=None if operation_id is None else OperationId(operation_id),
            ).id  # fmt: skip

        return await self.database.run(start)

    async def ask(self, operation_id: str, control: Control, mode: CancelMode | None = None) -> None:
        def ask(connection: sa.Connection) -> None:
            operations.ask_control(
                connection, operations.get(connection, None, operation_id), control, mode=mode
            )

        await self.database.run(ask)
        self.farsite.nudge()

    async def operation(self, operation_id: str) -> Operation:
        return await self.database.run(operations.get, None, operation_id)

    async def settled(self, operation_id: str) -> Operation:
        """The operation once it has ended or rests with nothing asked of it."""
        found: list[Operation] = []

        async def is_settled() -> bool:
            found[:] = [await self.operation(operation_id)]
            return is_at_rest(found[0])

        await until(is_settled, f"operation {operation_id} settles", lambda: f"{found}")
        return found[0]

    async def done(self, verb: str, instance_id: str, parameters: object) -> Operation:
        """Run an operation that must complete."""
        operation = await self.settled(await self.begin(verb, instance_id, parameters))
        assert operation.state is OperationState.COMPLETED, operation
        return operation

    async def goes_on(self, operation_id: str, control: Control) -> Operation:
        """Ask something of a resting operation; the operation once it has settled again."""
        await self.ask(operation_id, control)
        return await self.settled(operation_id)


def is_at_rest(operation: Operation) -> bool:
    if operation.state in TERMINAL:
        return True
    return operation.state is OperationState.FAILED_TEMP and operation.control is None


async def _one_piece(content: bytes) -> Any:
    yield content


async def until(
    is_so: Callable[[], Awaitable[bool]],
    what: str,
    told: Callable[[], str] = lambda: "",
    bound_s: float = BOUND_S,
) -> None:
    """Look until it is so, with a bound."""
    ends = time.monotonic() + bound_s
    while not await is_so():
        assert time.monotonic() < ends, f"never came within {bound_s:g} s: {what}. {told()}"
        await asyncio.sleep(0.01)


def quiet(path: Path | None = None) -> None:
    """Send the log to a file, or drop what is not an error."""
    file = path.open("a", buffering=1) if path else None
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=False,
    )


# -- the VIMs, asked behind everybody's back


def driver_of(settings: Settings, site: str) -> SimulatedDriver:
    return SimulatedDriver(
        VimConnection(vim_id=vim_id(site), name=site, site=site, settings={}, run_dir=settings.run_dir)
    )


class Eyes:
    """What a VIM really holds: its journal, read from the file and never through the driver."""

    def __init__(self, settings: Settings, site: str) -> None:
        self._path = world_path(settings.run_dir, vim_id(site))
        self._journal: list[Effect] = []
        self.state = State()

    def look(self) -> State:
        """The state as it is now."""
        connection = sqlite3.connect(self._path, timeout=10)
        rows = connection.execute(
            "SELECT sequence, at, kind, key, body FROM effect WHERE sequence > ? ORDER BY sequence",
            (self.state.sequence,),
        ).fetchall()
        connection.close()
        for sequence, at, kind, key, body in rows:
            effect = Effect(sequence=sequence, at=at, kind=kind, key=key, body=json.loads(body))
            self._journal.append(effect)
            self.state.apply(effect)
        return self.state

    def doubled(self) -> Sequence[str]:
        """What was created while it already stood."""
        self.look()
        return duplicates(self._journal)


async def inject(settings: Settings, site: str, kind: str, target: str = "", **fault: object) -> None:
    driver = driver_of(settings, site)
    try:
        await driver.inject(kind, target, fault)
    finally:
        await driver.close()


async def clear_faults(settings: Settings) -> None:
    for site in SITES:
        driver = driver_of(settings, site)
        await driver.clear_faults()
        await driver.close()


# -- the whole world of one instance, for comparing before with after


Picture = Mapping[str, object]


async def picture(lab: Lab, instance_id: str) -> Picture:
    """All that is recorded and all that stands for an instance (and a service's members), less what every
    change counts up: versions, revisions, ids that a VIM gives."""
    drawn = dict(await lab.database.run(_recorded_of, instance_id))
    for site in SITES:
        state = lab.eyes[site].look()
        owners = {instance_id, *_keys(drawn["vnfs"])}
        drawn[f"deployments on {site}"] = {
            name: sorted(
                (
                    one.vnfc_id,
                    one.incarnation,
                    bool(one.died),
                    one.is_stopped,
                    one.zone,
                    str(sorted(map(str, one.ports))),
                )
                for one in held.vnfcs.values()
            )
            for name, held in state.deployments.items()
            if held.vnf_id in owners
        }
        drawn[f"networks on {site}"] = sorted(
            str(one) for one in state.networks.values() if one.owner in owners
        )
        drawn[f"chains on {site}"] = sorted(
            str(_without(one.document, "revision"))
            for one in state.chains.values()
            if one.document["owner"] in owners
        )
    return drawn


def _keys(found: object) -> set[str]:
    assert isinstance(found, dict)
    return set(found)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _without(body: object, *names: str) -> object:
    """JSON without some keys, at every depth."""
    if isinstance(body, Mapping):
        return {key: _without(value, *names) for key, value in body.items() if key not in names}
    if isinstance(body, list | tuple):
        return [_without(value, *names) for value in body]
    return body


def _recorded_of(connection: sa.Connection, instance_id: str) -> Mapping[str, object]:
    vnf_rows = connection.execute(
        sa.select(tables.vnf_instances.c.id, tables.vnf_instances.c.body).where(
            sa.or_(tables.vnf_instances.c.id == instance_id, tables.vnf_instances.c.ns_id == instance_id)
        )
    ).all()
    ids = [row.id for row in vnf_rows]
    ns_rows = connection.execute(
        sa.select(tables.ns_instances.c.body).where(tables.ns_instances.c.id == instance_id)
    ).all()
    for row in ns_rows:
        ids += [one["vnf_id"] for one in row.body["vnfs"]]
    volatile = ("version", "revision")
    return {
        "vnfs": {row.id: _vnf_picture(row.body) for row in vnf_rows},
        "ns": [_without(row.body, *volatile) for row in ns_rows],
        "allocations": sorted(
            tuple(row)
            for row in connection.execute(
                sa.select(tables.allocations).where(tables.allocations.c.vnf_id.in_(ids))
            )
        ),
        "addresses": sorted(
            tuple(row)
            for row in connection.execute(
                sa.select(tables.addresses).where(tables.addresses.c.owner.in_([instance_id, *ids]))
            )
        ),
        "vnis": sorted(
            tuple(row)
            for row in connection.execute(
                sa.select(tables.vni_blocks).where(tables.vni_blocks.c.owner.startswith(instance_id))
            )
        ),
    }


def _vnf_picture(body: Mapping[str, Any]) -> object:
    resources = sorted(str(_without(one, "id", "details", "host")) for one in body["resources"])
    return {**_without(body, "version", "revision", "resources"), "resources": resources}  # type: ignore[dict-item]


# -- what must hold after every fault


async def check_nothing_is_stuck(lab: Lab, *, resting: int = 0) -> None:
    """No operation hangs, no lock is left, the books agree with themselves and with the VIMs.

    `resting` is how many operations are meant to be in FAILED_TEMP.
    """
    wrong: list[str] = []

    async def is_in_order() -> bool:
        # An operation has ended a moment before its workflow has, and before its steps are written.
        wrong[:] = [one for one in await faults_in_books(lab, resting) if one not in lab.known_faults]
        return not wrong

    try:
        await until(is_in_order, "books in order", lambda: "\n".join(wrong))
    finally:
        # Tests share a lab: what one has found is not told again by the next.
        lab.known_faults |= set(wrong)


async def faults_in_books(lab: Lab, resting: int) -> list[str]:
    books = await lab.database.run(_Books.read)
    wrong = books.faults(resting)
    for site, eyes in lab.eyes.items():
        wrong += [f"{site}: created twice: {key}" for key in eyes.doubled()]
        wrong += books.faults_on(site, eyes.state)
    return wrong


@dataclass
class _Books:
    """All rows that must agree."""

    vnfs: dict[str, VnfInstance]
    ns_bodies: dict[str, Any]
    live: dict[str, Operation]
    locks: dict[str, str]
    allocations: dict[str, dict[str, tuple[int, int, int]]]
    allocated_on: dict[str, str]
    addresses: set[tuple[str, str, str]]
    vni_owners: set[str]
    steps: dict[str, list[Any]]

    @classmethod
    def read(cls, connection: sa.Connection) -> "_Books":
        found = connection.execute(
            sa.select(tables.operations.c.id).where(
                tables.operations.c.state.not_in([state.value for state in TERMINAL])
            )
        ).scalars()
        held: dict[str, dict[str, tuple[int, int, int]]] = {}
        allocated_on: dict[str, str] = {}
        for row in connection.execute(sa.select(tables.allocations)):
            held.setdefault(row.vnf_id, {})[row.zone] = (row.vcpus, row.memory_mib, row.disk_gib)
            allocated_on[row.vnf_id] = row.vim_id
        ended = connection.execute(
            sa.select(tables.operations.c.id).where(
                tables.operations.c.state.in_([state.value for state in TERMINAL])
            )
        ).scalars()
        return cls(
            vnfs={
                one: instances.get_vnf(connection, None, one)
                for one in connection.execute(sa.select(tables.vnf_instances.c.id)).scalars()
            },
            ns_bodies=dict(
                tuple(row)
                for row in connection.execute(sa.select(tables.ns_instances.c.id, tables.ns_instances.c.body))
            ),
            live={one: operations.get(connection, None, one) for one in found},
            locks={
                row.instance_id: row.operation_id
                for row in connection.execute(sa.select(tables.operation_locks))
            },
            allocations=held,
            allocated_on=allocated_on,
            addresses={
                (row.owner, row.port, row.address) for row in connection.execute(sa.select(tables.addresses))
            },
            vni_owners=set(connection.execute(sa.select(tables.vni_blocks.c.owner)).scalars()),
            steps={one: operations.steps_of(connection, one) for one in ended},
        )

    def faults(self, resting: int) -> list[str]:
        hanging = [one for one in self.live.values() if not is_at_rest(one)]
        wrong = [f"{one.verb} {one.id} is {one.state}" for one in hanging]
        at_rest = [one for one in self.live.values() if is_at_rest(one)]
        if len(at_rest) > resting:
            wrong += [f"{one.verb} {one.id} rests in FAILED_TEMP: {one.error}" for one in at_rest]
        for instance_id, holder in self.locks.items():
            if holder not in self.live:
                wrong.append(f"{instance_id} is locked by {holder}, which has ended")
        for one in self.live.values():
            if self.locks.get(one.instance_id) != one.id:
                wrong.append(f"{one.verb} {one.id} lives without a lock")
        for operation_id, steps in self.steps.items():
            wrong += [
                f"{operation_id} has ended, its step {one} has not" for one in steps if one.state == "RUNNING"
            ]
        quiet_vnfs = [one for one in self.vnfs.values() if one.id not in self.locks]
        for vnf in quiet_vnfs:
            wrong += self._faults_of(vnf)
        wrong += [
            f"capacity is held for {one}, which is gone" for one in self.allocations if one not in self.vnfs
        ]
        wrong += [f"address {one} belongs to nobody" for one in self.addresses if one[0] not in self.vnfs]
        known = {
            f"{ns_id}/{network['link']}"
            for ns_id, body in self.ns_bodies.items()
            for network in body["networks"]
        }
        wrong += [
            f"VXLAN ids of {owner} belong to nothing"
            for owner in self.vni_owners
            if owner not in known and not self.ns_bodies.get(owner.partition("/")[0], {}).get("chains")
        ]
        return wrong

    def _faults_of(self, vnf: VnfInstance) -> list[str]:
        deployment = vnf.deployment
        stands = deployment is not None and vnf.preempted_for is None
        should = sizing.held_per_zone(deployment) if deployment and stands else {}
        is_reserved = vnf.ns_id in self.locks
        if self.allocations.get(vnf.id, {}) != should and not is_reserved:
            return [f"{vnf.id} holds {self.allocations.get(vnf.id)} instead of {should}"]
        wrong = [] if not should or self.allocated_on.get(vnf.id) == vnf.vim_id else [f"{vnf.id}: wrong VIM"]
        if deployment is None:
            if any(owner == vnf.id for owner, _, _ in self.addresses):
                wrong.append(f"{vnf.id} is not instantiated and holds addresses")
            return wrong
        ports = {
            (vnf.id, f"{one.id}/{port.name}", address.partition("/")[0])
            for one in deployment.vnfcs
            for port in one.ports
            for address in port.addresses
        }
        taken = {one for one in self.addresses if one[0] == vnf.id}
        if ports != taken:
            wrong.append(f"{vnf.id} holds addresses {taken} instead of {ports}")
        return wrong

    def faults_on(self, site: str, state: State) -> list[str]:
        wrong: list[str] = []
        now = time.time()
        here = {
            one.deployment.name: one
            for one in self.vnfs.values()
            if one.deployment is not None and one.vim_id == vim_id(site) and one.preempted_for is None
        }
        for name, held in state.deployments.items():
            vnf = here.get(name)
            if vnf is None:
                wrong.append(f"{site} holds {name}, which nobody recorded there")
            elif vnf.id not in self.locks and vnf.state is InstantiationState.INSTANTIATED:
                wrong += _differences(site, vnf, held, now)
        wrong += [
            f"{site} lost {name}"
            for name, vnf in here.items()
            if vnf.state is InstantiationState.INSTANTIATED
            and vnf.id not in self.locks
            and name not in state.deployments
        ]
        networks = {
            network["spec"]["id"]
            for body in self.ns_bodies.values()
            for network in body["networks"]
            if vim_id(site) in network["vims"]
        }
        wrong += [f"{site} holds network {one} of nobody" for one in state.networks if one not in networks]
        chains = {chain["id"]: chain for body in self.ns_bodies.values() for chain in body["chains"]}
        for chain_id, held_chain in state.chains.items():
            if chain_id not in chains:
                wrong.append(f"{site} holds chain {chain_id} of nobody")
            elif not (set(self.locks) & {held_chain.document["owner"], *_members(self, chains[chain_id])}):
                ours = _without(chains[chain_id])
                theirs = _without(held_chain.document)
                if encode(ours) != encode(theirs):
                    wrong.append(f"{site}: chain {chain_id} is\n{theirs}\ninstead of\n{ours}")
        return wrong


async def check_against_driver(lab: Lab) -> None:
    """As `check_nothing_is_stuck` where the VIM can only be asked through its driver: what `find` sees is
    what is recorded, and every VNFC stands once."""
    wrong: list[str] = []

    async def is_in_order() -> bool:
        books = await lab.database.run(_Books.read)
        wrong[:] = books.faults(0)
        for site in SITES:
            found = await (await lab.farsite.drivers.of(vim_id(site))).find("")
            found = [one for one in found if one.owner not in SIDES]
            standing = sorted(
                (str(one.vnfc_id), one.incarnation) for one in found if one.kind is ResourceKind.COMPUTE
            )
            here = [one for one in books.vnfs.values() if one.vim_id == vim_id(site) and one.deployment]
            recorded = sorted(
                (str(vnfc.id), vnfc.incarnation)
                for one in here
                # What was preempted keeps its record, and nothing of it stands.
                for vnfc in (one.deployment.vnfcs if one.deployment and not one.preempted_for else ())
            )
            if standing != recorded:
                wrong.append(f"{site} holds {standing} instead of {recorded}")
            owners = {one.id for one in here} | set(books.ns_bodies)
            owners |= {chain["id"] for body in books.ns_bodies.values() for chain in body["chains"]}
            wrong.extend(f"{site} holds {one} of nobody" for one in found if one.owner not in owners)
            if not books.vnfs and found:
                wrong.append(f"{site} still holds {found}")
        return not wrong

    await until(is_in_order, "books in order", lambda: "\n".join(wrong), bound_s=5)


def _members(books: _Books, chain: Mapping[str, Any]) -> set[str]:
    return {one.id for one in books.vnfs.values() if one.ns_id == chain["owner"]}


def _differences(site: str, vnf: VnfInstance, held: Any, now: float) -> list[str]:
    deployment = vnf.deployment
    assert isinstance(deployment, Deployment)
    ours = {(one.id, one.incarnation, one.is_stopped, one.image) for one in deployment.vnfcs}
    theirs = sorted((one.vnfc_id, one.incarnation, one.is_stopped, one.image) for one in held.vnfcs.values())
    wires = {
        (one.vnfc_id, port.name): (port.network_id, port.addresses)
        for one in held.vnfcs.values()
        for port in one.ports
    }
    for one in deployment.vnfcs:
        for port in one.ports:
            if wires.get((one.id, port.name)) not in (None, (port.network_id, port.addresses)):
                return [f"{site}: port {port.name} of {one.id} is {wires[one.id, port.name]}"]
    wrong = [] if sorted(ours) == theirs else [f"{site}: {vnf.id} is {theirs} instead of {sorted(ours)}"]
    if held.revision != deployment.revision:
        wrong.append(f"{site}: {vnf.id} is at revision {held.revision} instead of {deployment.revision}")
    said = {one.id for one in vnf.resources}
    stands = {one.id for one in held.resources(now)}
    if said != stands:
        wrong.append(f"{site}: {vnf.id} is recorded with resources {said}, but {stands} stand")
    return wrong
