"""Playbooks, by the program `ansible-playbook` of the host, over the OpenSSH client as we tell it to reach a
device.

A program and no library of ours: Ansible is under the GPL, and who wants such adapters has it (Debian:
`ansible-core`). Each run has a private directory with all that it reads: the files of the adapter's folder,
an inventory of one host, its own `ansible.cfg`. So no file of the account that runs us is read, nothing
beside the folder's files is picked up, and nothing is left behind. The device is reached by the very options
of `SshClient` (pinned host key, our key, the way through a VIM), over the connection that is open already.

Every text that comes from a document is marked `!unsafe`: Ansible takes what looks like a template in a
variable for one, and a template can run programs on this host.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from farsite.model.errors import NotSupported, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.playbooks import Played, TaskChange, TaskFault
from farsite.vnfs.shell import Holds
from farsite.vnfs.transports.ssh import SshShell

PROGRAM = "ansible-playbook"
DEVICE = "device"
"""What the device is called in playbooks (`hosts: device`)."""
_EVENTS = "farsite.vnfs.inside_ansible.farsite_events"
_MOST_WORDS = 4000
_SYSTEM = "/usr/share/ansible"
_CONFIGURATION = """\
[defaults]
host_key_checking = True
retry_files_enabled = False
stdout_callback = farsite_events
callback_plugins = {place}/callback
local_tmp = {place}/tmp
roles_path = {system}/roles:/etc/ansible/roles
collections_path = {system}/collections
gathering = explicit
forks = 1
interpreter_python = auto_silent
no_target_syslog = True
max_diff_size = 33554432
nocows = True
deprecation_warnings = False
system_warnings = False
localhost_warning = False
[inventory]
enable_plugins = yaml
[connection]
pipelining = True
[ssh_connection]
pipelining = True
retries = 0
transfer_method = piped
usetty = False
"""


class AnsiblePlaybooks:
    """Runs playbooks of one adapter's folder on one device; see `Playbooks`."""

    def __init__(self, device: str, files: Mapping[str, bytes], shell: SshShell) -> None:
        """`device` is what people call it; `files` are those of the folder; `shell` is the way to it."""
        self._device = device
        self._files = files
        self._shell = shell

    @property
    def shell(self) -> Holds:
        return self._shell

    async def play(
        self,
        playbook: str,
        variables: Mapping[str, object],
        *,
        texts: Mapping[str, str],
        is_check: bool,
        through: str,
        scratch: str,
        timeout_s: float,
    ) -> Played:
        """Run one; see `Playbooks.play`.

        Raises:
            VnfFault: the device refuses us, or Ansible could not begin; says why.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise NotSupported(
                f"There is no {PROGRAM} on this host, which {self._device} is changed by. Install it: "
                f"apt-get install ansible-core"
            )
        await self._shell.client.open()
        place = Path(tempfile.mkdtemp(prefix="fs-"))
        try:
            await asyncio.to_thread(self._lay, place, variables, texts, through, scratch)
            status, said = await self._run(
                [
                    program,
                    *("--inventory", "inventory.yaml", "--extra-vars", "@variables.yaml", "--diff"),
                    *(["--check"] if is_check else []),
                    f"folder/{playbook}",
                ],
                place,
                timeout_s,
            )
            events = place / "events"
            told = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        return self._played(status, said, [json.loads(line) for line in told])

    def _lay(
        self,
        place: Path,
        variables: Mapping[str, object],
        texts: Mapping[str, str],
        through: str,
        scratch: str,
    ) -> None:
        client = self._shell.client
        host = {
            "ansible_connection": "ssh",
            "ansible_host": client.access.host,
            "ansible_user": client.access.user,
            "ansible_ssh_executable": client.program,
            "ansible_ssh_args": shlex.join(client.options),
            "ansible_shell_executable": through,
            "ansible_remote_tmp": scratch,
        }
        plugin = find_spec(_EVENTS)
        assert plugin is not None
        assert plugin.origin is not None
        files: dict[str, bytes] = {
            "ansible.cfg": _CONFIGURATION.format(place=place, system=_SYSTEM).encode(),
            "inventory.yaml": _yaml({"all": {"hosts": {DEVICE: host}}}).encode(),
            "variables.yaml": _yaml({"farsite": variables}).encode(),
            "callback/farsite_events.py": Path(plugin.origin).read_bytes(),
            **{f"folder/{name}": content for name, content in self._files.items()},
            **{f"folder/texts/{name}": text.encode() for name, text in texts.items()},
        }
        for name in ("home", "tmp"):
            (place / name).mkdir(mode=0o700)
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Secrets are in some of them.
            path.touch(0o600)
            path.write_bytes(content)

    async def _run(self, command: Sequence[str], place: Path, timeout_s: float) -> tuple[int, str]:
        environment = {
            **self._shell.client.environment,
            "HOME": str(place / "home"),
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
            "FARSITE_EVENTS": str(place / "events"),
            "PYTHONDONTWRITEBYTECODE": "1",
            # It refuses to run in a locale that is not of UTF-8.
            "LC_ALL": "C.UTF-8",
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=place,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                said, _ = await process.communicate()
        except TimeoutError as error:
            raise VnfUnreachable(
                f"The playbook on {self._device} did not end within {timeout_s:g} s.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error
        finally:
            if process.returncode is None:
                # It works in processes of its own, which would go on without it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode or 0, said.decode("utf-8", "replace")

    def _played(self, status: int, said: str, events: Sequence[Mapping[str, object]]) -> Played:
        changes = tuple(
            TaskChange(**{name: str(one[name]) for name in ("task", "path", "before", "after", "diff")})
            for one in events
            if one["event"] == "changed"
        )
        if status:
            # A fault that a playbook caught (`rescue`) is none, so the status decides whether there was one.
            faults = [one for one in events if one["event"] in ("failed", "unreachable")]
            if not faults:
                raise self._could_not(f"it ended with status {status}: {' '.join(said.split())}")
            fault = faults[-1]
            words = str(fault["words"])[:_MOST_WORDS]
            is_unreachable = fault["event"] == "unreachable"
            if is_unreachable:
                refusal = self._shell.client.no_connection(words)
                if isinstance(refusal, VnfFault):
                    raise refusal
            return Played(
                changes=changes,
                fault=TaskFault(task=str(fault["task"]), words=words, is_unreachable=is_unreachable),
            )
        if not any(one["event"] == "ended" and DEVICE in str(one["hosts"]) for one in events):
            raise self._could_not(f"the playbook does not speak of it, that is, of the host {DEVICE}")
        return Played(changes=changes)

    def _could_not(self, why: str) -> VnfFault:
        return VnfFault(
            f"Ansible could not change {self._device}: {why[:_MOST_WORDS]}. Look at the adapter's playbook.",
            about={"code": ErrorCode.FAILED},
        )


_ESCAPED = re.compile(r'[^ -~]|["\\]')


def _yaml(value: object) -> str:
    """YAML in which no text is a template. Written here, for PyYAML's writer takes minutes for what a large
    document may hold."""
    match value:
        case str():
            return f'!unsafe "{_ESCAPED.sub(_escape, value)}"'
        case Mapping():
            inner = cast(Mapping[object, object], value)
            members = (f"{json.dumps(str(key))}: {_yaml(one)}" for key, one in inner.items())
            return f"{{{', '.join(members)}}}"
        case list() | tuple():
            return f"[{', '.join(_yaml(one) for one in cast(Sequence[object], value))}]"
        case _:
            return json.dumps(value)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in '"\\':
        return f"\\{character}"
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\U{number:08x}"
