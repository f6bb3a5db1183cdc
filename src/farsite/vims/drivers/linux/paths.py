"""Where a run directory keeps what, and unix sockets at any depth.

    RUN_DIR/holder.sock, holder.lock, holder.log, holder.json    one per run directory
    RUN_DIR/sites/<site>/agent.sock, agent.lock, agent.pid ...   one per VIM

A unix socket address holds 107 bytes; a longer path is reached through a descriptor of its directory.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from farsite.model.ids import VimId

_ADDRESS_LIMIT = 107


def short_hash(*parts: str, length: int = 12) -> str:
    """The same few hexadecimal digits for the same parts, always."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def device_name(prefix: str, *parts: str) -> str:
    """An interface name derived from what it is for, within the kernel's 15 characters."""
    return prefix + short_hash(*parts)


def holder_socket(run_dir: Path) -> Path:
    """Where the namespace holder of a run directory listens."""
    return run_dir / "holder.sock"


def site_directory(run_dir: Path, vim_id: str) -> Path:
    """Everything that one site keeps."""
    return run_dir / "sites" / short_hash(vim_id, length=16)


def agent_socket(directory: Path) -> Path:
    """Where the agent of a site directory listens."""
    return directory / "agent.sock"


def make_private(directory: Path) -> Path:
    """Make a directory that only we may enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_private_in(folder, path.name, text)
    finally:
        os.close(folder)


def write_private_in(folder: int, name: str, text: str, *, owner: int = 0) -> None:
    """Write a file that only its owner may read, whole or not at all, into a folder by its descriptor.
    `owner`: a user and group id; 0: ours.

    What lies there is replaced, and no link is followed: a function may have laid one.
    """
    partial = f".{name}.partial"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o600, dir_fd=folder), "w") as file:
        if owner:
            os.fchown(file.fileno(), owner, owner)
        file.write(text)
    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def _address(path: Path) -> Generator[str]:
    if len(os.fsencode(path)) <= _ADDRESS_LIMIT:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def listen(path: Path) -> socket.socket:
    """A listening stream socket at this path; what lay there is replaced. Callers hold the lock."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with _address(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(1024)  # a full queue refuses at once, and a hundred deployments come together
    return listener


def connect(path: Path, *, timeout_s: float | None) -> socket.socket:
    """A stream connected to a listener at this path.

    Raises:
        OSError: nobody listens there.
    """
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    stream.settimeout(timeout_s)
    try:
        with _address(path) as address:
            stream.connect(address)
    except BaseException:
        stream.close()
        raise
    return stream


def site_namespace(vim_id: VimId) -> str:
    """Name under which the holder keeps a site's network namespace."""
    return f"site:{vim_id}"
