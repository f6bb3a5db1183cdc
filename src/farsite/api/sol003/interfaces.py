"""ETSI's interfaces that are served here, in their major versions, and which one a request speaks.

Version 1 of lifecycle management is what SOL003 V2.6.1 has, version 2 what V3.3.1 to V3.7.1 have. They
differ in a few structures (lists that became maps) and in the `Version` header: version 2 demands it, in
version 1 the standard client leaves it out of one request, so it is demanded of nobody there.

Source: ETSI GS NFV-SOL 013 clause 9 (version management).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.exceptions import HTTPException


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A major version: where it is, and which versions of it are spoken, the newest last."""

    major: int
    versions: tuple[str, ...]
    demands_version: bool
    name: str = "vnflcm"

    @property
    def path(self) -> str:
        return f"/{self.name}/v{self.major}"


V1 = Interface(major=1, versions=("1.0.0", "1.1.0", "1.2.0", "1.3.0"), demands_version=False)
V2 = Interface(major=2, versions=("2.0.0", "2.1.0", "2.2.0", "2.3.0"), demands_version=True)
INTERFACES = (V1, V2)
FM = Interface(
    name="vnffm",
    major=1,
    versions=("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"),
    demands_version=False,
)
"""Fault management. Of its two requests for alarms, ETSI's file demands the version in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What one request speaks. `root` is the URI of the interface."""

    major: int
    version: str
    root: str

    @property
    def headers(self) -> dict[str, str]:
        """For answers that are made by hand."""
        return {"Version": self.version}


async def spoken_by(request: Request, response: Response) -> Spoken:
    """The interface and version of a request; the answer names the version.

    Raises:
        HTTPException: 400 for a missing `Version`, 406 for one that is not spoken here.
    """
    path = request.url.path
    interface = next(one for one in (V1, V2, FM) if path.startswith(f"{one.path}/"))
    stated = request.headers.get("version", "").partition("-")[0].strip()
    if not stated and interface.demands_version:
        raise HTTPException(
            400, f"The header Version is missing. Spoken here: {', '.join(interface.versions)}."
        )
    if stated and stated not in interface.versions:
        raise HTTPException(
            406, f"Version {stated[:40]} is not spoken here. Spoken: {', '.join(interface.versions)}."
        )
    version = stated or interface.versions[-1]
    response.headers["Version"] = version
    return Spoken(
        major=interface.major,
        version=version,
        root=str(request.base_url).rstrip("/") + interface.path,
    )


def api_versions(*interfaces: Interface) -> Callable[[Request], dict[str, object]]:
    """Tells which versions are spoken; asked before anything else, so of any version or none."""

    def api_versions(request: Request) -> dict[str, object]:
        path = interfaces[0].path if len(interfaces) == 1 else f"/{interfaces[0].name}"
        return {
            "uriPrefix": str(request.base_url).rstrip("/") + path,
            "apiVersions": [
                {"version": version, "isDeprecated": False}
                for interface in interfaces
                for version in interface.versions
            ],
        }

    return api_versions


Speaks = Annotated[Spoken, Depends(spoken_by)]
"""For a handler's parameters."""


def described(interface: Interface) -> dict[str, object]:
    """The `Version` header for the OpenAPI description."""
    return {
        "parameters": [
            {
                "name": "Version",
                "in": "header",
                "required": interface.demands_version,
                "schema": {"type": "string", "enum": list(interface.versions)},
            }
        ]
    }
