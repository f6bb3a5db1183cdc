"""The management address inside a VNFC, through the VIM: health, configuration and counters of a function.

The request is passed on as it is; the answer is the function's own.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here
from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import VnfcId
from farsite.store import instances
from farsite.vnfs import management

router = APIRouter(prefix=ROOT, tags=["VNF instances"])

Port = Annotated[int, Query(ge=1, le=65535, description="TCP port on the management address.")]
_PATH = "/vnfs/{vnf}/vnfcs/{vnfc}/management/{path:path}"


@router.get(_PATH)
@router.put(_PATH)
@router.post(_PATH)
@router.delete(_PATH)
async def manage(
    vnf: str,
    vnfc: str,
    path: str,
    request: Request,
    context: Here,
    caller: Asker,
    port: Port = management.MANAGEMENT_PORT,
) -> Response:
    """Pass a request on to the management address inside a VNFC."""
    found = await context.database.run(instances.get_vnf, caller.project_id, vnf)
    if found.vim_id is None or found.deployment is None:
        raise Conflict(f"VNF instance {found.id} is not instantiated.", about={"vnf": found.id})
    if vnfc not in {one.id for one in found.deployment.vnfcs}:
        known = ", ".join(one.id for one in found.deployment.vnfcs)
        raise NotFound(f'VNF instance {found.id} has no VNFC "{vnfc}". VNFCs: {known}.')
    body = await request.body()
    driver = await context.drivers.of(found.vim_id)
    stream = await driver.reach(VnfcId(vnfc), port)
    answer = await management.request(
        stream,
        VnfcId(vnfc),
        method=request.method,
        path=f"/{quote(path)}",
        body=body,
        content_type=request.headers.get("content-type", "application/json"),
    )
    return Response(answer.body, answer.status, media_type=answer.content_type or "application/octet-stream")
