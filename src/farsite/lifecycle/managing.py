"""Opens the inside of VNFs: from how one is managed to an adapter that talks to its device."""

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from farsite.lifecycle.brokering import BrokeredAdapter, Mailbox
from farsite.model.clock import Clock
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
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
from farsite.vnfs.transports.passage import Through


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

    @asynccontextmanager
    async def open(self, vnf: VnfInstance) -> AsyncGenerator[Device]:
        """The device of a VNF; the connection is closed at the end.

        Raises:
            NotFound: nobody has said how it is managed, or the adapter is gone.
            Conflict: the way to it needs a VNFC that does not stand.
            Invalid: the access refers to a secret that the VNF has not.
        """
        management, secrets = await self.database.run(self._look_up, vnf)
        adapter = self._adapter(vnf, management, secrets)
        try:
            yield Device(adapter, management, secrets)
        finally:
            await adapter.close()

    def _look_up(self, connection: Connection, vnf: VnfInstance) -> tuple[Management, Mapping[str, str]]:
        return managements.get(connection, vnf.id), self.secrets_of(connection, vnf)

    def secrets_of(self, connection: Connection, vnf: VnfInstance) -> dict[str, str]:
        """A VNF's secrets, by name."""
        secret = managements.secrets_of(connection, vnf.id)
        return {} if secret is None else self.keys.decrypt(vnf.id, secret)

    def _adapter(self, vnf: VnfInstance, management: Management, secrets: Mapping[str, str]) -> Adapter:
        folder = self.adapters.get(management.adapter)
        access = management.access
        if management.way is Way.BROKER:
            return BrokeredAdapter(
                folder.about,
                Mailbox(database=self.database, keys=self.keys, clock=self.clock),
                management,
                _for_broker(access, secrets),
                name=vnf.name or vnf.id,
            )
        if folder.dictionary.access.method == "function":
            # Its VIM leads to it and to nobody else: there is nothing to be known by, and nobody logs in.
            known = DeviceAccess(host=access.vnfc_id, port=access.port, user="", known_by=())
        else:
            known = device_access(access, secrets)
        return open_device(
            folder,
            known,
            device=vnf.name or vnf.id,
            parameters=management.parameters,
            keep_in=management.keep_in,
            through=self._through(vnf, access),
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


def _for_broker(access: Access, secrets: Mapping[str, str]) -> JobAccess:
    """What the broker needs to reach the device; without a host it is the broker's own machine."""
    if not access.host:
        return JobAccess()
    known = device_access(access, secrets)
    return JobAccess(
        host=known.host,
        port=known.port,
        user=known.user,
        host_keys=known.known_by,
        private_key=known.private_key,
        password=known.password,
    )


def device_access(access: Access, secrets: Mapping[str, str]) -> DeviceAccess:
    """The access with its secrets put in.

    Raises:
        Invalid: a secret is not there, or the device could not be known by anything.
    """
    if not access.host_keys:
        raise Invalid(
            f"Nothing of {access.place} is pinned, and no device is taken on trust. Name its host keys "
            f"(lines TYPE BASE64, as sshd has them in its .pub files), or its certificate (sha256 HEX) where "
            f"it is managed over HTTPS."
        )
    return DeviceAccess(
        host=access.host or access.vnfc_id,
        port=access.port,
        user=access.user,
        known_by=access.host_keys,
        private_key=_secret(access.private_key, secrets),
        password=_secret(access.password, secrets),
    )


def _secret(reference: str, secrets: Mapping[str, str]) -> str:
    if not reference:
        return ""
    name = reference.removeprefix("secret:")
    if name not in secrets:
        raise Invalid(
            f'The access refers to the secret "{name}", which the VNF has not. '
            f"It has: {', '.join(sorted(secrets)) or 'none'}."
        )
    return secrets[name]
