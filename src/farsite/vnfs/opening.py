"""Opens a device: from an adapter's folder and the way to the device to an adapter that talks to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from farsite.model.errors import Invalid
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.ansible_adapter import AnsibleAdapter
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.management import MANAGEMENT_PORT
from farsite.vnfs.netconf_adapter import NetconfAdapter
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.transports.ansible import AnsiblePlaybooks
from farsite.vnfs.transports.https import HttpsAccess, HttpsClient
from farsite.vnfs.transports.inside import InsideClient
from farsite.vnfs.transports.passage import Through
from farsite.vnfs.transports.ssh import SshAccess, SshShell

USUAL_PORTS: Mapping[str, int] = {
    "shell": 22,
    "ansible": 22,
    "rest": 443,
    "netconf": 830,
    "function": MANAGEMENT_PORT,
}
"""Where devices answer, by the adapter's method."""


OpensShell = Callable[[str, SshAccess, Through | None], SshShell]
"""From what people call a device, and the way to it, to a shell in it; `SshShell` is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAccess:
    """Where a device answers and how we log in, with the secrets put in.

    `known_by` are the pinned lines: `TYPE BASE64` of host keys for whatever goes over SSH, those of
    `HttpsAccess.trusted` for requests.
    """

    host: str
    port: int
    user: str
    known_by: tuple[str, ...]
    private_key: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def open_device(
    folder: Folder,
    access: DeviceAccess,
    *,
    device: str,
    parameters: Mapping[str, str],
    keep_in: str,
    through: Through | None = None,
    opens_shell: OpensShell = SshShell,
) -> Adapter:
    """The adapter of a device; nothing is sent yet. `device` is what people call it. `opens_shell` gives the
    shell in one that is managed by programs that run in it.

    Raises:
        Invalid: what is pinned cannot be read, the adapter has no such parameter, or takes no private key.
        NotSupported: this host has not what the transport needs.
    """
    if folder.dictionary.access.method == "function":
        if through is None:
            raise Invalid(
                f"{device} is a function of Farsite's own (adapter {folder.dictionary.name}), reached "
                f"through its VIM only. Name the VNFC, and no host."
            )
        inside = InsideClient(device, access.host, through)
        return RestAdapter(folder, inside, device=device, parameters=parameters)
    where = f"{device} ({access.host})"
    if folder.dictionary.access.method == "rest":
        if not access.password:
            raise Invalid(
                f"{device} is managed over HTTPS (adapter {folder.dictionary.name}), which takes a password, "
                f"key or token and no private key. Set access.password."
            )
        client = HttpsClient(
            device,
            HttpsAccess(
                host=access.host,
                port=access.port,
                user=access.user,
                trusted=access.known_by,
                password=access.password,
            ),
            through,
        )
        return RestAdapter(
            folder, client, device=device, user=access.user, password=access.password, parameters=parameters
        )
    ssh = SshAccess(
        host=access.host,
        port=access.port,
        user=access.user,
        host_keys=access.known_by,
        private_key=access.private_key,
        password=access.password,
    )
    if folder.dictionary.access.method == "netconf":
        # Here, for its library takes its time to load, and few processes talk to such a device.
        from farsite.vnfs.transports.netconf import NetconfClient

        return NetconfAdapter(
            folder, NetconfClient(device, ssh, through), device=device, parameters=parameters
        )
    if folder.dictionary.access.method == "ansible":
        return AnsibleAdapter(
            folder,
            AnsiblePlaybooks(where, folder.files, SshShell(where, ssh, through)),
            device=device,
            parameters=parameters,
            keep_in=keep_in,
        )
    shell = opens_shell(where, ssh, through)
    return ShellSoftware(folder, shell, device=device, parameters=parameters, keep_in=keep_in)
