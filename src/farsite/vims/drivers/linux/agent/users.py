"""Users for VDUs: 65536 ids of the host that no other VDU has, so that their root is nobody on the host.

The ids are those that hosts give to what they contain (systemd-nspawn chooses from the same). A VDU's are
claimed by a link in a directory of the host, which the agents of all sites and run directories share: it is
named after the first id, leads to the VDU's own directory, and is void when that is gone. Where the search
begins follows from the VDU's key. Which ids a VDU has, the owner of its directory tells, whatever becomes of
the claims; the VDU can change it within these ids alone.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

from farsite.model.errors import VimFault
from farsite.vims.drivers.linux.agent import namespaces

FIRST = range(0x8_0000, 0x7000_0000, namespaces.USERS)
CLAIMS = Path("/run/farsite/users")


def claim(key: str, directory: Path) -> int:
    """The host's user and group id of the root of the VDU whose directory this is: the one that it has, else
    one that nobody has. `key` is hexadecimal.

    Raises:
        VimFault: all are taken, or the one that it has is another's.
        OSError: the host's claims cannot be read or written.
    """
    with _claims():
        had = _first_of(directory)
        start = int(key, 16)
        for first in (had,) if had else (FIRST[(start + n) % len(FIRST)] for n in range(len(FIRST))):
            holder = _holder(first)
            if holder is None or holder == directory:
                _hold(first, directory)
                return first
    raise VimFault(
        f"Users {had} of the host are another VDU's." if had else "The host has no users left to give."
    )


def has_own(directory: Path) -> bool:
    """Whether the VDU whose directory this is has users of its own."""
    return directory.is_dir() and bool(_first_of(directory))


def release(directory: Path) -> None:
    """Give back the users of the VDU whose directory this is, or of all whose directories lie below it."""
    if not os.access(CLAIMS, os.W_OK):
        return
    with _claims():
        for link in CLAIMS.iterdir():
            if link.readlink().is_relative_to(directory):
                link.unlink()


@contextlib.contextmanager
def _claims() -> Generator[None]:
    CLAIMS.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(CLAIMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _holder(first: int) -> Path | None:
    """The directory that users are claimed for; None: nobody has them."""
    try:
        directory = (CLAIMS / str(first)).readlink()
    except FileNotFoundError:
        return None
    return directory if directory.is_dir() else None


def _hold(first: int, directory: Path) -> None:
    link = CLAIMS / str(first)
    link.unlink(missing_ok=True)
    link.symlink_to(directory)


def _first_of(directory: Path) -> int:
    """The first of the ids that the directory belongs to one of; 0: it belongs to none of a VDU's."""
    owner = directory.stat().st_uid
    first = owner - owner % namespaces.USERS
    return first if first in FIRST else 0


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
        namespaces.map_users(child, FIRST[-1])
    finally:
        for descriptor in (ready[0], *done):
            os.close(descriptor)
        os.waitpid(child, 0)
