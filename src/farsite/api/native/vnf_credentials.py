"""A VNF's own credentials, with which it asks for its scaling and repair."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from farsite.api.auth import Asker, KnownCallers
from farsite.api.filters import link_next, page_in_memory
from farsite.api.wire import ROOT, Here, ObjectName, Wire, asks
from farsite.model.access import Role
from farsite.model.errors import Conflict, NotFound
from farsite.model.query import Ask
from farsite.store import instances, tokens

router = APIRouter(prefix=f"{ROOT}/vnfs/{{vnf}}/credentials", tags=["VNF instances"])


class CreateCredential(Wire):
    """`name` tells it from other tokens of the project."""

    name: ObjectName


class CredentialView(Wire):
    name: str
    created_at: datetime


class NewCredential(Wire):
    """`token` is shown this once."""

    name: str
    vnf_id: str
    token: str


@router.post("", status_code=201)
def create_credential(vnf: str, body: CreateCredential, context: Here, caller: Asker) -> NewCredential:
    """Make a credential with which this VNF may ask for its own scaling and repair, and nothing else."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        if any(name == body.name for name, _, _ in tokens.all_of(connection, caller.project_id)):
            raise Conflict(f'A token named "{body.name}" exists. Revoke it first, or choose another name.')
        token = tokens.create(
            connection,
            name=body.name,
            project_id=caller.project_id,
            role=Role.VNF,
            at=context.clock.now(),
            vnf_id=found.id,
        )
    return NewCredential(name=body.name, vnf_id=found.id, token=token)


@router.get("")
def list_credentials(
    vnf: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[CredentialView]:
    """The VNF's credentials, without the tokens themselves."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        known = tokens.of_vnf(connection, found.id)
    page = page_in_memory(
        [CredentialView(name=name, created_at=at) for name, at in known],
        ask,
        {"name": lambda one: one.name},
        key=lambda one: one.name,
    )
    link_next(request, response, page)
    return list(page.items)


@router.delete("/{name}", status_code=204)
def revoke_credential(vnf: str, name: str, context: Here, caller: Asker, request: Request) -> None:
    """Revoke a credential; it stops working at once here, within two seconds in other processes."""
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        if not tokens.revoke_of_vnf(connection, found.id, name=name):
            raise NotFound(
                f'VNF instance {found.id} has no credential "{name}". See farsite vnf credential list {vnf}.'
            )
    known = request.app.state.known_callers
    assert isinstance(known, KnownCallers)
    known.forget()
