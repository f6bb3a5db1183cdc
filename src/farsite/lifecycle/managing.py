"""Opens the inside of VNFs: from how one is managed to an adapter that talks to its device."""

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from farsite.lifecycle import identities
from farsite.lifecycle.brokering import BrokeredAdapter, Line, Mailbox, Tell, no_line, nobody
from farsite.model.clock import Clock
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.model.management import Access, Management, Way
from farsite.model.vnf import VnfInstance
from farsite.secrets import KeyDirectory
from farsite.store import managements
from farsite.store.database import Connection, Database
from farsite.vims.registry import Drivers
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.broker.jobs import JobAccess
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions
from farsite.vnfs.transports.passage import Through
from farsite.vnfs.transports.ssh import SshShell


@dataclass(frozen=True, slots=True)
class Device:
    """A VNF's device, ready to be talked to; `secrets` are for `Wanted` and go nowhere else."""

    adapter: Adapter
    management: Management
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Devices:
    """Knows how every VNF is managed and opens it."""

    database: Database
    drivers: Drivers
    adapters: Adapters
    keys: KeyDirectory
    clock: Clock
    sessions: KeptSessions

    @asynccontextmanager
    async def open(
        self,
        vnf: VnfInstance,
        *,
        line: Line = no_line,
        tell: Tell = nobody,
        is_urgent: bool = False,
        work: str = "",
        afresh: bool = False,
    ) -> AsyncGenerator[Device]:
        """The device of a VNF; the connection is closed at the end.

        `line` is entered while a broker works on others before us, and `tell` told of one that lets us wait
        for other reasons. `is_urgent`: a change stands unconfirmed on it, which must not wait behind others'
        until the device takes it back. An SSH session is kept a few seconds for the next who names the same
        `work`, an id; `afresh` has the device let us in anew, which shows that it still does. A broker sees
        to its own sessions.

        Raises:
            NotFound: nobody has said how it is managed, or the adapter is gone.
            Conflict: the way to it needs a VNFC that does not stand.
            Invalid: the access refers to a secret that the VNF has not.
        """
        management, kept = await self.database.run(self._look_up, vnf)
        if management.way is Way.BROKER:
            adapter = self._brokered(vnf, management, kept, line, tell, is_urgent=is_urgent)
        else:
            adapter = self._direct(vnf, management, kept, work, afresh=afresh)
        try:
            yield Device(adapter, management, _set_by_somebody(kept))
        finally:
            await adapter.close()

    def _look_up(self, connection: Connection, vnf: VnfInstance) -> tuple[Management, Mapping[str, str]]:
        return managements.get(connection, vnf.id), self.kept_for(connection, vnf.id)

    def secrets_of(self, connection: Connection, vnf: VnfInstance) -> dict[str, str]:
        """A VNF's secrets, by name: those that somebody set."""
        return _set_by_somebody(self.kept_for(connection, vnf.id))

    def kept_for(self, connection: Connection, vnf_id: VnfInstanceId) -> dict[str, str]:
        """All that is kept encrypted for a VNF: its secrets, and what was made for its VNFCs' first boot."""
        secret = managements.secrets_of(connection, vnf_id)
        return {} if secret is None else self.keys.decrypt(vnf_id, secret)

    def _brokered(
        self,
        vnf: VnfInstance,
        management: Management,
        kept: Mapping[str, str],
        line: Line,
        tell: Tell,
        *,
        is_urgent: bool,
    ) -> Adapter:
        folder = self.adapters.get(management.adapter)
        return BrokeredAdapter(
            folder.about,
            Mailbox(database=self.database, keys=self.keys, clock=self.clock),
            management,
            _for_broker(management.access, kept, folder.dictionary.access.method),
            name=vnf.name or vnf.id,
            line=line,
            tell=tell,
            is_urgent=is_urgent,
        )

    def _direct(
        self,
        vnf: VnfInstance,
        management: Management,
        kept: Mapping[str, str],
        work: str,
        *,
        afresh: bool,
    ) -> Adapter:
        folder, access = self.adapters.get(management.adapter), management.access
        if folder.dictionary.access.method == "function":
            # Its VIM leads to it and to nobody else: there is nothing to be known by, and nobody logs in.
            known = DeviceAccess(host=access.vnfc_id, port=access.port, user="", known_by=())
        else:
            known = device_access(access, kept, folder.dictionary.access.method)
        return open_device(
            folder,
            known,
            device=vnf.name or vnf.id,
            parameters=management.parameters,
            keep_in=management.keep_in,
            through=self._through(vnf, access),
            opens_shell=self.sessions.shells(f"{vnf.id} {work}", afresh=afresh) if work else SshShell,
        )

    def _through(self, vnf: VnfInstance, access: Access) -> Through | None:
        if not access.vnfc_id:
            return None
        vim_id = vnf.vim_id
        if vim_id is None or vnf.deployment is None:
            raise Conflict(
                f"VNF instance {vnf.id} is not instantiated, so there is no way to its VNFC.",
                about={"vnf": vnf.id},
            )

        async def open_stream() -> socket.socket:
            driver = await self.drivers.of(vim_id)
            return await driver.reach(VnfcId(access.vnfc_id), access.port)

        return open_stream


def _set_by_somebody(kept: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in kept.items() if not name.startswith(identities.GENERATED)}


def _for_broker(access: Access, kept: Mapping[str, str], method: str) -> JobAccess:
    """What the broker needs to reach the device; without a host it is the broker's own machine."""
    if not access.host:
        return JobAccess()
    known = device_access(access, kept, method)
    return JobAccess(
        host=known.host,
        port=known.port,
        user=known.user,
        host_keys=known.known_by,
        private_key=known.private_key,
        password=known.password,
    )


def device_access(access: Access, kept: Mapping[str, str], method: str) -> DeviceAccess:
    """The access with its secrets put in. What it leaves open is what the VNFC was given before its first
    boot: its host key and certificate, and the key that we log in with.

    Raises:
        Invalid: a secret is not there, or the device could not be known by anything.
    """
    known_by = access.host_keys or _injected(access, kept, method)
    if not known_by:
        raise Invalid(
            f"Nothing of {access.place} is pinned, and no device is taken on trust. Name its host keys "
            f"(lines TYPE BASE64, as sshd has them in its .pub files), or its certificate (sha256 HEX) where "
            f"it is managed over HTTPS; or have its boot data carry a key that is made for it "
            f"(${{{{ ssh.host_key }}}})."
        )
    has_own_way = access.private_key or access.password
    return DeviceAccess(
        host=access.host or access.vnfc_id,
        port=access.port,
        user=access.user,
        known_by=known_by,
        private_key=_secret(access.private_key, kept) if has_own_way else identities.login_key(kept),
        password=_secret(access.password, kept),
    )


def _injected(access: Access, kept: Mapping[str, str], method: str) -> tuple[str, ...]:
    if not access.vnfc_id:
        return ()
    made = identities.of(kept, VnfcId(access.vnfc_id))
    line = made.pinned_certificate if method == "rest" else made.host_key
    return (line,) if line else ()


def _secret(reference: str, kept: Mapping[str, str]) -> str:
    if not reference:
        return ""
    name, secrets = reference.removeprefix("secret:"), _set_by_somebody(kept)
    if name not in secrets:
        raise Invalid(
            f'The access refers to the secret "{name}", which the VNF has not. '
            f"It has: {', '.join(sorted(secrets)) or 'none'}."
        )
    return secrets[name]
