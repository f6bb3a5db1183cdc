"""The catalogue: what can be used, what shows that it works, and bundles of it that are signed.

Entries are looked at here; packages and NSDs are onboarded, enabled and deleted where they always were.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field
from starlette.concurrency import run_in_threadpool

from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.filters import link_next, page_in_memory
from farsite.api.problem import Unusable
from farsite.api.wire import ROOT, Here, Label, Name, ObjectName, Text, Wire, asks
from farsite.catalogue import entries
from farsite.catalogue.exchange import Imported
from farsite.catalogue.signing import TrustedKey
from farsite.model.access import Caller, Role
from farsite.model.catalogue import Certification, Entry, EntryKind, Evidence, SuiteResult
from farsite.model.errors import Conflict, Forbidden
from farsite.model.query import Ask
from farsite.store import catalogue as rows

router = APIRouter(prefix=f"{ROOT}/catalogue", tags=["Catalogue"])

MEDIA_TYPE = "application/x-tar"
_BINARY = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


class EvidenceView(Wire):
    suite: str
    level: Certification
    result: SuiteResult
    digest: str
    at: datetime
    stated_by: str
    detail: str
    signed_by: str
    """Fingerprint of the key of the bundle it came with; empty: it was recorded here."""


class EntryView(Wire):
    """An entry. `evidence` is of its digest; `stale` is of another and does not count."""

    id: str
    kind: EntryKind
    vendor: str
    name: str
    product: str
    version: str
    digest: str
    state: str
    origin: str
    tags: list[str]
    licence: str
    requires: list[str]
    conflicts: list[str]
    unmet: list[str]
    """Rules that do not hold now, each with the fact and what to do."""
    certification: Certification
    evidence: list[EvidenceView]
    stale: list[EvidenceView]
    description: str
    claim: str
    """What an adapter's folder says of itself, for which there need be no evidence."""


class RecordEvidence(Wire):
    """What a suite found of an entry. `digest`: of what was tried; of another than the entry's it does not
    count."""

    suite: Name
    level: Certification
    result: SuiteResult = SuiteResult.PASSED
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    at: AwareDatetime | None = None
    """Null: now."""
    detail: Text = ""


class Export(Wire):
    entries: Annotated[list[Name], Field(min_length=1, max_length=500)]
    """Ids or names."""


class ArrivedView(Wire):
    entry: EntryView
    outcome: str


class ImportedView(Wire):
    signer: str
    fingerprint: str
    arrived: list[ArrivedView]
    evidence: int


class KeyView(Wire):
    name: str
    public_key: str
    fingerprint: str
    is_own: bool


class CreateKey(Wire):
    name: ObjectName


class TrustKey(Wire):
    public_key: Label


ATTRIBUTES: Mapping[str, str] = {
    "id": "id",
    "kind": "kind",
    "vendor": "vendor",
    "name": "name",
    "product": "product",
    "version": "version",
    "state": "state",
    "origin": "origin",
    "digest": "digest",
    "licence": "licence",
    "tags": "tags",
    "certification": "certification",
}


def _evidence_view(one: Evidence) -> EvidenceView:
    return EvidenceView(**{name: getattr(one, name) for name in EvidenceView.model_fields})


def entry_view(entry: Entry, there: list[Entry]) -> EntryView:
    return EntryView(
        id=entry.id,
        kind=entry.kind,
        vendor=entry.vendor,
        name=entry.name,
        product=entry.product,
        version=entry.version,
        digest=entry.digest,
        state=entry.state,
        origin=entry.origin,
        tags=list(entry.statement.tags),
        licence=entry.statement.licence,
        requires=[str(one) for one in entry.statement.requires],
        conflicts=[str(one) for one in entry.statement.conflicts],
        unmet=entries.unmet(entry, there),
        certification=entry.certification,
        evidence=[_evidence_view(one) for one in entry.evidence],
        stale=[_evidence_view(one) for one in entry.stale],
        description=entry.description,
        claim=entry.claim,
    )


def _key_view(one: TrustedKey) -> KeyView:
    return KeyView(name=one.name, public_key=one.public_key, fingerprint=one.fingerprint, is_own=one.is_own)


def _entries(context: Context, caller: Caller) -> list[Entry]:
    adapters = context.catalogue.adapter_entries()
    with context.database.transaction() as connection:
        return entries.entries(connection, caller.project_id, adapters)


