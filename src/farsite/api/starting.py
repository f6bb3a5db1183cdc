"""Starts lifecycle verbs for both APIs: what can be refused is refused before anything is accepted.

The first step of every verb decides again when it runs; here it is only asked early, so that a caller
hears of a wrong state or size at once and no operation is recorded for it.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from farsite.api.context import Context
from farsite.api.problem import Unusable
from farsite.catalogue.entries import nsd_entry, package_entry
from farsite.lifecycle import requests
from farsite.lifecycle.change_vnf_connectivity import ChangeVnfConnectivity
from farsite.lifecycle.change_vnf_connectivity import check as check_connectivity
from farsite.lifecycle.change_vnf_package import ChangeVnfPackage
from farsite.lifecycle.change_vnf_package import check as check_package_change
from farsite.lifecycle.configure_vnf import ConfigureVnf, nothing_to_reapply
from farsite.lifecycle.configure_vnf import check as check_configuration
from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_ns import InstantiateNs, ns_flavour
from farsite.lifecycle.instantiate_ns import check as check_ns
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.instantiate_vnf import check as check_instantiation
from farsite.lifecycle.operate_vnf import OperateVnf
from farsite.lifecycle.operate_vnf import check as check_operate
from farsite.lifecycle.placing import check_place
from farsite.lifecycle.restore_vnf import RestoreVnf
from farsite.lifecycle.restore_vnf import check as check_restore
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_ns import TerminateNs
from farsite.lifecycle.terminate_vnf import TerminateVnf, check_grace
from farsite.lifecycle.upgrade_group import UpgradeGroup
from farsite.lifecycle.upgrade_group import check as check_member
from farsite.lifecycle.upgrade_group import start as start_group
from farsite.lifecycle.upgrade_vnf import UpgradeVnf
from farsite.lifecycle.upgrade_vnf import check as check_upgrade
from farsite.lifecycle.verbs import VERBS
from farsite.model.access import VNF_SIGNATURE, Caller
from farsite.model.configuration import Configuration
from farsite.model.errors import Conflict, Invalid, NotFound, TooOften
from farsite.model.group_upgrade import GroupMember, GroupPlan, read_stages
from farsite.model.healing import Rung
from farsite.model.ids import VnfInstanceId
from farsite.model.ns import NsInstance
from farsite.model.nsd import NsFlavour
from farsite.model.operation import CancelMode, Control, Operation
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.store import instances, managements, operations, packages, turns, vims
from farsite.store.database import Connection


@contextmanager
def named_in_the_body() -> Generator[None]:
    """What is not found in here was named by the content, not by the URI.

    Raises:
        Unusable: in place of NotFound.
    """
    try:
        yield
    except NotFound as missing:
        raise Unusable(missing.detail, about=missing.about) from missing


def instantiate_vnf(context: Context, caller: Caller, key: str, want: InstantiateVnf) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: it is instantiated already, an operation works on it, or a rule of its package does not hold.
    Invalid: its VNFD has no such flavour, level, connection point, virtual link or VDU, or the VIM no such
        region or zone.
    Unusable: no such VIM.
    """
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        if vnf.state is InstantiationState.INSTANTIATED:
            raise Conflict(f"VNF instance {vnf.id} is INSTANTIATED already.", about={"vnf": vnf.id})
        vnfd = packages.vnfd_of(connection, caller.project_id, vnf.vnfd_id)
        check_instantiation(want, vnfd.flavour(want.flavour_id))
        package = packages.get_package(connection, caller.project_id, vnf.package_id)
        context.catalogue.check_rules(connection, caller.project_id, package_entry(package))
        features = package.statement.features.union(want.features)
        want = replace(
            want, features=tuple(sorted(features)) if package.statement.features else want.features
        )
        with named_in_the_body():
            want = want.at(want.place.over(vnf.place))
            check_place(connection, caller.project_id, want.place)
        return _start(connection, context, caller, "instantiate_vnf", vnf.id, want)


