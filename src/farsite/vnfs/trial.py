"""What `farsite adapter verify` reads: a device, and documents to try on it.

access:
  host: 192.0.2.10                    over SSH; `port` and `user` as usual
  host_keys: ["ssh-ed25519 AAAA..."]  the pinned ones; a device is never taken on trust
  private_key_file: id_ed25519        beside this file, or an absolute path
parameters: {config: /etc/haproxy/farsite.cfg}
good: {...}                           two documents that differ ...
other: {...}
wrong: {...}                          ... and one that the product refuses
meddle: "echo '# by hand' >>/etc/haproxy/farsite.cfg"
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
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.shell_adapter import ShellAdapter
from farsite.vnfs.transports.ssh import SshAccess, SshShell


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialAccess(_Strict):
    """How the device is reached."""

    host: str
    port: int = 22
    user: str = "root"
    host_keys: tuple[str, ...]
    private_key_file: str


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
    check(trial.good)
    check(trial.other)
    shell = _Opening(path, trial)

    async def opened() -> Adapter:
        return ShellAdapter(
            folder, shell(), device=trial.access.host, parameters=trial.parameters, keep_in=trial.keep_in
        )

    async def meddle() -> None:
        past = shell()
        try:
            ran = await past.run(trial.meddle)
        finally:
            await past.close()
        if ran.status:
            raise Invalid(f"{path}: meddle ended with status {ran.status}: {ran.words}")

    return Subject(
        open=opened,
        good=trial.good,
        other=trial.other,
        wrong=trial.wrong,
        meddle=meddle if trial.meddle else None,
        secrets=trial.secrets,
    )


class _Opening:
    """Makes a new connection to the device of a trial."""

    def __init__(self, path: Path, trial: TrialFile) -> None:
        key = path.parent / trial.access.private_key_file
        try:
            private_key = key.read_text()
        except OSError as error:
            raise Invalid(f"{path}: the private key {key} cannot be read: {error.strerror}.") from error
        self._device = trial.access.host
        self._access = SshAccess(
            host=trial.access.host,
            port=trial.access.port,
            user=trial.access.user,
            host_keys=trial.access.host_keys,
            private_key=private_key,
        )

    def __call__(self) -> SshShell:
        return SshShell(self._device, self._access)
