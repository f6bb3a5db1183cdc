"""A TCP connection to the management address of a VNFC, made directly from where Farsite runs.

OpenStack has no way into a tenant's network for us: the address must be one that we have a route to, a
floating IP or one on a provider network. Only trying tells which of a VNFC's addresses that is, so all are
tried at once, and of those that answer the likeliest is taken.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import CONSOLE_MOST
from farsite.vims.drivers.openstack.cloud import Cloud

if TYPE_CHECKING:
    from openstack.connection import Connection

_VNFC = "farsite_vnfc"
"""Key of a server's metadata: the VNFC it is."""
_CONNECT_S = 4
_CONSOLE_LINES = 2000


async def reach(cloud: Cloud, vnfc_id: VnfcId, port: int) -> socket.socket:
    """A connected, non-blocking stream socket to a TCP port of a VNFC.

    Raises:
        VimFault: no such VNFC, or none of its addresses lets us in; says which were tried and why not.
        VimUnreachable: the VIM does not tell its addresses.
    """
    for region in await cloud.regions():
        server = await cloud.call(
            region, lambda sdk: _server(sdk, vnfc_id), what=f"tell the addresses of VNFC {vnfc_id}"
        )
        if server is not None:
            addresses = addresses_of(server.get("addresses", {}))
            return await connect(addresses, port, whose=f'VNFC {vnfc_id} on VIM "{cloud.name}"')
    raise _absent(cloud, vnfc_id)


async def console(cloud: Cloud, vnfc_id: VnfcId) -> str:
    """The end of what a VNFC's server wrote on its console.

    Raises:
        VimFault: no such VNFC, or Nova refuses; some hypervisors keep no console.
        VimUnreachable: Nova does not answer.
    """
    for region in await cloud.regions():
        written = await cloud.call(
            region, lambda sdk: _console(sdk, vnfc_id), what=f"show the console of VNFC {vnfc_id}"
        )
        if written is not None:
            return written[-CONSOLE_MOST:]
    raise _absent(cloud, vnfc_id)


def _console(sdk: "Connection", vnfc_id: str) -> str | None:
    from farsite.vims.drivers.openstack.stacks import answer, text

    server = _server(sdk, vnfc_id)
    if server is None:
        return None
    path = f"/servers/{server['id']}/action"
    asked = {"os-getConsoleOutput": {"length": _CONSOLE_LINES}}
    return text(answer(sdk.compute.post(path, json=asked)), "output")


def _absent(cloud: Cloud, vnfc_id: str) -> VimFault:
    return VimFault(
        f'VIM "{cloud.name}" has no server of VNFC {vnfc_id} in the registered project. '
        "It was deleted, or never created: heal the VNF."
    )


def _server(sdk: "Connection", vnfc_id: str) -> Mapping[str, Any] | None:
    """A VNFC's server. Its name is the VNFC's id where the template was ours; else its metadata tell."""
    from farsite.vims.drivers.openstack.session import paged_json

    for query in (f"name=^{quote(re.escape(vnfc_id))}$&", ""):
        for server in paged_json(sdk.compute, "/servers/detail", "servers", query):
            if server.get("metadata", {}).get(_VNFC) == vnfc_id:
                return server
    return None


def addresses_of(networks: Mapping[str, Any]) -> list[str]:
    """A server's addresses as Nova lists them by network, the likeliest to be reachable first."""
    entries = [entry for addresses in networks.values() for entry in addresses]
    floating = [str(one["addr"]) for one in entries if one.get("OS-EXT-IPS:type") == "floating"]
    return [*floating, *(str(one["addr"]) for one in entries if str(one["addr"]) not in floating)]


async def connect(addresses: Sequence[str], port: int, *, whose: str) -> socket.socket:
    """A connection to the first of the addresses that accepts one.

    Raises:
        VimFault: none does.
    """
    if not addresses:
        raise VimFault(
            f"{whose} has no address. Give it a connection point on a network that Farsite can reach."
        )
    told = await asyncio.gather(*(_connect(one, port) for one in addresses))
    open_ones = [one for one in told if isinstance(one, socket.socket)]
    for spare in open_ones[1:]:
        spare.close()
    if open_ones:
        return open_ones[0]
    tried = "; ".join(f"{address}: {why}" for address, why in zip(addresses, told, strict=True))
    raise VimFault(
        f"{whose} cannot be reached on TCP port {port} ({tried}). Farsite connects directly, so one of these "
        "addresses must be routed to it (a provider network or a floating IP), its security group must "
        f"allow TCP port {port}, and something must listen there."
    )


async def _connect(address: str, port: int) -> socket.socket | str:
    """A connected socket, or why there is none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.ExitStack() as undo:
        undo.callback(stream.close)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().sock_connect(stream, (address, port))
        except TimeoutError:
            return f"no answer within {_CONNECT_S} s"
        except OSError as error:
            # asyncio words it anew, with the address in it.
            return os.strerror(error.errno or 0).lower()
        undo.pop_all()
    return stream
