"""What `farsite adapter verify` reads: a device, and documents to try on it.

access:
  host: 192.0.2.10                    over SSH; `port` and `user` as usual
  host_keys: ["ssh-ed25519 AAAA..."]  the pinned ones; a device is never taken on trust
  private_key_file: id_ed25519        beside this file, or an absolute path
  certificates: [device.pem]          instead, for an adapter over HTTPS: files beside this one, and a file
  password_file: token                with the password, key or token
parameters: {config: /etc/haproxy/farsite.cfg}
good: {...}                           two documents that differ ...
other: {...}
wrong: {...}                          ... and one that the product refuses
meddle: "echo '# by hand' >>/etc/haproxy/farsite.cfg"    over NETCONF: XML that is merged and committed
secrets: {psk: ...}                   values of what the documents refer to
"""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from farsite.model.configuration import Configuration
from farsite.model.configuration_checks import check
from farsite.model.errors import Invalid
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import Opened, Subject
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.netconf import BASE
from farsite.vnfs.opening import USUAL_PORTS, DeviceAccess, open_device
from farsite.vnfs.transports.https import known_by
from farsite.vnfs.transports.ssh import SshAccess, SshShell


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialAccess(_Strict):
    """How the device is reached."""

    host: str
    port: int = 0
    """0: the usual one of the adapter's method."""
    user: str = "root"
    host_keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    private_key_file: str = ""
    password_file: str = ""


class TrialFile(_Strict):
    """The content of a trial file."""

    access: TrialAccess
    parameters: Mapping[str, str] = {}
    keep_in: str = "/var/lib/farsite"
    good: Configuration
    other: Configuration
    wrong: Configuration | None = None
    meddle: str = ""
    secrets: Mapping[str, str] = {}


def read_trial(path: Path, folder: Folder) -> Subject:
    """The device and documents of a trial file, for the adapter in a folder.

    Raises:
        Invalid: it is no trial file, or a document in it is wrong; names every fault.
    """
    try:
        content: object = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
        trial = TrialFile.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'the file'}: {one['msg']}"
            for one in error.errors()
        )
        raise Invalid(f"{path}: {faults}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if folder.dictionary.access.method == "function":
        raise Invalid(
            f"Adapter {folder.dictionary.name} reaches functions through their VIM; a trial has none."
        )
    check(trial.good)
    check(trial.other)
    access = _access(path, trial.access, folder)

    async def opened() -> Adapter:
        return open_device(
            folder, access, device=trial.access.host, parameters=trial.parameters, keep_in=trial.keep_in
        )

    ssh = SshAccess(
        host=access.host,
        port=access.port,
        user=access.user,
        host_keys=access.known_by,
        private_key=access.private_key,
        password=access.password,
    )

    async def meddle() -> None:
        past = SshShell(trial.access.host, ssh)
        try:
            ran = await past.run(trial.meddle)
        finally:
            await past.close()
        if ran.status:
            raise Invalid(f"{path}: meddle ended with status {ran.status}: {ran.words}")

    async def meddle_by_netconf() -> None:
        # Its library takes its time to load.
        from farsite.vnfs.transports.netconf import NetconfClient

        past = NetconfClient(trial.access.host, ssh)
        edit = f"<target><candidate/></target><config>{trial.meddle}</config>"
        try:
            await past.open()
            for operation, content in (("edit-config", edit), ("commit", "")):
                reply = await past.ask(f'<{operation} xmlns="{BASE}">{content}</{operation}>')
                if reply.errors:
                    raise Invalid(f"{path}: meddle is refused: {reply.words}")
        finally:
            await past.close()

    method = folder.dictionary.access.method
    if trial.meddle and method == "rest":
        raise Invalid(f"{path}: meddle is a shell command, and {trial.access.host} is managed over HTTPS.")
    meddling = meddle_by_netconf if method == "netconf" else meddle
    return Subject(
        open=opened,
        good=trial.good,
        other=trial.other,
        wrong=trial.wrong,
        meddle=meddling if trial.meddle else None,
        secrets=trial.secrets,
        expires_s=max(2.0, folder.dictionary.confirm_least_s),
        opened=Opened(
            device=trial.access.host,
            user=access.user,
            password=access.password,
            parameters=trial.parameters,
            keep_in=trial.keep_in,
        ),
    )


def _access(path: Path, access: TrialAccess, folder: Folder) -> DeviceAccess:
    def content(name: str) -> str:
        try:
            return (path.parent / name).read_text() if name else ""
        except OSError as error:
            raise Invalid(f"{path}: {path.parent / name} cannot be read: {error.strerror}.") from error

    return DeviceAccess(
        host=access.host,
        port=access.port or USUAL_PORTS[folder.dictionary.access.method],
        user=access.user,
        known_by=(*access.host_keys, *(known_by(content(one).encode()) for one in access.certificates)),
        private_key=content(access.private_key_file),
        password=content(access.password_file).strip(),
    )
