"""Does one job: opens the device and makes the one call."""

from farsite.model.configuration import Configuration
from farsite.model.errors import FarsiteError, Invalid, NotSupported
from farsite.vnfs.adapter import Adapter, Plan, Wanted
from farsite.vnfs.broker.jobs import VERSION, Answer, Job, JobVerb, fault_of
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import Adapters
from farsite.vnfs.shell_adapter import ShellAdapter
from farsite.vnfs.transports.local import LocalShell


async def perform(job: Job, adapters: Adapters, *, allow_local: bool = False) -> Answer:
    """Make the call; every refusal, fault and silence of the device is an answer too."""
    try:
        if job.version > VERSION:
            raise NotSupported(
                f"This broker understands jobs up to version {VERSION}, and this one is of version "
                f"{job.version}. Upgrade the broker."
            )
        adapter = _opened(job, adapters, allow_local=allow_local)
        try:
            return await _called(adapter, job)
        finally:
            await adapter.close()
    except FarsiteError as error:
        return Answer(job_id=job.id, fault=fault_of(error))


def _opened(job: Job, adapters: Adapters, *, allow_local: bool) -> Adapter:
    access, folder = job.access, adapters.get(job.adapter)
    if access.host:
        return open_device(
            folder,
            DeviceAccess(
                host=access.host,
                port=access.port,
                user=access.user,
                known_by=access.host_keys,
                private_key=access.private_key,
                password=access.password,
            ),
            device=job.name,
            parameters=job.parameters,
            keep_in=job.keep_in,
        )
    if not allow_local:
        raise Invalid(
            f"{job.name} is to be managed on the broker's own machine, which this broker does not allow. "
            f"Start it with --allow-local, or name the device's address."
        )
    if folder.dictionary.access.method != "shell":
        over = "HTTPS" if folder.dictionary.access.method == "rest" else "NETCONF"
        raise Invalid(
            f"{job.name} is managed over {over} (adapter {job.adapter}). Name the device's address."
        )
    return ShellAdapter(folder, LocalShell(), device=job.name, parameters=job.parameters, keep_in=job.keep_in)


async def _called(adapter: Adapter, job: Job) -> Answer:
    match job.verb:
        case JobVerb.FETCH:
            return Answer(job_id=job.id, running=await adapter.fetch())
        case JobVerb.PLAN:
            running = job.running or await adapter.fetch()
            return Answer(job_id=job.id, plan=await adapter.plan(_wanted(job), running))
        case JobVerb.APPLY:
            await adapter.apply(
                _wanted(job),
                job.plan or Plan(differences=(), against=""),
                change_id=job.change_id,
                confirm_within_s=job.confirm_within_s,
            )
        case JobVerb.CONFIRM:
            await adapter.confirm(job.change_id)
        case JobVerb.REVERT:
            await adapter.revert(job.change_id)
        case JobVerb.OUTCOME:
            return Answer(job_id=job.id, outcome=await adapter.outcome(job.change_id))
        case JobVerb.HEALTH:
            return Answer(job_id=job.id, health=tuple(await adapter.health()))
        case JobVerb.METRICS:
            return Answer(job_id=job.id, metrics=tuple(await adapter.metrics()))
    return Answer(job_id=job.id)


def _wanted(job: Job) -> Wanted:
    return Wanted(document=job.document or Configuration(), secrets=job.secrets)
