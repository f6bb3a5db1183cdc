"""What a client of the VIM API may look at before anything else: versions, resources, extensions."""

from fastapi import APIRouter, Depends, Request

from farsite.api.auth import permitted
from farsite.api.tacker.dialect import PREFIX
from farsite.model.errors import NotFound

router = APIRouter(tags=["VIM API of Tacker"])

_EXTENSION: dict[str, object] = {
    "alias": "nfv-orchestrator",
    "name": "NFV Orchestrator",
    "description": "Registers VIMs and looks after them.",
    "namespace": "",
    "links": (),
    "updated": "2016-12-21T10:00:00-00:00",
}


def _root(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{PREFIX}"


@router.get("/", include_in_schema=False)
async def list_versions(request: Request) -> dict[str, object]:
    """The versions of the VIM API; served to everybody."""
    link = {"rel": "self", "href": _root(request)}
    return {"versions": [{"id": "v1.0", "status": "CURRENT", "links": [link]}]}


@router.get(PREFIX, include_in_schema=False, dependencies=[Depends(permitted)])
@router.get(PREFIX + "/", dependencies=[Depends(permitted)])
async def list_resources(request: Request) -> dict[str, object]:
    """The resources of the VIM API."""
    names = {"vim": "vims", "extension": "extensions"}
    return {
        "resources": [
            {"name": one, "collection": many, "links": [{"rel": "self", "href": f"{_root(request)}/{many}"}]}
            for one, many in names.items()
        ]
    }


@router.get(f"{PREFIX}/extensions", dependencies=[Depends(permitted)])
async def list_extensions() -> dict[str, object]:
    """Extensions of the API, of which Tacker's clients know one."""
    return {"extensions": [_EXTENSION]}


@router.get(PREFIX + "/extensions/{alias}", dependencies=[Depends(permitted)])
async def show_extension(alias: str) -> dict[str, object]:
    """One extension.

    Raises:
        NotFound: there is no other.
    """
    if alias != _EXTENSION["alias"]:
        raise NotFound(f'No extension "{alias}". There is {_EXTENSION["alias"]}.')
    return {"extension": _EXTENSION}