@router.get("/entries")
def list_entries(
    ask: Annotated[Ask, Depends(asks(ATTRIBUTES))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
    text: Annotated[
        str,
        Query(description="Words that vendor, name, product, tags or description contain.", max_length=200),
    ] = "",
) -> list[EntryView]:
    """All entries: packages and NSDs of the project, and the adapters."""
    there = _entries(context, caller)
    page = page_in_memory(
        (one for one in there if entries.speaks_of(one, text)),
        ask,
        {
            **{
                name: lambda one, name=name: getattr(one, name)
                for name in ATTRIBUTES
                if name not in ("tags", "licence")
            },
            "tags": lambda one: one.statement.tags,
            "licence": lambda one: one.statement.licence,
        },
        key=lambda one: one.id,
    )
    link_next(request, response, page)
    return [entry_view(one, there) for one in page.items]


@router.get("/entries/{entry}")
def get_entry(entry: str, context: Here, caller: Asker) -> EntryView:
    """One entry by id, or by its name when only one has it: its rules, and the evidence about it."""
    there = _entries(context, caller)
    return entry_view(entries.find(there, entry), there)


@router.post("/entries/{entry}/evidence", status_code=201)
def record_evidence(entry: str, body: RecordEvidence, context: Here, caller: Asker) -> EntryView:
    """Record what a suite found. Level `certified` is an administrator's to give."""
    if body.level is Certification.CERTIFIED and not caller.may(Role.ADMIN):
        raise Forbidden(
            f'Only an administrator certifies; token "{caller.name}" has {caller.role}. Record what a suite '
            "has "
            f"shown as {Certification.PROVED} or {Certification.EMULATED}."
        )
    if body.level is Certification.NONE:
        raise Unusable(f"Evidence shows something: {', '.join(list(Certification)[1:])}.")
    found = entries.find(_entries(context, caller), entry)
    if found.state == "ERROR":
        raise Conflict(f"Adapter {found.name} cannot be read: {found.description}")
    evidence = Evidence(
        kind=found.kind,
        vendor=found.vendor,
        name=found.name,
        version=found.version,
        digest=body.digest,
        suite=body.suite,
        level=body.level,
        result=body.result,
        at=body.at or context.clock.now(),
        stated_by=caller.signature,
        detail=body.detail,
    )
    with context.database.transaction() as connection:
        rows.put_evidence(connection, caller.project_id, [evidence])
    return get_entry(found.id, context, caller)


@router.post("/bundle", response_class=StreamingResponse, responses={200: _BINARY})
async def export_bundle(body: Annotated[Export, Body()], context: Here, caller: Asker) -> StreamingResponse:
    """A signed bundle of these entries with their evidence; the same entries give the same bytes."""
    pieces = await context.exchange.export(caller.project_id, body.entries)
    return StreamingResponse(pieces, media_type=MEDIA_TYPE)


@router.put("/bundle", openapi_extra={"requestBody": {"required": True, **_BINARY}})
async def import_bundle(request: Request, context: Here, caller: Asker) -> ImportedView:
    """Take in a bundle: all of it, or nothing. Its signer has to be trusted, and every rule has to hold."""
    stated = request.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip().lower()
    if stated not in (MEDIA_TYPE, "application/octet-stream"):
        raise Unusable(f"The content is {stated}; a bundle is expected ({MEDIA_TYPE}).")
    imported = await context.exchange.take_in(caller.project_id, request.stream())
    return await run_in_threadpool(_imported_view, context, caller, imported)


def _imported_view(context: Context, caller: Caller, imported: Imported) -> ImportedView:
    there = _entries(context, caller)
    return ImportedView(
        signer=imported.signer,
        fingerprint=imported.fingerprint,
        arrived=[
            ArrivedView(entry=entry_view(one.entry, there), outcome=one.outcome) for one in imported.arrived
        ],
        evidence=imported.evidence,
    )


@router.get("/keys")
def list_keys(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,  # noqa: ARG001  (its role is checked)
    request: Request,
    response: Response,
) -> list[KeyView]:
    """Whose bundles are taken; `is_own` marks the key that signs ours."""
    page = page_in_memory(
        context.catalogue.signing_keys.trusted(),
        ask,
        {"name": lambda one: one.name},
        key=lambda one: one.name,
    )
    link_next(request, response, page)
    return [_key_view(one) for one in page.items]


@router.post("/keys", status_code=201)
def create_key(
    body: CreateKey,
    context: Here,
    caller: Asker,  # noqa: ARG001  (its role is checked)
) -> KeyView:
    """Make the key that signs our bundles. It stays in the data directory."""
    return _key_view(context.catalogue.signing_keys.create(body.name))


@router.put("/keys/{name}")
def trust_key(
    name: ObjectName,
    body: TrustKey,
    context: Here,
    caller: Asker,  # noqa: ARG001  (its role is checked)
) -> KeyView:
    """Take bundles that this key signed."""
    return _key_view(context.catalogue.signing_keys.trust(name, body.public_key))


@router.delete("/keys/{name}", status_code=204)
def forget_key(
    name: str,
    context: Here,
    caller: Asker,  # noqa: ARG001  (its role is checked)
) -> None:
    """Take no more bundles of that key; what came in bundles stays."""
    context.catalogue.signing_keys.forget(name)
