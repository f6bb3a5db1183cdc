"""NETCONF over SSH (RFC 6242), by ncclient over a stream of the OpenSSH client.

ncclient's own SSH (paramiko) is not used: it knows one host key per device, has no way through a VIM's
stream, and nobody should have to wonder whether two SSH clients check alike (`transports.ssh`). ncclient
works in threads and blocks; a session has one thread that reads and one that asks, so a silent device holds
up nobody else.
"""

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from xml.etree.ElementTree import Element, ParseError, fromstring

from farsite.model.errors import VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.netconf import BASE, Reply, RpcError
from farsite.vnfs.transports.netconf_session import ENDED, NetconfSession, Silence
from farsite.vnfs.transports.passage import Through
from farsite.vnfs.transports.ssh import NO_CONNECTION, SshAccess, SshClient

SUBSYSTEM = "netconf"
_END_S = 3.0
_FAREWELL_S = 2.0


class NetconfClient:
    """One session with one device, opened when first needed and again when it has ended."""

    def __init__(self, device: str, access: SshAccess, through: Through | None = None) -> None:
        """See `SshClient`."""
        self._access = access
        self._ssh = SshClient(device, access, through, is_shared=False)
        self._process: asyncio.subprocess.Process | None = None
        self._session: NetconfSession | None = None
        self._capabilities: frozenset[str] = frozenset()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netconf")

    @property
    def capabilities(self) -> frozenset[str]:
        """See `Netconf.capabilities`."""
        return self._capabilities

    async def open(self) -> None:
        """Open the session where there is none; see `Netconf.open`."""
        if self._session is None or not self._session.connected:
            await self._drop()
            self._session = await self._connected()
            self._capabilities = frozenset(self._session.capabilities_of_device())

    async def ask(self, operation: str, *, timeout_s: float = 60.0) -> Reply:
        """Have an operation done; see `Netconf.ask`."""
        session = self._session
        if session is None or not session.connected:
            await self._drop()
            raise self._broke_off("the session has ended")
        loop = asyncio.get_running_loop()
        try:
            return _reply(
                await loop.run_in_executor(self._worker, session.exchange, operation, timeout_s),
                self._ssh.where,
            )
        except Silence as error:
            # An answer that comes later would be taken for that of another question's session.
            await self._drop()
            raise VnfUnreachable(
                f"{self._ssh.where} did not answer {_name(operation)} within {timeout_s:g} s; it may still "
                f"be at it.",
                about={"code": ErrorCode.TIMEOUT},
            ) from error
        except ENDED as error:
            words = await self._last_words()
            await self._drop()
            raise self._broke_off(words or "the session ended before the answer came") from error
        except ValueError as error:
            await self._drop()
            raise self._no_netconf(error) from error
        except BaseException:
            session.close()
            raise

    def cut(self) -> None:
        """Break the connection, as a network would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End the session in the words of the protocol, and remove what was written for it."""
        if self._session is not None and self._session.connected:
            with contextlib.suppress(VnfUnreachable, VnfFault):
                await self.ask(f'<close-session xmlns="{BASE}"/>', timeout_s=_FAREWELL_S)
        await self._drop()
        self._worker.shutdown(wait=False)
        await self._ssh.close()

    async def _connected(self) -> NetconfSession:
        await self._ssh.open()
        ours, clients = socket.socketpair()
        with clients:
            self._process = await asyncio.create_subprocess_exec(
                *self._ssh.command(SUBSYSTEM, options=("-s",)),
                stdin=clients.fileno(),
                stdout=clients.fileno(),
                stderr=asyncio.subprocess.PIPE,
                env=self._ssh.environment,
            )
        session = NetconfSession(ours)
        loop = asyncio.get_running_loop()
        within_s = 2 * self._access.connect_timeout_s
        try:
            await loop.run_in_executor(self._worker, session.greet, within_s)
        except ENDED as error:
            session.close()
            words, status = await self._last_words(), self._process.returncode
            await self._drop()
            raise self._no_session(words, status, within_s) from error
        except ValueError as error:
            session.close()
            await self._drop()
            raise self._no_netconf(error) from error
        except BaseException:
            session.close()
            self.cut()
            raise
        return session

    def _no_session(self, words: str, status: int | None, within_s: float) -> VnfFault | VnfUnreachable:
        if "subsystem request failed" in words:
            return VnfFault(
                f'{self._ssh.where} offers no NETCONF: it has no subsystem "{SUBSYSTEM}" there. Switch it '
                f"on, or name the port at which it is (usually 830).",
                about={"code": ErrorCode.NOT_SUPPORTED},
            )
        if status == NO_CONNECTION:
            return self._ssh.no_connection(words)
        return VnfUnreachable(
            f"{self._ssh.where} let us in and opened no NETCONF session within {within_s:g} s"
            f"{f': {words}' if words else ''}. Look whether its NETCONF server runs.",
            about={"code": ErrorCode.UNREACHABLE},
        )

    def _broke_off(self, words: str) -> VnfUnreachable:
        return VnfUnreachable(f"{self._ssh.where} broke off: {words}.", about={"code": ErrorCode.UNREACHABLE})

    def _no_netconf(self, error: ValueError) -> VnfFault:
        return VnfFault(
            f"{self._ssh.where} answered with something that is no NETCONF: {error}. Check the port.",
            about={"code": ErrorCode.FAILED},
        )

    async def _last_words(self) -> str:
        """What the client said when it ended; it ends when its stream does."""
        process = self._process
        if process is None or process.stderr is None:
            return ""
        try:
            async with asyncio.timeout(_END_S):
                said = await process.stderr.read(65_536)
                await process.wait()
        except TimeoutError:
            return ""
        return " ".join(said.decode("utf-8", "replace").split())

    async def _drop(self) -> None:
        """Let go of the session: the device ends it, and with it its locks."""
        session, process = self._session, self._process
        self._session = self._process = None
        if session is not None:
            session.close()
        if process is not None and process.returncode is None:
            # It goes by itself when its stream is closed, and takes the end to the device.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


def _name(operation: str) -> str:
    return operation[1:].partition(" ")[0]


def _reply(xml: str, where: str) -> Reply:
    try:
        root = fromstring(xml)  # noqa: S314 - of a device whose host key is pinned; expat bounds what entities make
    except ParseError as error:
        raise VnfFault(
            f"{where} answered with something that is no XML: {error}.", about={"code": ErrorCode.FAILED}
        ) from error
    found = root.findall(f"{{{BASE}}}rpc-error")
    told = [(one, _told(one, "error-severity")) for one in found]
    return Reply(xml=xml, errors=tuple(_error(one) for one, severity in told if severity != "warning"))


def _error(one: Element) -> RpcError:
    return RpcError(
        tag=_told(one, "error-tag"),
        app_tag=_told(one, "error-app-tag"),
        path=_told(one, "error-path"),
        message=_told(one, "error-message"),
        session_id=_told(one, "error-info", "session-id"),
    )


def _told(one: Element, *path: str) -> str:
    return (one.findtext("/".join(f"{{{BASE}}}{name}" for name in path)) or "").strip()
