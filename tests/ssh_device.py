"""A device that is managed over SSH: a real sshd on loopback, which knows one key and has one of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from farsite.vnfs.transports.ssh import SshAccess, SshShell

SSHD = "/usr/sbin/sshd"
NEEDED = [
    pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is not there"),
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to log in to this machine by sshd"),
]


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


class Device:
    """An sshd of the test's own on loopback."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True
            )
        shutil.copy(directory / "user.pub", directory / "authorized")
        (directory / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\n"
            f"AuthorizedKeysFile {directory}/authorized\nPidFile {directory}/sshd.pid\nStrictModes no\n"
            "PasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
            # Else bash reads the account's own .bashrc for every command, and what that starts may take a
            # second, or wait for its like.
            "SetEnv SHLVL=1\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)

    def start(self) -> None:
        subprocess.run([SSHD, "-f", self.directory / "sshd_config"], check=True)
        ends = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < ends, "sshd does not answer"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End the listening process; sessions that are open go on, as on a device."""
        path = self.directory / "sshd.pid"
        if path.exists():
            os.kill(int(path.read_text()), signal.SIGTERM)
            path.unlink(missing_ok=True)

    def key(self, name: str) -> str:
        return " ".join((self.directory / f"{name}.pub").read_text().split()[:2])

    def shell(self, *, user: str = "user", host: str = "host", port: int = 0) -> SshShell:
        return SshShell(
            "lb-1",
            SshAccess(
                host="127.0.0.1",
                port=port or self.port,
                host_keys=(self.key(host),),
                private_key=(self.directory / user).read_text(),
            ),
        )
