"""Users for VDUs: 65536 ids of the host that nobody else has, so that their root is nobody on the host.

The ids are those that hosts give to what they contain (systemd-nspawn chooses from the same), chosen by the
VDU's key. Should two VDUs get the same ones, either is still a stranger to the host, and sees nothing of the
other's directory.
"""

import os
from pathlib import Path

from farsite.model.errors import VimFault
from farsite.vims.drivers.linux.agent import namespaces

_FIRST = range(0x8_0000, 0x7000_0000, namespaces.USERS)


def first_of(key: str) -> int:
    """The host's user and group id of a VDU's root; `key` is hexadecimal."""
    return _FIRST[int(key, 16) % len(_FIRST)]


def give(pid: int, first: int) -> None:
    """Give the new user namespace of a VDU's first process its users.

    Raises:
        VimFault: we have no power over these ids.
    """
    try:
        namespaces.map_users(pid, first)
    except OSError as error:
        raise VimFault(f"The VDU could not get users of its own: {error.strerror}.") from error


def own_network(network: int) -> bool:
    """Whether a network namespace belongs to the users of a VDU, and not to ours."""
    users = namespaces.owner_of(network)
    try:
        return os.fstat(users).st_ino != Path("/proc/self/ns/user").stat().st_ino
    finally:
        os.close(users)


def why_none(tier: str) -> str:
    """Why the site has no users to give, and what to do; empty: it has. Found by trying."""
    if tier != "root":
        return "Farsite runs without root here. Run it as root, or choose another site."
    try:
        _try()
    except OSError as error:
        return (
            f"{error.strerror or error} (see /proc/self/uid_map and user.max_user_namespaces). Run Farsite "
            f"on the machine itself, or choose another site."
        )
    return ""


def _try() -> None:
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            os.write(ready[1], b"y")
        finally:
            os.close(ready[1])
            os.close(done[1])
            os.read(done[0], 1)
            os._exit(0)
    try:
        os.close(ready[1])
        if not os.read(ready[0], 1):
            raise OSError("no user namespace can be made")
        namespaces.map_users(child, _FIRST[-1])
    finally:
        for descriptor in (ready[0], *done):
            os.close(descriptor)
        os.waitpid(child, 0)
