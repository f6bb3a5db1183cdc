"""What users of OpenStack have already: a `clouds.yaml` and OS_* variables, read as a registration needs it.

The files are found and read by the OpenStack SDK, as every other client of OpenStack does it (`secure.yaml`,
vendor profiles, OS_CLIENT_CONFIG_FILE). It is loaded when it is first needed: it takes half a second.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from farsite.model.errors import Invalid

if TYPE_CHECKING:
    from openstack.config.cloud_region import CloudRegion
    from openstack.config.loader import OpenStackConfig

_IDENTITY = (
    "username",
    "password",
    "user_id",
    "user_domain_name",
    "user_domain_id",
    "project_name",
    "project_id",
    "project_domain_name",
    "project_domain_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
)
_FROM_VARIABLES = "envvars"
"""The SDK's name for a cloud that is made of OS_* variables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAccount:
    """An entry of `clouds.yaml`, or what the OS_* variables say: where, as whom, in which region."""

    name: str
    auth_url: str
    credentials: Mapping[str, str] = field(repr=False)
    region: str = ""


def named_cloud(name: str) -> CloudAccount:
    """A cloud of `clouds.yaml` by its name.

    Raises:
        Invalid: there is no such cloud, or it does not say enough; names what there is.
    """
    return _read(_configuration(), name)


def cloud_of_environment(environment: Mapping[str, str] | None = None) -> CloudAccount | None:
    """The cloud that the environment names, None if it names none.

    That is the one of OS_CLOUD, or the OS_* variables with at least OS_AUTH_URL, or the only one in the file
    of OS_CLIENT_CONFIG_FILE. A `clouds.yaml` that nobody pointed at is not looked for.

    Raises:
        Invalid: what it names is not there, is not enough, or is one of several.
    """
    variables = os.environ if environment is None else environment
    if not any(variables.get(name) for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_CLIENT_CONFIG_FILE")):
        return None
    configuration = _configuration()
    if variables.get("OS_CLOUD"):
        return _read(configuration, variables["OS_CLOUD"])
    if variables.get("OS_AUTH_URL"):
        return _read(configuration, _FROM_VARIABLES)
    names = sorted(_names(configuration))
    if len(names) != 1:
        raise Invalid(
            f"{variables['OS_CLIENT_CONFIG_FILE']} holds {len(names)} clouds ({', '.join(names) or 'none'}). "
            f"Say which is meant by OS_CLOUD."
        )
    return _read(configuration, names[0])


def _configuration() -> "OpenStackConfig":
    from openstack.config.loader import OpenStackConfig
    from openstack.exceptions import ConfigException

    try:
        return OpenStackConfig()
    except (ConfigException, OSError, ValueError) as error:
        raise Invalid(f"clouds.yaml cannot be read: {error}") from error


def _names(configuration: "OpenStackConfig") -> set[str]:
    return {str(one) for one in configuration.get_cloud_names()}


def _read(configuration: "OpenStackConfig", name: str) -> CloudAccount:
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import ConfigException

    known = sorted(_names(configuration))
    if name not in known:
        raise Invalid(
            f'clouds.yaml has no cloud "{name}". It has: {", ".join(known) or "none"}. '
            f"OS_CLIENT_CONFIG_FILE says where it is, if not in the usual places."
        )
    try:
        # Unchecked: the plugin would want domains that our driver can do without.
        region: CloudRegion = configuration.get_one(cloud=name, validate=False)
    except (ConfigException, ClientException) as error:
        raise Invalid(f'Cloud "{name}" of clouds.yaml: {error}') from error
    return _account(name, cast("Mapping[str, object]", region.config))


def _account(name: str, config: Mapping[str, object]) -> CloudAccount:
    auth = cast("Mapping[str, object]", config.get("auth") or {})
    said = {**config, **auth}
    auth_url = str(said.get("auth_url") or "")
    if not auth_url:
        raise Invalid(f'Cloud "{name}" has no auth_url.')
    credentials = {key: str(said[key]) for key in _IDENTITY if said.get(key)}
    if not {"password", "application_credential_secret"} & set(credentials):
        raise Invalid(
            f'Cloud "{name}" has neither a password nor the secret of an application credential; a VIM needs '
            f"one of them, for it is asked for ever and a token ends."
        )
    if _is_unverified(config):
        credentials["cert_verify"] = "False"
    elif config.get("cacert"):
        credentials["ca_cert"] = certificate_of(Path(str(config["cacert"])))
    return CloudAccount(
        name=name, auth_url=auth_url, credentials=credentials, region=str(config.get("region_name") or "")
    )


def _is_unverified(config: Mapping[str, object]) -> bool:
    insecure, verify = config.get("insecure"), config.get("verify")
    return str(insecure).lower() in ("true", "1") or str(verify).lower() in ("false", "0")


def certificate_of(path: Path) -> str:
    """The certificates in a file, as PEM text.

    Raises:
        Invalid: it cannot be read, or holds none.
    """
    try:
        text = path.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"The CA certificates of {path} cannot be read: {error}") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise Invalid(f"{path} holds no certificate in PEM form.")
    return text
