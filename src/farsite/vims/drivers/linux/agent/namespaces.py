"""Linux namespaces and mounts: the system calls that Python 3.11 does not offer.

Entering a namespace concerns the calling thread only (and a user namespace only a process without
threads), so work inside another namespace is done by a throw-away thread: `inside`.
"""

import ctypes
import fcntl
import os
import threading
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_NS_GET_USERNS = 0xB701

USERS = 1 << 16
"""How many users and groups a VDU with users of its own has."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442
_PR_SET_NAME, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 15, 24, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)

Answer = TypeVar("Answer")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this thread (NEWPID: its children) into new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def enter(descriptor: int, flags: int) -> None:
    """Move this thread into an existing namespace."""
    _check(_libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system, as mount(2)."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {target}")


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def change_mount(path: str, *, wanted: int = 0, unwanted: int = 0, is_recursive: bool = False) -> None:
    """Give a mount attributes (`MOUNT_ATTR_x`) and take others from it (mount_setattr, Linux 5.12)."""
    changes = _MountAttributes(set=wanted, clear=unwanted)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        ctypes.c_int(-100),
        path.encode(),
        ctypes.c_uint(_AT_RECURSIVE if is_recursive else 0),
        ctypes.byref(changes),
        ctypes.c_size_t(ctypes.sizeof(changes)),
    )
    _check(result, f"mount_setattr {path}")


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process instead of to the host's first one."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl subreaper")


def name_process(name: str) -> None:
    """What `ps -o comm` shows (15 characters)."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl name")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Drop every other capability for good, for us and all that we execute."""
    highest = int(open("/proc/sys/kernel/cap_last_cap").read())  # noqa: PTH123, SIM115
    for capability in range(highest + 1):
        if capability not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl capability")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")


def new_user_namespace() -> None:
    """Become root of a new user namespace, with only our own user and group in it.

    Raises:
        OSError: the kernel or a security module forbids it.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1\n"),
        ("gid_map", f"0 {gid} 1\n"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  (pathlib is not loaded here)
            file.write(content)


def map_users(pid: int, first: int) -> None:
    """Give the new user namespace of a process `USERS` users and groups: its root is the host's id `first`.

    Raises:
        OSError: we have no power over these ids.
    """
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:  # noqa: PTH123  (pathlib is not loaded here)
            file.write(f"0 {first} {USERS}\n")


def owner_of(namespace: int) -> int:
    """A descriptor of the user namespace that has the power over a namespace."""
    return fcntl.ioctl(namespace, _NS_GET_USERNS)


def become_root() -> None:
    """Become root of the user namespace that we are in, with no other group."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def inside(namespace: int, work: Callable[[], Answer]) -> Answer:
    """Do `work` in a thread of its own inside a network namespace and return its answer."""
    answers: list[Answer] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            enter(namespace, CLONE_NEWNET)
            answers.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return answers[0]


def new_network_namespace() -> int:
    """A descriptor of a new, empty network namespace with its loopback up."""
    found: list[int] = []
    failures: list[BaseException] = []

    def make() -> None:
        try:
            unshare(CLONE_NEWNET)
            found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return found[0]
