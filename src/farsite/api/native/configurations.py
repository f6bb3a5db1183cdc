"""The inside of VNFs: how each is managed, its secrets, its configuration and how well it is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr

from farsite.api import starting
from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.native.operations import OperationView, accepted
from farsite.api.wire import ROOT, Here, Label, Name, ObjectName, Text, Wire, asks
from farsite.lifecycle import booting, identities
from farsite.lifecycle.configure_vnf import CONFIRM_MOST_S
from farsite.lifecycle.sizing import vnfc_named
from farsite.model.configuration import Configuration
from farsite.model.configuration_checks import check
from farsite.model.errors import Conflict, Invalid, NotFound
from farsite.model.licence import LicenceState
from farsite.model.management import Access, ConfigurationVersion, Management, VersionState, Way
from farsite.model.query import Ask
from farsite.store import brokers, instances, managements
from farsite.vnfs.adapter import About, Difference, Wanted
from farsite.vnfs.licences import licences
from farsite.vnfs.opening import USUAL_PORTS

router = APIRouter(prefix=ROOT, tags=["Inside of VNF instances"])


class AdapterView(Wire):
    """What an adapter is for; `evidence` is `real` where it was proved on the product itself."""

    name: str
    vendor: str
    product: str
    versions: str
    method: str
    services: list[str]
    verbs: list[str]
    atomicity: str
    evidence: str
    description: str
    parameters: dict[str, str]


class AccessWire(Wire):
    """Where the function answers. `vnfc` (its id, or VDU-INDEX for short): through its VIM; else `host`.
    `port`: none is the usual one of the adapter's method (SSH 22, HTTPS 443). Key and password are references
    to secrets of the VNF (`secret:NAME`); a password may be an API key or token. `host_keys` are pinned:
    `TYPE BASE64` of an SSH host key, `sha256 HEX` of a certificate, or `x509 BASE64` of the authority that
    signed it. With a `vnfc`, pins, key and password may be left out where its boot data carried those that
    were made for it."""

    vnfc: Label = ""
    host: Label = ""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    user: Name = "root"
    host_keys: Annotated[list[Text], Field(max_length=10)] = Field(default_factory=list)
    private_key: Label = ""
    password: Label = ""


class ManagementWire(Wire):
    adapter: Name
    way: Way = Way.DIRECT
    broker: Label = ""
    access: AccessWire = Field(default_factory=AccessWire)
    parameters: dict[Label, Text] = Field(default_factory=dict)
    """Values for the adapter's parameters, over its defaults."""
    keep_in: Name = "/var/lib/farsite"
    """Directory on the device for what guards a change."""
    confirm_within_s: Annotated[float, Field(ge=1, le=CONFIRM_MOST_S)] = 60.0
    """How long a change stands unconfirmed before the device takes it back."""


class SecretWire(Wire):
    value: SecretStr


class SecretView(Wire):
    """A secret is never shown again."""

    name: str


class DifferenceView(Wire):
    place: str
    diff: str


class PlanView(Wire):
    """What applying a document would change, by what the device runs now. Empty: nothing."""

    changes: bool
    differences: list[DifferenceView]
    running_version: str
    """Of the product."""


class DriftView(Wire):
    """Whether what runs is what shall run. `changes` is what bringing it back would change."""

    number: int
    has_drifted: bool
    differences: list[DifferenceView]


class Configure(Wire):
    """Either a document, or the number of an older version; neither: the current version once more."""

    document: Configuration | None = None
    version: Annotated[int, Field(ge=1)] | None = None
    cause: Text = ""
    confirm_within_s: Annotated[float, Field(ge=1, le=CONFIRM_MOST_S)] | None = None


class VersionView(Wire):
    """`restores` is the version whose document it is once more, `backup` the backup that it put back; 0 where
    there is none."""

    number: int
    state: VersionState
    created_at: datetime
    requested_by: str
    cause: str
    restores: int
    backup: int
    operation_id: str
    said: str


class VersionDocumentView(VersionView):
    document: Configuration
    diff: str


class ProbedView(Wire):
    name: str
    is_well: bool
    said: str


class SampleView(Wire):
    name: str
    value: float
    labels: dict[str, str]


class LicenceView(Wire):
    """A licence of the product inside. `expires_at` null: it does not end, or, where the state is UNKNOWN,
    nobody could read when. `said`: the vendor's own words."""

    name: str
    state: LicenceState
    expires_at: datetime | None
    said: str