def scale_vnf(context: Context, caller: Caller, key: str, want: ScaleVnf) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: it is not instantiated, or an operation works on it.
    Invalid: no such aspect, or the steps lead beyond its levels.
    """
    with context.database.transaction() as connection:
        vnf = _standing(connection, caller, key, "scaled")
        if want.aspect_id not in vnf.scale_levels:
            known = ", ".join(sorted(vnf.scale_levels)) or "none"
            raise Invalid(f'The VNF has no scaling aspect "{want.aspect_id}". Aspects: {known}.')
        steps = want.steps if want.type is ScaleType.SCALE_OUT else -want.steps
        flavour = packages.vnfd_of(connection, caller.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
        flavour.counts_at({**vnf.scale_levels, want.aspect_id: vnf.scale_levels[want.aspect_id] + steps})
        return _start(connection, context, caller, "scale_vnf", vnf.id, want)


def heal_vnf(context: Context, caller: Caller, key: str, want: HealVnf) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: it is not instantiated, an operation works on it, or its descriptor does not let it be moved.
    Invalid: it has no such VNFC.
    """
    with context.database.transaction() as connection:
        vnf = _standing(connection, caller, key, "healed")
        known = {one.id for one in vnf.deployment.vnfcs} if vnf.deployment else set[str]()
        unknown = sorted(set(want.vnfc_ids) - known)
        if unknown:
            raise Invalid(
                f"VNF instance {vnf.id} has no VNFC {', '.join(unknown)}. It has: {', '.join(sorted(known))}."
            )
        _refuse_evacuation(vnf, want)
        return _start(connection, context, caller, "heal_vnf", vnf.id, want)


def _refuse_evacuation(vnf: VnfInstance, want: HealVnf) -> None:
    if vnf.deployment is None or all(one.kind is not Rung.EVACUATE for one in want.ladder):
        return
    for one in vnf.deployment.vnfcs:
        if not one.may_be_evacuated and (not want.vnfc_ids or one.id in want.vnfc_ids):
            raise Conflict(
                f"VNFC {one.id} may not be evacuated: its descriptor allows {', '.join(one.migration_types)} "
                f"only (supported_migration_type). Leave evacuate out of the ladder: respawn makes another.",
                about={"vnfc": one.id},
            )


