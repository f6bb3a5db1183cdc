"""Starting VDUs: a small process without threads, forked from the agent before it grows.

A VDU's first process solely owns its network, process, mount, host-name and IPC namespaces, so that
killing it destroys its interfaces as well: a dead VDU never goes on forwarding. The launcher forks it; it
then unshares, waits for the agent to move its ports in, configures itself from within and executes the
function. If the agent dies before that, the half-made VDU ends; afterwards it goes on without agent
and launcher.

A VDU with users of its own has a user namespace as well, which its network belongs to. Its mounts are made
before it enters that, so the kernel keeps it from undoing what is read-only.

The conversation on the VDU's own control socket:

    VDU -> agent   "unshared"           its namespaces exist, ports may be moved in (and its users be mapped)
    agent -> VDU   "go"                 ports are there
    VDU -> agent   end of stream        the function is executing
                   or a reason          it could not be executed
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NoReturn

from farsite.vims.drivers.linux.agent import links, namespaces

_MESSAGE_LIMIT = 1 << 17
_NAMESPACES = namespaces.CLONE_NEWNET | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC
# For a VDU that shares our users. CAP_CHOWN, DAC_READ_SEARCH, KILL, SETGID, SETUID, NET_BIND_SERVICE,
# NET_ADMIN, NET_RAW: what network functions use. They keep no power over the host's namespaces, mounts or
# modules.
_KEPT_CAPABILITIES = frozenset((0, 2, 5, 6, 7, 10, 12, 13))
_ALL_CAPABILITIES = frozenset(range(64))
"""For a VDU with users of its own: there they are powers over itself alone."""
READY_DESCRIPTOR = 3
LIFELINE_DESCRIPTOR = 1000
"""The end of a pipe that the VDU holds and the agent watches.

The kernel tells of a death by pidfd only after the process has released everything, and to release one packet
socket alone takes it some 20 ms. Descriptors are released from the highest down, so this one goes first: the
agent knows of a death tens of milliseconds earlier.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a VDU's first process starts. Devices are named as inside the VDU."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    hostname: str
    ports: Sequence[tuple[str, Sequence[str]]]
    """Interface and its addresses with prefix length."""
    is_confined: bool = False
    """See the host's files read-only, with /tmp and /run of its own."""
    mounted_at: str = ""
    """Where it sees its directory; empty: where it lies."""
    first_user: int = 0
    """The host's user and group id of its root, where it has users of its own; 0: it has not."""
    limits: Mapping[int, int] = field(default_factory=dict[int, int])
    """resource.RLIMIT_x -> limit."""