@router.get("/adapters")
def list_adapters(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,  # noqa: ARG001  (whoever is known may read them)
    request: Request,
    response: Response,
) -> list[AdapterView]:
    """The adapters that are installed."""
    views = [_adapter_view(one.about, one.dictionary.parameters) for one in context.devices.adapters.all_of()]
    page = page_in_memory(views, ask, {"name": lambda one: one.name}, key=lambda one: one.name)
    link_next(request, response, page)
    return list(page.items)


@router.put("/vnfs/{vnf}/management")
def manage(vnf: str, body: ManagementWire, context: Here, caller: Asker) -> ManagementWire:
    """Say how a VNF is managed, in place of what was said before."""
    with starting.named_in_the_body():
        folder = context.devices.adapters.get(body.adapter)
    folder.parameters(body.parameters)
    _check(body, folder.dictionary.access.method, vnf)
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        context.catalogue.check_adapter(connection, caller.project_id, folder)
        kept = context.devices.kept_for(connection, found.id)
        _check_login(body, folder.dictionary.access.method, bool(identities.login_key(kept)))
        vnfc_id = vnfc_named(found.id, body.access.vnfc) if body.access.vnfc else ""
        if vnfc_id and found.deployment is not None:
            known = [one.id for one in found.deployment.vnfcs]
            if vnfc_id not in known:
                raise Invalid(
                    f'VNF instance {found.id} has no VNFC "{body.access.vnfc}". VNFCs: {", ".join(known)}.'
                )
        if body.broker:
            with starting.named_in_the_body():
                brokers.get(connection, found.project_id, body.broker)
        management = Management(
            vnf_id=found.id,
            project_id=found.project_id,
            adapter=body.adapter,
            way=body.way,
            broker=body.broker,
            access=_access(body.access, vnfc_id, folder.dictionary.access.method),
            parameters=body.parameters,
            keep_in=body.keep_in,
            confirm_within_s=body.confirm_within_s,
        )
        managements.save(connection, management)
    return _management_view(management)


@router.get("/vnfs/{vnf}/management")
def get_management(vnf: str, context: Here, caller: Asker) -> ManagementWire:
    """How a VNF is managed."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        return _management_view(managements.get(connection, found.id))


@router.delete("/vnfs/{vnf}/management", status_code=204)
def forget_management(vnf: str, context: Here, caller: Asker) -> None:
    """Stop managing the inside of a VNF: its configuration versions are forgotten, and its secrets unless it
    boots with them. The function itself goes on with what it runs."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        instances.refuse_if_locked(connection, found.id)
        managements.get(connection, found.id)
        are_needed = bool(booting.secrets_needed(found.deployment))
        managements.hold_secrets(connection, found.id)
        managements.remove(connection, found.id, with_secrets=not are_needed)
        if not are_needed:
            # While nobody else can encrypt with it.
            context.devices.keys.forget(found.id)


@router.put("/vnfs/{vnf}/secrets/{name}", status_code=204)
def set_secret(vnf: str, name: ObjectName, body: SecretWire, context: Here, caller: Asker) -> None:
    """Keep a secret of a VNF, encrypted; documents and accesses refer to it as `secret:NAME`."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        managements.hold_secrets(connection, found.id)
        known = context.devices.kept_for(connection, found.id)
        known[name] = body.value.get_secret_value()
        managements.save_secrets(
            connection, found.project_id, found.id, context.devices.keys.encrypt(found.id, known)
        )


@router.get("/vnfs/{vnf}/secrets")
def list_secrets(
    vnf: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[SecretView]:
    """The names of a VNF's secrets."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        views = [SecretView(name=name) for name in sorted(context.devices.secrets_of(connection, found))]
    page = page_in_memory(views, ask, {"name": lambda one: one.name}, key=lambda one: one.name)
    link_next(request, response, page)
    return list(page.items)