def operate_vnf(context: Context, caller: Caller, key: str, want: OperateVnf) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: it is not instantiated, or an operation works on it.
    Invalid: it has no such VNFC, or the timeout is out of bounds.
    """
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        check_operate(vnf, want)
        return _start(connection, context, caller, "operate_vnf", vnf.id, want)


def change_vnf_connectivity(
    context: Context, caller: Caller, key: str, want: ChangeVnfConnectivity
) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: it is not instantiated, or an operation works on it.
    Invalid: no link, or one of a connection point that it has not or that only a chain feeds.
    """
    with context.database.transaction() as connection:
        vnf = _standing(connection, caller, key, "connected otherwise")
        flavour = packages.vnfd_of(connection, caller.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
        check_connectivity(vnf, flavour, want)
        return _start(connection, context, caller, "change_vnf_connectivity", vnf.id, want)


def change_vnf_package(context: Context, caller: Caller, key: str, want: ChangeVnfPackage) -> Operation:
    """Start the change to a package named by id, VNFD id or product, the latter with a range of versions
    behind it where several are there; the operation keeps its id, and why it is that one.

    Raises:
        NotFound: no such VNF instance.
        Conflict: it is not instantiated, is of that package, the package cannot be used, or an operation
            works on the instance.
        Invalid: the packages do not match.
        Unusable: no such package.
    """
    with context.database.transaction() as connection:
        vnf = _standing(connection, caller, key, "changed to another package")
        with named_in_the_body():
            other = check_package_change(connection, vnf, want)
            package = packages.get_package(connection, caller.project_id, other.package_id)
            context.catalogue.check_rules(connection, caller.project_id, package_entry(package))
        want = replace(want, package_id=other.package_id, package_choice=other.package_choice)
        return _start(connection, context, caller, "change_vnf_package", vnf.id, want)


def configure_vnf(
    context: Context,
    caller: Caller,
    key: str,
    *,
    document: Configuration | None,
    version: int | None,
    cause: str = "",
    confirm_within_s: float | None = None,
) -> Operation:
    """Configure with a document, with an older version, or with neither the version that is current when the
    change begins. It waits for changes of the same VNF that were accepted before.

    Raises:
        NotFound: no such VNF instance, or version, or nobody has said how it is managed.
        Conflict: it is not instantiated, has no version yet, another kind of operation works on it, or as
            many changes wait for it as may.
        Invalid: the time to confirm is out of bounds.
    """
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        restores = 0
        if version is not None:
            chosen = managements.version(connection, vnf.id, version)
            document, restores = chosen.document, chosen.number
        elif document is None and not _may_be_configured_later(connection, vnf):
            raise Conflict(nothing_to_reapply(vnf.id))
        want = ConfigureVnf(
            document=document, restores=restores, cause=cause, confirm_within_s=confirm_within_s
        )
        check_configuration(connection, vnf, confirm_within_s)
        return _start(connection, context, caller, "configure_vnf", vnf.id, want)


def restore_vnf(
    context: Context, caller: Caller, key: str, *, backup: int, cause: str, confirm_within_s: float | None
) -> Operation:
    """Put a backup of a VNF back. It waits for changes of the same VNF that were accepted before.

    Raises:
        NotFound: no such VNF instance, or backup, or nobody has said how it is managed.
        Conflict: it is not instantiated, another kind of operation works on it, as many changes wait for it
            as may, or a process of an older release is alive.
        Invalid: the time to confirm is out of bounds.
    """
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        want = RestoreVnf(backup=backup, cause=cause, confirm_within_s=confirm_within_s)
        check_restore(connection, vnf, want)
        return _start(connection, context, caller, "restore_vnf", vnf.id, want)


def _may_be_configured_later(connection: Connection, vnf: VnfInstance) -> bool:
    """Whether it has a configuration, or an operation is at work or in line that may give it one."""
    return (
        managements.current(connection, vnf.id) is not None
        or operations.lock_holder(connection, vnf.id) is not None
        or bool(operations.in_line(connection, vnf.id))
    )


def upgrade_vnf(context: Context, caller: Caller, key: str, want: UpgradeVnf) -> Operation:
    """Upgrade the software inside a VNF. It waits for changes of the same VNF that were accepted before.

    Raises:
        NotFound: no such VNF instance, or nobody has said how it is managed.
        NotSupported: its adapter cannot upgrade.
        Conflict: it is not instantiated, another kind of operation works on it, or as many changes wait for
            it as may.
        Invalid: neither an image nor a version is named, or the time to confirm is out of bounds.
    """
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        check_upgrade(connection, vnf, want, context.devices.adapters)
        return _start(connection, context, caller, "upgrade_vnf", vnf.id, want)


def upgrade_group(
    context: Context,
    caller: Caller,
    keys: Sequence[str],
    each: UpgradeVnf,
    *,
    stages: Sequence[str],
    pause_s: float,
    rolls_back: bool,
) -> Operation:
    """Upgrade several VNFs in stages, in the order in which they are named.

    Raises:
        Unusable: no such VNF instance, or nobody has said how it is managed.
        NotSupported: the adapter of one cannot upgrade.
        Conflict: one is not instantiated, is in another group that is being upgraded, or another kind of
            operation works on it; or a process of an older release is alive.
        Invalid: nobody is named, or somebody twice; the stages do not grow; or as for one alone.
    """
    with context.database.transaction() as connection:
        members: list[GroupMember] = []
        for key in keys:
            with named_in_the_body():
                vnf = instances.get_vnf(connection, caller.project_id, key)
                check_member(connection, vnf, each, context.devices.adapters)
            members.append(GroupMember(vnf_id=vnf.id, name=vnf.name or vnf.id))
        plan = GroupPlan(
            members=tuple(members),
            stages=read_stages(stages, len(members)),
            pause_s=pause_s,
            rolls_back=rolls_back,
        )
        return start_group(
            connection,
            context.begin,
            UpgradeGroup(plan=plan, each=each),
            project_id=caller.project_id,
            clock=context.clock,
            requested_by=caller.signature,
        )


def terminate_vnf(context: Context, caller: Caller, key: str, want: TerminateVnf) -> Operation:
    """Raises:
    NotFound: no such VNF instance.
    Conflict: nothing of it stands, it belongs to a service, or an operation works on it.
    Invalid: the timeout is out of bounds.
    """
    check_grace(want)
    with context.database.transaction() as connection:
        vnf = instances.get_vnf(connection, caller.project_id, key)
        # Not by its state: what an instantiation that failed for good left can be terminated too.
        if vnf.deployment is None:
            raise Conflict(
                f"VNF instance {vnf.id} is not instantiated, so it cannot be terminated.",
                about={"vnf": vnf.id},
            )
        if vnf.ns_id is not None:
            raise Conflict(
                f"VNF instance {vnf.id} is part of NS instance {vnf.ns_id}. Terminate the service "
                f"(farsite ns terminate {vnf.ns_id})."
            )
        return _start(connection, context, caller, "terminate_vnf", vnf.id, want)


def instantiate_ns(context: Context, caller: Caller, key: str, want: InstantiateNs) -> Operation:
    """Raises:
    NotFound: no such NS instance.
    Conflict: it is instantiated already, an operation works on it, or a rule of the NSD or of a package that
        it uses does not hold.
    Invalid: its NSD has no such flavour, level, profile or virtual link.
    Unusable: no such VIM.
    """
    with context.database.transaction() as connection:
        ns = instances.get_ns(connection, caller.project_id, key)
        if ns.state is InstantiationState.INSTANTIATED:
            raise Conflict(f"NS instance {ns.id} is INSTANTIATED already.", about={"ns": ns.id})
        flavour = ns_flavour(connection, ns, want.flavour_id)
        check_ns(want, flavour)
        _check_rules_of(context, connection, caller, ns, flavour)
        with named_in_the_body():
            for vim in {*want.vims.values(), *(vim for said in want.networks.values() for vim in said)} - {
                ""
            }:
                vims.get(connection, caller.project_id, vim)
        return _start(connection, context, caller, "instantiate_ns", ns.id, want)


def _check_rules_of(
    context: Context, connection: Connection, caller: Caller, ns: NsInstance, flavour: NsFlavour
) -> None:
    info = packages.get_nsd_info(connection, caller.project_id, ns.nsd_info_id)
    used = [
        package_entry(package)
        for vnfd_id in sorted({profile.vnfd_id for profile in flavour.profiles.values()})
        if (package := packages.by_id(connection, caller.project_id, vnfd_id)) is not None
    ]
    context.catalogue.check_rules(connection, caller.project_id, nsd_entry(info), *used)


def terminate_ns(context: Context, caller: Caller, key: str, want: TerminateNs) -> Operation:
    """Raises:
    NotFound: no such NS instance.
    Conflict: nothing of it stands, or an operation works on it.
    """
    with context.database.transaction() as connection:
        ns = instances.get_ns(connection, caller.project_id, key)
        if ns.state is not InstantiationState.INSTANTIATED and not ns.vnfs:
            raise Conflict(f"NS instance {ns.id} is not instantiated.", about={"ns": ns.id})
        return _start(connection, context, caller, "terminate_ns", ns.id, want)


def control(
    context: Context,
    caller: Caller,
    operation_id: str,
    asked: Control,
    *,
    mode: CancelMode | None = None,
) -> Operation:
    """Ask something of an operation, and have it looked at now. One that waits for its turn and is cancelled
    has ended when it comes back.

    Raises:
        NotFound: no such operation.
        Conflict: its state, or its verb, does not allow it.
    """
    with context.database.transaction() as connection:
        operation = operations.get(connection, caller.project_id, operation_id)
        if asked is Control.ROLLBACK and not can_roll_back(operation):
            raise Conflict(
                f"Operation {operation.id} ({operation.verb}) has nothing to roll back to. Retry it "
                f"(farsite op retry {operation.id}) or fail it (farsite op fail {operation.id}).",
                about={"operation_id": operation.id},
            )
        left = None
        if asked is Control.CANCEL:
            left = turns.leave(connection, operation.id, at=context.clock.now())
        changed = left or operations.ask_control(connection, operation, asked, mode=mode)
    context.nudge()
    return changed


def can_roll_back(operation: Operation) -> bool:
    """Whether the operation's verb knows a way back."""
    saga = VERBS.get(operation.verb)
    return saga is not None and saga.can_roll_back


def _standing(connection: Connection, caller: Caller, key: str, done: str) -> VnfInstance:
    vnf = instances.get_vnf(connection, caller.project_id, key)
    if vnf.state is not InstantiationState.INSTANTIATED:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so it cannot be {done}.", about={"vnf": vnf.id}
        )
    return vnf


