"""Our own processes: who works on the database, and draining one before it is stopped."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.model.errors import Conflict, NotFound, NotSupported
from farsite.model.node import Node, NodeState
from farsite.model.query import Ask
from farsite.store import nodes

router = APIRouter(prefix=ROOT, tags=["Nodes"])


class NodeView(Wire):
    """`state` is up, draining or gone, with `reason`. `is_alive`: its lease runs. `operations` and `vims` are
    what it has in hand. `workflow_versions`: those it runs, its own first. `is_here`: it gave this answer."""

    id: str
    name: str
    host: str
    pid: int
    url: str
    version: str
    workflow_versions: list[str]
    state: NodeState
    reason: str
    is_alive: bool
    is_here: bool
    operations: int
    vims: int
    started_at: datetime
    renewed_at: datetime


@router.get("/nodes")
async def list_nodes(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,  # noqa: ARG001  (its role is checked)
    request: Request,
    response: Response,
) -> list[NodeView]:
    """The processes that work on the database, and those that were lost or stopped within a day."""
    views = [_view(one, context.node_id) for one in await context.nodes()]
    page = page_in_memory(
        views,
        ask,
        {"name": lambda one: one.name, "state": lambda one: one.state, "host": lambda one: one.host},
        key=lambda one: f"{one.started_at.isoformat()}/{one.id}",
    )
    link_next(request, response, page)
    return list(page.items)


@router.post("/nodes/{node}/drain", status_code=202)
async def drain_node(node: str, context: Here, caller: Asker) -> NodeView:  # noqa: ARG001
    """Have a process take nothing on and hand over what it has, so that it can be stopped unnoticed.

    It has done so when its `operations` and `vims` are 0. Asking twice changes nothing.
    """
    return await _ask(context, node, is_wanted=True)


@router.delete("/nodes/{node}/drain")
async def undrain_node(node: str, context: Here, caller: Asker) -> NodeView:  # noqa: ARG001
    """Have a process that was drained work again."""
    return await _ask(context, node, is_wanted=False)


async def _ask(context: Here, key: str, *, is_wanted: bool) -> NodeView:
    known = await context.nodes()
    if not any(key in (one.id, one.name) for one in known):
        raise NotFound(f'No node "{key}". See farsite node list.')
    if context.database.is_sqlite:
        raise NotSupported(
            "On SQLite there is one process, and nobody to hand its work to. Stop it: what runs goes on when "
            "it is started again. Several processes need PostgreSQL."
        )
    if is_wanted:
        _check_others(known, key)
    asked = await context.database.read(nodes.ask_to_drain, key, is_wanted=is_wanted)
    return _view(asked, context.node_id)


def _check_others(known: Sequence[Node], key: str) -> None:
    if not any(one.is_alive and one.state is NodeState.UP and key not in (one.id, one.name) for one in known):
        raise Conflict(
            f'No other process is up, so nobody would go on with the work of "{key}". '
            "Start another one first."
        )


def _view(node: Node, here: str) -> NodeView:
    return NodeView(
        id=node.id,
        name=node.name,
        host=node.host,
        pid=node.pid,
        url=node.url,
        version=node.version,
        workflow_versions=list(node.workflow_versions),
        state=node.state,
        reason=node.reason,
        is_alive=node.is_alive,
        is_here=node.id == here,
        operations=node.operations,
        vims=node.vims,
        started_at=node.started_at,
        renewed_at=node.renewed_at,
    )