class Launcher:
    """The agent's end: forks the launcher process and asks it for VDUs."""

    def __init__(self, *, inherited: Sequence[int] = ()) -> None:
        """Must be made before the process has threads. `inherited` are descriptors that the
        launcher process must not keep, such as the agent's lock."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            for descriptor in inherited:
                os.close(descriptor)
            _serve(theirs)
        theirs.close()
        self._socket = ours
        self._socket.settimeout(10)

    def start(
        self, wanted: Launch, *, control: int, log: int, ready: int, lifeline: int, network: int | None = None
    ) -> int:
        """Fork a VDU; returns its process id. It reports on `control` from then on.

        With `network` it joins that network namespace, whose ports are there already, in place of a new one.

        Raises:
            OSError: the launcher is gone or could not fork.
        """
        message = json.dumps(asdict(wanted)).encode()
        joined = [] if network is None else [network]
        socket.send_fds(self._socket, [message], [control, log, ready, lifeline, *joined])
        answer = json.loads(self._socket.recv(_MESSAGE_LIMIT) or b"{}")
        if "pid" not in answer:
            raise OSError(f"The launcher could not start a VDU: {answer.get('error', 'it is gone')}")
        return int(answer["pid"])


def _serve(agent: socket.socket) -> NoReturn:
    namespaces.name_process("farsite-launch")
    # The kernel reaps: VDUs are watched by pidfd, adopted ones too, so nobody asks for an exit status.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    namespaces.become_subreaper()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(agent, _MESSAGE_LIMIT, 5)
        except OSError:
            os._exit(0)
        if not message:
            os._exit(0)
        try:
            if os.fork() == 0:
                _fork_first_process(agent, message, list(descriptors))
        except OSError as error:
            _report(agent, {"error": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _fork_first_process(agent: socket.socket, message: bytes, descriptors: list[int]) -> NoReturn:
    """Fork a VDU's first process from a child that then ends.

    unshare(NEWPID) concerns later children only and cannot be taken back without power over the host's own
    process namespace, which the rootless tier has not; so every VDU has a child of its own to do it.
    """
    try:
        namespaces.unshare(namespaces.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            agent.close()
            _become(json.loads(message), descriptors)
        _report(agent, {"pid": child})
    except BaseException as error:
        _report(agent, {"error": str(error)})
    os._exit(0)


def _report(agent: socket.socket, answer: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        agent.send(json.dumps(answer).encode())


def _become(wanted: dict[str, object], descriptors: list[int]) -> NoReturn:
    control, log, ready, lifeline, *network = descriptors
    try:
        launch = Launch(**wanted)  # pyright: ignore[reportArgumentType]
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        namespaces.unshare(namespaces.CLONE_NEWNS)
        _mount(launch)
        _enter_namespaces(network, has_own_users=bool(launch.first_user))
        os.write(control, b"unshared")
        if os.read(control, 16) != b"go":
            os._exit(0)
        _configure_interfaces(launch)
        socket.sethostname(launch.hostname)
        if launch.first_user:
            namespaces.become_root()
        _execute(launch, control=control, log=log, ready=ready, lifeline=lifeline)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(control, f"{type(error).__name__}: {error}".encode())
    os._exit(127)


def _enter_namespaces(network: Sequence[int], *, has_own_users: bool) -> None:
    """Get namespaces of our own, but join the network namespace that is given, if one is."""
    # With a user namespace a mount namespace comes once more: the kernel then locks the mounts as they are.
    others = namespaces.CLONE_NEWNS if has_own_users else 0
    if not network:
        namespaces.unshare(_NAMESPACES | others | (namespaces.CLONE_NEWUSER if has_own_users else 0))
        return
    if has_own_users:
        users = namespaces.owner_of(network[0])
        namespaces.enter(users, namespaces.CLONE_NEWUSER)
        os.close(users)
    namespaces.enter(network[0], namespaces.CLONE_NEWNET)
    os.close(network[0])
    namespaces.unshare((_NAMESPACES & ~namespaces.CLONE_NEWNET) | others)


def _configure_interfaces(launch: Launch) -> None:
    inside = links.Links()
    inside.set_up(inside.index("lo"))
    for name, addresses in launch.ports:
        index = inside.index(name)
        if not any(":" in address for address in addresses):
            inside.make_silent(index)
        inside.set_up(index)
        for address in addresses:
            inside.add_address(index, address)
    inside.close()


def _mount(launch: Launch) -> None:
    namespaces.mount("", "/", "", namespaces.MS_REC | namespaces.MS_PRIVATE)
    hidden = namespaces.MS_NOSUID | namespaces.MS_NODEV | namespaces.MS_NOEXEC
    if launch.is_confined:
        directory = os.open(launch.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        namespaces.change_mount("/", wanted=namespaces.MOUNT_ATTR_RDONLY, is_recursive=True)
        own = {"/tmp": "mode=1777,size=64m", "/run": "mode=1777,size=64m"}  # noqa: S108  (mount points)
        if launch.first_user:
            # Its users could not enter the home of the host's root.
            own["/root"] = "mode=700,size=64m"
        for path, options in own.items():
            owned = f"{options},uid={launch.first_user},gid={launch.first_user}"
            namespaces.mount("farsite", path, "tmpfs", hidden & ~namespaces.MS_NOEXEC, owned)
        seen = launch.mounted_at or launch.directory
        os.makedirs(seen, exist_ok=True)  # noqa: PTH103  (it may have been under /tmp)
        namespaces.mount(f"/proc/self/fd/{directory}", seen, "", namespaces.MS_BIND)
        namespaces.change_mount(
            seen,
            wanted=namespaces.MOUNT_ATTR_NOSUID | namespaces.MOUNT_ATTR_NODEV,
            unwanted=namespaces.MOUNT_ATTR_RDONLY,
        )
        os.close(directory)
    # Containers that mask parts of /proc refuse a new one; then it shows the site's processes.
    with contextlib.suppress(OSError):
        namespaces.mount("proc", "/proc", "proc", hidden)


def _execute(launch: Launch, *, control: int, log: int, ready: int, lifeline: int) -> None:
    os.chdir(launch.mounted_at or launch.directory)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # The wanted descriptors may lie among 0 to 3 themselves: move all out of the way first.
    kept, line = _above(control), _above(lifeline)
    sources = [_above(descriptor) for descriptor in (nothing, log, log, ready)]
    for target, source in enumerate(sources):
        os.dup2(source, target, inheritable=True)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit > LIFELINE_DESCRIPTOR:
        os.dup2(line, LIFELINE_DESCRIPTOR, inheritable=True)
    for first, end in (
        (READY_DESCRIPTOR + 1, kept),
        (kept + 1, LIFELINE_DESCRIPTOR),
        (LIFELINE_DESCRIPTOR + 1, limit),
    ):
        os.closerange(first, end)
    try:
        for limit, value in launch.limits.items():
            resource.setrlimit(int(limit), (value, value))
        namespaces.keep_capabilities(_ALL_CAPABILITIES if launch.first_user else _KEPT_CAPABILITIES)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(launch.arguments[0], list(launch.arguments), dict(launch.environment))  # noqa: S606
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(kept, f"{launch.arguments[0]}: {error}".encode())
        os._exit(127)


def _above(descriptor: int) -> int:
    """The same open file at a descriptor that a function does not expect, closed on execution."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, READY_DESCRIPTOR + 1)