def _start(
    connection: Connection, context: Context, caller: Caller, verb: str, instance_id: str, want: object
) -> Operation:
    if caller.vnf_id is not None:
        _refuse_too_often(connection, context, caller.vnf_id)
    return requests.start(
        connection,
        context.begin,
        VERBS[verb],
        instance_id=instance_id,
        project_id=caller.project_id,
        parameters=want,
        clock=context.clock,
        requested_by=caller.signature,
    )


def _refuse_too_often(connection: Connection, context: Context, vnf_id: VnfInstanceId) -> None:
    """A function that asks in a loop must not keep its VIM busy. What it was granted is counted in the
    store, so it makes no difference which process it asks, or with which of its credentials.

    Raises:
        TooOften: it has had what it may have for now.
    """
    most, window = context.settings.vnf_requests, timedelta(seconds=context.settings.vnf_requests_window_s)
    now = context.clock.now()
    granted = operations.asked_by(connection, vnf_id, signed=VNF_SIGNATURE, since=now - window)
    if len(granted) < most:
        return
    # With a lower limit than before, more than the oldest must fall out of the window first.
    again_at = granted[len(granted) - most] + window if most > 0 else now + window
    wait_s = max(1, math.ceil((again_at - now).total_seconds()))
    raise TooOften(
        f"VNF instance {vnf_id} has asked for {len(granted)} scalings and repairs within "
        f"{window.total_seconds():g} s; {most} are granted (setting vnf_requests). Ask again in {wait_s} s.",
        retry_after_s=wait_s,
        about={"vnf": vnf_id},
    )