@router.delete("/vnfs/{vnf}/secrets/{name}", status_code=204)
def delete_secret(vnf: str, name: str, context: Here, caller: Asker) -> None:
    """Forget a secret."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        managements.hold_secrets(connection, found.id)
        known = context.devices.kept_for(connection, found.id)
        if known.pop(name, None) is None:
            raise NotFound(f'VNF instance {found.id} has no secret "{name}".')
        if name in booting.secrets_needed(found.deployment):
            raise Conflict(
                f'VNF instance {found.id} boots with the secret "{name}": healing needs it. Give it another '
                f"value, or terminate the VNF first.",
                about={"vnf": found.id},
            )
        managements.save_secrets(
            connection, found.project_id, found.id, context.devices.keys.encrypt(found.id, known)
        )


@router.post("/vnfs/{vnf}/configuration/plan")
async def plan(vnf: str, body: Configuration, context: Here, caller: Asker) -> PlanView:
    """What applying a document would change on the device, which is asked what it runs. Changes nothing."""
    check(body)
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    async with context.devices.open(found) as device:
        running = await device.adapter.fetch()
        made = await device.adapter.plan(Wanted(document=body, secrets=device.secrets), running)
    return PlanView(
        changes=made.changes, differences=differences_shown(made.differences), running_version=running.version
    )


@router.post("/vnfs/{vnf}/configure", status_code=202)
def configure(vnf: str, body: Configure, context: Here, caller: Asker, response: Response) -> OperationView:
    """Make a document run inside the VNF, or nothing: a change that breaks a service is taken back."""
    if body.document is not None and body.version is not None:
        raise Invalid("Name either a document or a version to bring back, not both.")
    if body.document is not None:
        check(body.document)
    return accepted(
        starting.configure_vnf(
            context,
            caller,
            vnf,
            document=body.document,
            version=body.version,
            cause=body.cause,
            confirm_within_s=body.confirm_within_s,
        ),
        response,
    )


@router.get("/vnfs/{vnf}/configuration")
def get_configuration(vnf: str, context: Here, caller: Asker) -> VersionDocumentView:
    """The configuration that shall run."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        current = managements.current(connection, found.id)
    if current is None:
        raise NotFound(f"VNF instance {found.id} has no configuration of ours yet.")
    return _document_view(current)


