"""Changes the ports of a VDU while its function runs: other addresses, another MAC, another bridge.

The function keeps its sockets; it learns of the new addresses when it starts the next time.
"""

import os
from collections.abc import Callable

from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import VimFault
from farsite.vims.drivers.linux.agent import links, namespaces


def rewire(
    before: WantedVnfc,
    wanted: WantedVnfc,
    *,
    pid: int,
    interface_of: Callable[[Port], str],
    mac_of: Callable[[Port], str],
) -> None:
    """Give the interfaces inside a VDU what `wanted` says. Repeating it changes nothing.

    Raises:
        VimFault: ports come or go, which only a new incarnation can do; or the VDU has just died.
    """
    known = {port.name: port for port in before.ports}
    if known.keys() != {port.name for port in wanted.ports}:
        raise VimFault(
            f"{wanted.id} stands with the ports {', '.join(sorted(known))}; others need a new one."
        )
    changes = [(known[port.name], port) for port in wanted.ports if known[port.name] != port]

    def inside() -> None:
        own = links.Links()
        try:
            for was, port in changes:
                _change(own, own.index(interface_of(port)), was, port, mac_of)
        finally:
            own.close()

    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise VimFault(f"{wanted.id} has just died.") from error
    try:
        namespaces.inside(namespace, inside)
    finally:
        os.close(namespace)


def _change(own: links.Links, index: int, was: Port, port: Port, mac_of: Callable[[Port], str]) -> None:
    if mac_of(was) != mac_of(port):
        own.set_mac(index, mac_of(port))
    for address in was.addresses:
        if address not in port.addresses:
            own.delete_address(index, address)
    for address in port.addresses:
        own.add_address(index, address)
