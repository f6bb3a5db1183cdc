"""Does one job: opens the device and makes the one call."""

from farsite.model.configuration import Configuration
from farsite.model.errors import FarsiteError, Invalid, NotSupported
from farsite.model.software import SoftwareImage
from farsite.vnfs.adapter import Adapter, Plan, Wanted
from farsite.vnfs.broker.jobs import VERSION, Answer, Job, JobVerb, fault_of
from farsite.vnfs.licences import licences
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import Adapters
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.software import ImageContent, upgrades
from farsite.vnfs.transports.kept_sessions import KeptSessions
from farsite.vnfs.transports.local import LocalShell


async def perform(
    job: Job,
    adapters: Adapters,
    sessions: KeptSessions,
    *,
    allow_local: bool = False,
    content: ImageContent | None = None,
) -> Answer:
    """Make the call; every refusal, fault and silence of the device is an answer too. `content` is that of
    the image that the job speaks of. `sessions` are those of the jobs before it; jobs of one device come one
    after another."""
    try:
        if job.version > VERSION:
            raise NotSupported(
                f"This broker understands jobs up to version {VERSION}, and this one is of version "
                f"{job.version}. Upgrade the broker."
            )
        adapter = _opened(job, adapters, sessions, allow_local=allow_local)
        try:
            return await _called(adapter, job, content)
        finally:
            await adapter.close()
    except FarsiteError as error:
        return Answer(job_id=job.id, fault=fault_of(error))


def _opened(job: Job, adapters: Adapters, sessions: KeptSessions, *, allow_local: bool) -> Adapter:
    access, folder = job.access, adapters.get(job.adapter)
    if folder.dictionary.access.method == "function":
        # Whatever host a job names, nothing there could be known for the function by.
        raise NotSupported(
            f"{job.name} is a function of Farsite's own (adapter {job.adapter}), which answers on the "
            f"loopback inside its VNFC alone; only its VIM leads there, and no broker. Nothing was done. "
            f"Have Farsite manage it directly, by its VNFC and without a broker."
        )
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
            # Whether a function is well after a change includes that it still lets us in.
            opens_shell=sessions.shells(job.device, afresh=job.verb is JobVerb.HEALTH),
        )
    if not allow_local:
        raise Invalid(
            f"{job.name} is to be managed on the broker's own machine, which this broker does not allow. "
            f"Start it with --allow-local, or name the device's address."
        )
    if folder.dictionary.access.method != "shell":
        over = {"rest": "HTTPS", "netconf": "NETCONF", "ansible": "SSH, by Ansible"}
        raise Invalid(
            f"{job.name} is managed over {over[folder.dictionary.access.method]} (adapter {job.adapter}). "
            f"Name the device's address."
        )
    return ShellSoftware(
        folder, LocalShell(), device=job.name, parameters=job.parameters, keep_in=job.keep_in
    )


async def _called(adapter: Adapter, job: Job, content: ImageContent | None) -> Answer:
    match job.verb:
        case JobVerb.FETCH:
            return Answer(job_id=job.id, running=await adapter.fetch())
        case JobVerb.BACK_UP:
            return Answer(job_id=job.id, backup=await adapter.back_up())
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
        case JobVerb.SOFTWARE:
            return Answer(job_id=job.id, software=await upgrades(adapter).software())
        case JobVerb.EXAMINE:
            return Answer(job_id=job.id, health=tuple(await upgrades(adapter).examine(job.image)))
        case JobVerb.RECEIVE:
            assert content is not None
            await upgrades(adapter).receive(_image(job), content, change_id=job.change_id)
        case JobVerb.INSTALL:
            installed = await upgrades(adapter).install(_image(job), change_id=job.change_id)
            return Answer(job_id=job.id, installed=installed)
        case JobVerb.UPGRADE:
            await upgrades(adapter).upgrade(
                job.software_version,
                job.against,
                change_id=job.change_id,
                confirm_within_s=job.confirm_within_s,
            )
        case JobVerb.DISCARD:
            await upgrades(adapter).discard(_image(job), job.software_version, change_id=job.change_id)
        case JobVerb.LICENCES:
            return Answer(job_id=job.id, licences=tuple(await licences(adapter).licences()))
    return Answer(job_id=job.id)


def _image(job: Job) -> SoftwareImage:
    if job.image is None:
        raise Invalid(f"Job {job.id} ({job.verb}) names no image.")
    return job.image


def _wanted(job: Job) -> Wanted:
    return Wanted(document=job.document or Configuration(), secrets=job.secrets, backup=job.backup)