@router.get("/vnfs/{vnf}/configuration/versions")
def list_versions(
    vnf: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[VersionView]:
    """Every configuration that was asked for, and what became of it."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        known = managements.versions(connection, found.id)
    page = page_in_memory(
        [_version_view(one) for one in known],
        ask,
        {"number": lambda one: str(one.number), "state": lambda one: one.state.value},
        key=lambda one: f"{1_000_000_000 - one.number:010}",
    )
    link_next(request, response, page)
    return list(page.items)


@router.get("/vnfs/{vnf}/configuration/versions/{number}")
def get_version(vnf: str, number: str, context: Here, caller: Asker) -> VersionDocumentView:
    """One version with its document and what it changed."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise NotFound(f'VNF instance {found.id} has no configuration version "{number}".')
        return _document_view(managements.version(connection, found.id, int(number)))


@router.get("/vnfs/{vnf}/configuration/drift")
async def drift(vnf: str, context: Here, caller: Asker) -> DriftView:
    """Compare what runs, as the device says now, with what shall run."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    current = await context.database.run(managements.current, found.id)
    if current is None:
        raise Conflict(f"VNF instance {found.id} has no configuration of ours yet, so nothing can drift.")
    async with context.devices.open(found) as device:
        running = await device.adapter.fetch()
        wanted = Wanted(document=current.document, secrets=device.secrets)
        made = await device.adapter.plan(wanted, running)
    return DriftView(
        number=current.number, has_drifted=made.changes, differences=differences_shown(made.differences)
    )


@router.get("/vnfs/{vnf}/function/health")
async def health(vnf: str, context: Here, caller: Asker) -> list[ProbedView]:
    """Look at each service that the function is for, now."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    async with context.devices.open(found) as device:
        looked = await device.adapter.health()
    return [ProbedView(name=one.name, is_well=one.is_well, said=one.said) for one in looked]


@router.get("/vnfs/{vnf}/function/metrics")
async def metrics(vnf: str, context: Here, caller: Asker) -> list[SampleView]:
    """The figures of the function, now."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    async with context.devices.open(found) as device:
        samples = await device.adapter.metrics()
    return [SampleView(name=one.name, value=one.value, labels=dict(one.labels)) for one in samples]


@router.get("/vnfs/{vnf}/function/licences")
async def function_licences(vnf: str, context: Here, caller: Asker) -> list[LicenceView]:
    """Which licences the product inside has or lacks, in which state they are and when they end, as the
    device says now."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    async with context.devices.open(found) as device:
        told = await licences(device.adapter).licences()
    return [
        LicenceView(name=one.name, state=one.state, expires_at=one.expires_at, said=one.said) for one in told
    ]


def _check(body: ManagementWire, method: str, vnf: str) -> None:
    access = body.access
    if method == "function":
        if body.way is Way.BROKER or body.broker:
            raise Invalid(
                f'VNF "{vnf}" cannot be managed through the broker "{body.broker}": adapter {body.adapter} '
                f"is for functions of Farsite's own, which answer on the loopback inside their VNFC alone. "
                f"Only the VIM opens a stream to there, and gives it to Farsite alone. Leave the "
                f"broker out and name the VNFC: "
                f"farsite vnf config manage {vnf} --adapter {body.adapter} --vnfc VNFC"
            )
        if not access.vnfc or access.host:
            raise Invalid(
                f"Adapter {body.adapter} reaches a function through its VIM: name the vnfc, and no host."
            )
        if access.private_key or access.password or access.host_keys:
            raise Invalid(f"Nobody logs in with adapter {body.adapter}: leave keys and password out.")
        return
    if (body.way is Way.BROKER) != bool(body.broker):
        raise Invalid("A broker is named exactly when the way is through a broker.")
    if body.way is Way.BROKER:
        if access.vnfc:
            raise Invalid(
                "A broker has no way through a VIM. Name the device's host as the broker sees it, or none "
                "for the broker's own machine."
            )
        if not access.host:
            return
    elif bool(access.vnfc) == bool(access.host):
        raise Invalid("An access names either a vnfc (reached through its VIM) or a host.")
    for name in ("private_key", "password"):
        value: str = getattr(access, name)
        if value and not value.startswith("secret:"):
            raise Invalid(
                f"access.{name} is a reference to a secret of the VNF, secret:NAME, and never the value. "
                f"Set the secret first: farsite vnf config secret set."
            )
    if access.private_key and access.password:
        raise Invalid("An access has either a private_key or a password.")


def _check_login(body: ManagementWire, method: str, has_login_key: bool) -> None:
    access = body.access
    if method == "function" or (body.way is Way.BROKER and not access.host):
        return
    if not (access.private_key or access.password or (has_login_key and method != "rest")):
        raise Invalid(
            "An access has either a private_key or a password: nobody could log in. Name a secret of the "
            "VNF, or have its boot data let in the key that is made for it (${{ ssh.login_public }})."
        )


def _access(wire: AccessWire, vnfc_id: str, method: str) -> Access:
    return Access(
        vnfc_id=vnfc_id,
        host=wire.host,
        port=wire.port or USUAL_PORTS[method],
        user=wire.user,
        host_keys=tuple(wire.host_keys),
        private_key=wire.private_key,
        password=wire.password,
    )


def _management_view(one: Management) -> ManagementWire:
    access = one.access
    return ManagementWire(
        adapter=one.adapter,
        way=one.way,
        broker=one.broker,
        access=AccessWire(
            vnfc=access.vnfc_id,
            host=access.host,
            port=access.port,
            user=access.user,
            host_keys=list(access.host_keys),
            private_key=access.private_key,
            password=access.password,
        ),
        parameters=dict(one.parameters),
        keep_in=one.keep_in,
        confirm_within_s=one.confirm_within_s,
    )


def _adapter_view(about: About, parameters: Mapping[str, str]) -> AdapterView:
    return AdapterView(
        name=about.name,
        vendor=about.vendor,
        product=about.product,
        versions=about.versions,
        method=about.method,
        services=sorted(about.services),
        verbs=sorted(about.verbs),
        atomicity=about.atomicity,
        evidence=about.evidence,
        description=about.description,
        parameters=dict(parameters),
    )


def differences_shown(given: tuple[Difference, ...]) -> list[DifferenceView]:
    """Those where something would change."""
    return [DifferenceView(place=one.place, diff=one.diff) for one in given if not one.is_empty]


def _version_view(one: ConfigurationVersion) -> VersionView:
    return VersionView(
        number=one.number,
        state=one.state,
        created_at=one.created_at,
        requested_by=one.requested_by,
        cause=one.cause,
        restores=one.restores,
        backup=one.backup,
        operation_id=one.operation_id or "",
        said=one.said,
    )


def _document_view(one: ConfigurationVersion) -> VersionDocumentView:
    return VersionDocumentView(**dict(_version_view(one)), document=one.document, diff=one.diff)
