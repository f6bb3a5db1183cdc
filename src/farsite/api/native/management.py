"""The management address inside a VNFC, through the VIM: health, configuration and counters of a function.

The request is passed on as it is; the answer is the function's own.
"""

import asyncio
import http.client
import socket
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from farsite.api.auth import Asker
from farsite.api.wire import Here
from farsite.model.errors import Conflict, NotFound, VnfFault, VnfUnreachable
from farsite.model.ids import VnfcId
from farsite.store import instances

router = APIRouter(tags=["VNF instances"])

_TIMEOUT_S = 10.0
_ANSWER_BYTES_MAX = 16 * 1024 * 1024

Port = Annotated[int, Query(ge=1, le=65535, description="TCP port on the management address.")]
_PATH = "/vnfs/{vnf}/vnfcs/{vnfc}/management/{path:path}"


@router.get(_PATH)
@router.put(_PATH)
@router.post(_PATH)
async def manage(
    vnf: str, vnfc: str, path: str, request: Request, context: Here, caller: Asker, port: Port = 8080
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
    return await asyncio.to_thread(
        _exchange, stream, request.method, f"/{path}", body, request.headers.get("content-type", "")
    )


def _exchange(stream: socket.socket, method: str, path: str, body: bytes, media_type: str) -> Response:
    """One request and its answer over a connected stream, which is closed.

    Raises:
        VnfUnreachable: the function did not answer in time, or not in HTTP.
        VnfFault: its answer is too large.
    """
    stream.settimeout(_TIMEOUT_S)
    connection = http.client.HTTPConnection("management")
    connection.sock = stream
    try:
        connection.request(method, path, body or None, {"Content-Type": media_type} if media_type else {})
        answer = connection.getresponse()
        content = answer.read(_ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException, ValueError) as silence:
        raise VnfUnreachable(f"The function did not answer {method} {path}: {silence}.") from silence
    finally:
        connection.close()
    if len(content) > _ANSWER_BYTES_MAX:
        raise VnfFault(f"The function's answer to {method} {path} is larger than {_ANSWER_BYTES_MAX} bytes.")
    return Response(
        content,
        status_code=answer.status,
        media_type=answer.getheader("Content-Type", "application/octet-stream"),
    )
