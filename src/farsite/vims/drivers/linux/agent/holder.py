"""The namespace holder: one small process per run directory that keeps namespaces alive.

A site's network namespace (the host-side ends of its ports, its bridges and its chains) must survive the
death of the site's agent, and rootless sites must share one user namespace, because a veth pair
between sibling user namespaces is refused. So neither belongs to an agent: the holder chooses the tier by
trial, makes namespaces on request, keeps their descriptors, and hands them out by SCM_RIGHTS. It also gives
every site its address on the underlay, the bridge `wan` that stands for the network between local sites.

If the holder dies, agents hand their descriptors to a new one (`adopt`), so the namespaces go on.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, namespaces, trial

_MODULE = "farsite.vims.drivers.linux.agent.holder"
_UNDERLAY = (100 << 24) | (64 << 16)
_TIMEOUT_S = 10.0
_LOOK_S = 10.0
"""How often the holder looks whether its run directory still exists; without it nobody can find it."""


class HolderFault(Exception):
    """The holder could not be started or reached; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A namespace as handed out. `user` is -1 in tier root; descriptors belong to the receiver."""

    tier: str
    pid: int
    network: int
    user: int
    underlay: str


def obtain(run_dir: Path, name: str) -> Held:
    """The network namespace of this name, made if absent.

    Raises:
        HolderFault: no holder could be started.
    """
    answer, descriptors = _ask(run_dir, {"get": name}, ())
    return Held(
        tier=str(answer["tier"]),
        pid=int(str(answer["pid"])),
        network=descriptors[0],
        user=descriptors[1] if len(descriptors) > 1 else -1,
        underlay=str(answer["underlay"]),
    )


def adopt(run_dir: Path, name: str, held: Held) -> None:
    """Give a (possibly new) holder a namespace it may not know; one it knows stays as it is."""
    descriptors = [held.network, *([held.user] if held.user >= 0 else [])]
    _ask(run_dir, {"adopt": name}, descriptors, user=held.user)


def forget(run_dir: Path, name: str) -> None:
    """Let go of a namespace; it and all in it go with its last process. Unknown is success."""
    _ask(run_dir, {"forget": name}, ())


def endpoints(run_dir: Path) -> dict[str, str]:
    """Site -> its address on the underlay, of every site that ever was, read without asking the holder."""
    try:
        sites = json.loads((run_dir / "holder.json").read_text())["sites"]
        return {str(name): _address(int(number)) for name, number in sites.items()}
    except (OSError, ValueError, KeyError):
        return {}


def process_id(run_dir: Path) -> int:
    """Process id of the living holder, or 0."""
    return daemon.living(run_dir / "holder.pid")


def _ask(
    run_dir: Path, request: dict[str, str], descriptors: Sequence[int], *, user: int = -1
) -> tuple[dict[str, object], list[int]]:
    ensure(run_dir, user=user)
    try:
        with paths.connect(paths.holder_socket(run_dir), timeout_s=_TIMEOUT_S) as stream:
            socket.send_fds(stream, [json.dumps(request).encode() + b"\n"], descriptors)
            said, received, _, _ = socket.recv_fds(stream, 1 << 16, 4)
    except OSError as error:
        raise HolderFault(f"The namespace holder of {run_dir} does not answer: {error}") from error
    answer: dict[str, object] = json.loads(said or b'{"error": "it closed the connection"}')
    if "error" in answer:
        raise HolderFault(f"The namespace holder of {run_dir} refuses: {answer['error']}")
    for descriptor in received:
        os.set_inheritable(descriptor, False)
    return answer, list(received)


def ensure(run_dir: Path, *, user: int = -1) -> None:
    """Have a holder running; `user` is a user namespace for it to enter instead of making one.

    Raises:
        HolderFault: it cannot be started; says why and how to allow it.
    """
    try:
        paths.connect(paths.holder_socket(run_dir), timeout_s=_TIMEOUT_S).close()
    except OSError:
        arguments = [str(run_dir)] + ([str(user)] if user >= 0 else [])
        done = subprocess.run(
            daemon.command(_MODULE, *arguments),
            env=daemon.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[user] if user >= 0 else [],
            timeout=30,
            check=False,
        )
        if done.returncode != 0:
            raise HolderFault(done.stdout.decode(errors="replace")) from None


class _Holder:
    def __init__(self, run_dir: Path, tier: str, user: int) -> None:
        self._record = run_dir / "holder.json"
        self._tier = tier
        self._user = user
        self._networks: dict[str, int] = {}
        try:
            self._sites: dict[str, int] = json.loads(self._record.read_text())["sites"]
        except (OSError, ValueError, KeyError):
            self._sites = {}

    def serve(self, listener: socket.socket) -> None:
        listener.settimeout(_LOOK_S)
        while True:
            try:
                stream, _ = listener.accept()
            except TimeoutError:
                if not self._record.parent.exists():
                    return
                continue
            with stream:
                stream.settimeout(1)
                try:
                    self._answer(stream)
                except (OSError, ValueError) as error:
                    sys.stderr.write(f"holder: {error}\n")
                    self._try_to_tell(stream, str(error))

    def _try_to_tell(self, stream: socket.socket, reason: str) -> None:
        try:
            stream.sendall(json.dumps({"error": reason}).encode())
        except OSError:
            sys.stderr.write("holder: the asker is gone\n")

    def _answer(self, stream: socket.socket) -> None:
        said, received, _, _ = socket.recv_fds(stream, 1 << 16, 4)
        if not said:
            return
        request: dict[str, str] = json.loads(said)
        if "adopt" in request:
            self._adopt(request["adopt"], list(received))
            stream.sendall(b'{"adopted": true}')
            return
        if "forget" in request:
            descriptor = self._networks.pop(request["forget"], -1)
            if descriptor >= 0:
                os.close(descriptor)
            stream.sendall(b'{"forgotten": true}')
            return
        name = request["get"]
        if name not in self._networks:
            self._networks[name] = namespaces.new_network_namespace()
        answer = {"tier": self._tier, "pid": os.getpid(), "underlay": self._underlay(name)}
        descriptors = [self._networks[name], *([self._user] if self._user >= 0 else [])]
        socket.send_fds(stream, [json.dumps(answer).encode()], descriptors)

    def _adopt(self, name: str, received: list[int]) -> None:
        for spare in received[1:]:
            os.close(spare)
        if name in self._networks:
            os.close(received[0])
        else:
            self._networks[name] = received[0]

    def _underlay(self, name: str) -> str:
        if name not in self._sites:
            self._sites[name] = max(self._sites.values(), default=0) + 1
            partial = self._record.with_suffix(".partial")
            partial.write_text(json.dumps({"tier": self._tier, "sites": self._sites}))
            partial.replace(self._record)
        return f"{_address(self._sites[name])}/16"


def _address(number: int) -> str:
    """Of the site of this number on the underlay."""
    whole = _UNDERLAY + number
    return ".".join(str(whole >> shift & 255) for shift in (24, 16, 8, 0))


def _lock_or_leave(run_dir: Path) -> int:
    """The holder's lock; -1 when another holder came up meanwhile, which is as good."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return daemon.lock(run_dir / "holder.lock")
        except BlockingIOError:
            try:
                paths.connect(paths.holder_socket(run_dir), timeout_s=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise HolderFault(f"Another holder of {run_dir} hangs; see holder.log") from None
                time.sleep(0.02)
            else:
                return -1


def _run(run_dir: Path, user: int) -> Callable[[Callable[[], None]], None]:
    def run(ready: Callable[[], None]) -> None:
        nonlocal user
        lock = _lock_or_leave(run_dir)
        if lock < 0:
            ready()
            return
        namespaces.name_process("farsite-holder")
        if user >= 0:
            tier = "rootless"
            # Started by an agent we are in it already, and the kernel refuses to enter it twice.
            if os.fstat(user).st_ino != os.stat("/proc/self/ns/user").st_ino:  # noqa: PTH116
                namespaces.enter(user, namespaces.CLONE_NEWUSER)
        else:
            tier, findings = trial.choose()
            if not tier:
                raise HolderFault(trial.refusal(findings))
            if tier == "rootless":
                namespaces.new_user_namespace()
                user = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        listener = paths.listen(paths.holder_socket(run_dir))
        daemon.write_identity(run_dir / "holder.pid")
        ready()
        _Holder(run_dir, tier, user).serve(listener)

    return run


if __name__ == "__main__":
    directory = paths.make_private(Path(sys.argv[1]))
    daemon.become(directory / "holder.log", _run(directory, int(sys.argv[2]) if len(sys.argv) > 2 else -1))
