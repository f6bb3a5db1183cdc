"""`farsite identity`: have a Keystone name this service, so that standard clients find it.

A client of OpenStack looks for a service of type `nfv-orchestration` in the catalogue that comes with its
token. Its endpoint is the bare root of the service, because clients add `/v1.0` and `/vnflcm` themselves.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.model.errors import Conflict, Invalid, Refused

if TYPE_CHECKING:
    from openstack.identity.v3._proxy import Proxy
    from openstack.identity.v3.endpoint import Endpoint
    from openstack.identity.v3.service import Service

app = App(
    name="identity", help="The entry of this service in a Keystone: make it, remove it.", help_epilogue=""
)

TYPE = "nfv-orchestration"
INTERFACES = ("public", "internal", "admin")

Cloud = Annotated[str, Parameter(help="Cloud of clouds.yaml with the rights of an administrator (OS_CLOUD).")]
Name = Annotated[str, Parameter(help="Name of the service in the catalogue.")]
Region = Annotated[str, Parameter(help="Region of the endpoints; the cloud's own if left out.")]


@app.command
def register(
    *,
    url: Annotated[str, Parameter(help="Where clients reach this service: https://farsite.example:9890")],
    cloud: Cloud = "",
    name: Name = "farsite",
    region: Region = "",
    output: Output = "table",
) -> None:
    """Enter this service into the catalogue of a Keystone; repeating it changes nothing."""
    root = _root(url)
    with _catalogue(cloud, region) as catalogue:
        service = catalogue.service(name) or catalogue.identity.create_service(
            type=TYPE, name=name, description="NFV orchestration", enabled=True
        )
        standing = {str(one.interface): one for one in catalogue.endpoints(service)}
        for interface in INTERFACES:
            endpoint = standing.get(interface)
            if endpoint is None:
                catalogue.identity.create_endpoint(
                    service_id=service.id,
                    interface=interface,
                    url=root,
                    region_id=catalogue.region,
                    enabled=True,
                )
            elif endpoint.url != root or not endpoint.is_enabled:
                catalogue.identity.update_endpoint(endpoint, url=root, enabled=True)
        rows = [
            {
                "service": str(service.name),
                "type": TYPE,
                "region": catalogue.region,
                "interface": str(one.interface),
                "url": str(one.url),
            }
            for one in catalogue.endpoints(service)
        ]
    printing.table(
        rows,
        [
            ("service", lambda row: row["service"]),
            ("type", lambda row: row["type"]),
            ("region", lambda row: row["region"]),
            ("interface", lambda row: row["interface"]),
            ("url", lambda row: row["url"]),
        ],
        output,
    )


@app.command
def unregister(*, cloud: Cloud = "", name: Name = "farsite", region: Region = "") -> None:
    """Take this service out of the catalogue; what is not there is not missed."""
    with _catalogue(cloud, region) as catalogue:
        service = catalogue.service(name)
        if service is None:
            printing.note(f"Keystone has no {TYPE} service called {name}.")
            return
        for endpoint in catalogue.endpoints(service):
            catalogue.identity.delete_endpoint(endpoint)
        left = sorted({str(one.region_id) for one in catalogue.identity.endpoints(service_id=service.id)})
        if left:
            printing.note(f"The service stays: it has endpoints in {', '.join(left)}.")
        else:
            catalogue.identity.delete_service(service)


def _root(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(
            f'"{url}" is not a URL. Give the root of this service, e.g. https://farsite.example:9890'
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise Invalid(f'"{url}" is not a bare root: clients add /v1.0 and the like themselves.')
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Catalogue:
    """The catalogue of a Keystone, in one region."""

    identity: "Proxy"
    region: str

    def service(self, name: str) -> "Service | None":
        """The service of our type and name.

        Raises:
            Conflict: another one of that type is in this region, and clients take the first that they find.
        """
        found = list(self.identity.services(type=TYPE))
        # A client asks for one region: what others have in theirs is in nobody's way.
        rivals = (one for one in found if one.name != name and self.endpoints(one))
        if rival := next(rivals, None):
            raise Conflict(
                f'The catalogue has a {TYPE} service called "{rival.name}" in region {self.region}, and '
                f"clients take whichever they find first. Remove that one (openstack service delete "
                f"{rival.id}), or use its name (--name)."
            )
        return next((one for one in found if one.name == name), None)

    def endpoints(self, service: "Service") -> "list[Endpoint]":
        """The service's endpoints in this region."""
        return [one for one in self.identity.endpoints(service_id=service.id) if one.region_id == self.region]


@contextmanager
def _catalogue(cloud: str, region: str) -> Generator[Catalogue]:
    """The catalogue as the cloud's user may change it; refusals are told as ours."""
    import openstack
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import ForbiddenException, SDKException

    try:
        with openstack.connect(cloud=cloud or None) as connection:
            region = region or str(connection.config.get_region_name() or "")
            if not region:
                raise Invalid("The cloud names no region; say which the endpoints are for (--region).")
            yield Catalogue(cast("Proxy", connection.identity), region)
    except ForbiddenException as error:
        raise Refused(
            f"Keystone does not let this user change its catalogue. Use a cloud of an administrator: {error}"
        ) from error
    except (SDKException, ClientException) as error:
        raise Refused(f"Keystone refuses or is not reached: {error}") from error
