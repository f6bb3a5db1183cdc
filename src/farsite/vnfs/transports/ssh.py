"""A shell over SSH, by the OpenSSH client of the host: its host-key checks, ciphers and key types are those
that operators know, and one connection serves all commands.

Nothing is taken on trust: the host key must be the pinned one, and no file of the account that runs us is
read.
"""

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from farsite.model.errors import FarsiteError, NotSupported, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.shell import Held, Ran
from farsite.vnfs.transports.passage import Passage, Through

_MOST_OUTPUT = 32 * 1024 * 1024
NO_CONNECTION = 255
"""The status with which the client says that it, and not the device, failed."""
_REFUSED = {
    ErrorCode.IDENTITY: r"host key verification failed|remote host identification has changed",
    ErrorCode.AUTHENTICATION: r"permission denied|too many authentication failures|no more authentication",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAccess:
    """Where a device answers, as whom we log in, and by what we know it.

    `host_keys` are lines `TYPE BASE64`, as sshd has them in its `.pub` files. One of key and password is
    needed.
    """

    host: str
    port: int = 22
    user: str = "root"
    host_keys: tuple[str, ...]
    private_key: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    connect_timeout_s: float = 10.0


class SshClient:
    """The OpenSSH client as it is told to reach one device; what goes through it is its users' business."""

    def __init__(
        self, device: str, access: SshAccess, through: Through | None = None, *, is_shared: bool = True
    ) -> None:
        """`device` is what people call it, for errors. `through` opens the stream to it where this host has
        no route; the address is only a name then. `is_shared`: one connection serves all commands.

        Raises:
            NotSupported: this host has no SSH client.
        """
        program = shutil.which("ssh")
        if program is None:
            raise NotSupported("There is no ssh on this host. Install it: apt-get install openssh-client")
        self._device = device
        self._access = access
        # Short, for a socket's path has 108 bytes; private, for it holds the key.
        self.directory = Path(tempfile.mkdtemp(prefix="fs-"))
        self._passage = None if through is None else Passage(self.directory, through)
        self._words = [program, *self._options(is_shared=is_shared)]
        self.environment = self._credentials()

    @property
    def where(self) -> str:
        """The device, and as whom we go where."""
        return f"{self._device} ({self._access.user} at {self._access.host} port {self._access.port})"

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line that has the device do what `words` say."""
        return [*self._words, *options, self._access.host, *words]

    @property
    def access(self) -> SshAccess:
        return self._access

    @property
    def program(self) -> str:
        """The client itself."""
        return self._words[0]

    @property
    def options(self) -> list[str]:
        """What it has to be told before the host, for whoever starts it himself."""
        return self._words[1:]

    def _options(self, *, is_shared: bool) -> list[str]:
        access, directory = self._access, self.directory
        known = directory / "known"
        known.write_text("".join(f"device {key}\n" for key in access.host_keys))
        options = {
            "BatchMode": "no" if access.password else "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "device",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "ConnectTimeout": str(max(1, round(access.connect_timeout_s))),
            "ServerAliveInterval": "3",
            "ServerAliveCountMax": "3",
            "ForwardAgent": "no",
            "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
            "NumberOfPasswordPrompts": "1",
            "PreferredAuthentications": "password,keyboard-interactive" if access.password else "publickey",
        }
        if is_shared:
            options |= {"ControlMaster": "auto", "ControlPath": str(self._control), "ControlPersist": "60"}
        if access.password:
            # Programs that start the client for us switch both off where they know of no password.
            options |= {"PasswordAuthentication": "yes", "KbdInteractiveAuthentication": "yes"}
        if self._passage is not None:
            options |= self._passage.options
        words = ["-F", "none", "-T", "-l", access.user, "-p", str(access.port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        if access.private_key:
            key = directory / "key"
            key.touch(0o600)
            key.write_text(
                access.private_key if access.private_key.endswith("\n") else access.private_key + "\n"
            )
            words += ["-i", str(key)]
        return words

    def _credentials(self) -> dict[str, str]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
        if self._access.password:
            ask = self.directory / "ask"
            ask.touch(0o700)
            ask.write_text('#!/bin/sh\nprintf "%s\\n" "$FARSITE_SSH_PASSWORD"\n')
            environment |= {
                "SSH_ASKPASS": str(ask),
                "SSH_ASKPASS_REQUIRE": "force",
                "FARSITE_SSH_PASSWORD": self._access.password,
            }
        return environment

    @property
    def _control(self) -> Path:
        return self.directory / "c"

    async def open(self) -> None:
        """Make the way to the device ready; again: nothing happens."""
        if self._passage is not None:
            await self._passage.open()

    def no_connection(self, said: str) -> VnfFault | VnfUnreachable:
        """What it means that the client ended with status 255 (`NO_CONNECTION`) and these words."""
        words = " ".join(said.replace("@", "").split()) or "the connection broke off"
        if self._passage is not None and isinstance(self._passage.fault, FarsiteError):
            words = self._passage.fault.detail
        for code, pattern in _REFUSED.items():
            if re.search(pattern, said, re.IGNORECASE):
                step = (
                    "If the device was replaced on purpose, pin its new host key."
                    if code is ErrorCode.IDENTITY
                    else "Check the user and the key or password of the function's access."
                )
                return VnfFault(f"{self.where} refuses us: {words}. {step}", about={"code": code})
        return VnfUnreachable(
            f"{self.where} cannot be reached: {words}.", about={"code": ErrorCode.UNREACHABLE}
        )

    async def close(self) -> None:
        """End the shared connection and remove what was written for it."""
        await self.end_connection()
        if self._passage is not None:
            await self._passage.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def end_connection(self) -> None:
        """End the shared connection, and with it whatever goes over it; the next command opens another."""
        if self._control.exists():
            process = await asyncio.create_subprocess_exec(
                *self.command(options=("-O", "exit")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=self.environment,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()


class SshShell:
    """A device's shell. Commands come one after another over one connection."""

    def __init__(self, device: str, access: SshAccess, through: Through | None = None) -> None:
        """See `SshClient`."""
        self._device = device
        self._client = SshClient(device, access, through)

    @property
    def client(self) -> SshClient:
        """For what else goes over the same connection."""
        return self._client

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        """Run a command in the device; see `Shell.run`."""
        process = await self._begun(command)
        try:
            async with asyncio.timeout(timeout_s):
                output, errors = await process.communicate(given)
        except TimeoutError as error:
            raise VnfUnreachable(
                f"{self._device} did not end a command within {timeout_s:g} s; it may still be at it.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error
        finally:
            if process.returncode is None:
                # Our ends of its pipes are in the hands of the shared connection's process too, until the
                # device is done; to wait for the client alone would wait for that. asyncio closes them in no
                # other way.
                process._transport.close()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportAttributeAccessIssue]
                with contextlib.suppress(ProcessLookupError):
                    await process.wait()
        if len(output) > _MOST_OUTPUT:
            raise VnfFault(f"{self._device} answered more than {_MOST_OUTPUT} bytes.")
        said = errors.decode("utf-8", "replace")
        if process.returncode == NO_CONNECTION:
            raise self._client.no_connection(said)
        return Ran(status=process.returncode or 0, output=output.decode("utf-8", "replace"), errors=said)

    async def hold(self, command: str, *, given: bytes) -> Held:
        """Start a command that is spoken with; see `Holds.hold`."""
        process = await self._begun(command)
        held = SshHeld(self._device, self._client, process)
        assert process.stdin is not None
        process.stdin.write(given)
        return held

    async def _begun(self, command: str) -> asyncio.subprocess.Process:
        await self._client.open()
        return await asyncio.create_subprocess_exec(
            *self._client.command(f"LC_ALL=C LANG=C TERM=dumb sh -c {_quoted(command)}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._client.environment,
            limit=_MOST_OUTPUT,
        )

    async def close(self) -> None:
        """End the shared connection and remove what was written for it."""
        await self._client.close()


class SshHeld:
    """A command in a device that is spoken with; see `Held`."""

    def __init__(self, device: str, client: SshClient, process: asyncio.subprocess.Process) -> None:
        self._device = device
        self._client = client
        self._process = process
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._end = asyncio.ensure_future(self._read())

    async def opened(self, *, timeout_s: float) -> str:
        """The first line; see `Held.opened`."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._first), timeout_s)
        except TimeoutError as error:
            raise VnfUnreachable(
                f"{self._device} did not begin within {timeout_s:g} s; it may still be at it.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error

    async def say(self, word: str) -> None:
        """Write a line; see `Held.say`."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(f"{word}\n".encode())
            await stdin.drain()
        except (ConnectionError, OSError) as error:
            raise VnfUnreachable(
                f"The session with {self._device} broke off.", about={"code": ErrorCode.UNREACHABLE}
            ) from error

    async def ended(self, *, timeout_s: float | None = None) -> Ran:
        """Wait for its end; see `Held.ended`."""
        ran = await asyncio.wait_for(asyncio.shield(self._end), timeout_s)
        # Below 0: somebody killed the client.
        if ran.status == NO_CONNECTION or ran.status < 0:
            raise self._client.no_connection(ran.errors)
        return ran

    async def drop(self) -> None:
        """Let go of it; see `Held.drop`."""
        if self._process.returncode is None:
            # Killed, not closed: the client would first write what is left, and wait for the device.
            self._process.kill()
        await self._end

    async def _read(self) -> Ran:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        errors = asyncio.ensure_future(stderr.read())
        first = await stdout.readline()
        self._first.set_result(first.decode("utf-8", "replace").strip())
        rest = await stdout.read()
        said = (await errors).decode("utf-8", "replace")
        status = await self._process.wait()
        return Ran(status=status, output=(first + rest).decode("utf-8", "replace"), errors=said)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
