"""SSH keys of a test's own, and the boot data that brings them to an appliance."""

import subprocess
from pathlib import Path


class Keys:
    """The host key of a function, and the operator's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in ("host", "operator"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(words, check=True)

    def private(self, name: str) -> str:
        return (self._directory / name).read_text()

    def public(self, name: str) -> str:
        return " ".join((self._directory / f"{name}.pub").read_text().split()[:2])

    def script(self, *more: str, with_host_key: bool = True) -> str:
        """Boot data that puts the keys where sshd looks for them, and does more."""
        host = f"cat >ssh/host_key <<'END'\n{self.private('host')}END\n" if with_host_key else ""
        lines = "\n".join(more)
        return (
            "#!/bin/sh\nset -e\nmkdir -p -m 700 ssh\n"
            f"{host}echo '{self.public('operator')}' >ssh/authorized_keys\n{lines}\n"
        )
