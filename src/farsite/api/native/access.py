"""Who asks, and the tokens that others ask with."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import StringConstraints

from farsite.api.auth import Asker, KnownCallers
from farsite.api.filters import link_next, page_in_memory
from farsite.api.wire import ROOT, Here, ObjectName, Wire, asks
from farsite.model.access import Role
from farsite.model.errors import Conflict, Forbidden, Invalid, NotFound
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.model.query import Ask
from farsite.store import tokens

router = APIRouter(prefix=ROOT, tags=["Access"])

Project = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class Me(Wire):
    name: str
    project_id: str
    role: Role


class CreateToken(Wire):
    """`project_id` empty: the caller's own project. Only an administrator of the project `default` may
    name another."""

    name: ObjectName
    role: Role = Role.READER
    project_id: Project | None = None


class TokenView(Wire):
    name: str
    role: Role
    created_at: datetime


class NewToken(Wire):
    """`token` is shown this once."""

    name: str
    role: Role
    project_id: str
    token: str


@router.get("/me")
def me(caller: Asker) -> Me:
    """Whom the token belongs to."""
    return Me(name=caller.name, project_id=caller.project_id, role=caller.role)


@router.post("/tokens", status_code=201)
def create_token(body: CreateToken, context: Here, caller: Asker) -> NewToken:
    """Make a token."""
    if body.role is Role.VNF:
        raise Invalid(
            "A credential of role vnf belongs to a VNF instance: farsite vnf credential create VNF."
        )
    project_id = ProjectId(body.project_id or caller.project_id)
    if project_id != caller.project_id and caller.project_id != DEFAULT_PROJECT:
        raise Forbidden(
            f'Tokens of project "{project_id}" are made by an administrator of "{DEFAULT_PROJECT}".'
        )
    with context.database.transaction() as connection:
        if any(name == body.name for name, _, _ in tokens.all_of(connection, project_id)):
            raise Conflict(f'A token named "{body.name}" exists. Revoke it first, or choose another name.')
        token = tokens.create(
            connection, name=body.name, project_id=project_id, role=body.role, at=context.clock.now()
        )
    return NewToken(name=body.name, role=body.role, project_id=project_id, token=token)


@router.get("/tokens")
def list_tokens(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[TokenView]:
    """The project's tokens, without the tokens themselves."""
    with context.database.transaction() as connection:
        known = tokens.all_of(connection, caller.project_id)
    page = page_in_memory(
        [TokenView(name=name, role=role, created_at=at) for name, role, at in known],
        ask,
        {"name": lambda one: one.name, "role": lambda one: one.role},
        key=lambda one: one.name,
    )
    link_next(request, response, page)
    return list(page.items)


@router.delete("/tokens/{name}", status_code=204)
def revoke_token(name: str, context: Here, caller: Asker, request: Request) -> None:
    """Revoke a token; it stops working at once here, within two seconds in other processes."""
    with context.database.transaction() as connection:
        if not tokens.revoke(connection, name=name, project_id=caller.project_id):
            raise NotFound(f'No token "{name}". See farsite token list.')
    known = request.app.state.known_callers
    assert isinstance(known, KnownCallers)
    known.forget()
