"""Where a VIM is and as whom it is asked, as the command line takes it.

From a cloud of clouds.yaml, from a configuration file as `openstack vim register --config-file` reads it, or
from single options; what comes later in this list is laid over what comes before. Secrets are read from files
or asked for, because others on a host see the options of a command.
"""

import getpass
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from farsite.cli import documents
from farsite.model.errors import Invalid

_CREDENTIALS = (
    ("username", "username"),
    ("user_domain", "user_domain_name"),
    ("project", "project_name"),
    ("project_domain", "project_domain_name"),
    ("application_credential_id", "application_credential_id"),
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Options of `vim register` and `vim update`."""

    cloud: Annotated[str, Parameter(help="Cloud of clouds.yaml to take address and credentials from.")] = ""
    config_file: Annotated[
        Path | None,
        Parameter(help="YAML file as `openstack vim register` reads it (auth_url, username ...)."),
    ] = None
    auth_url: Annotated[str, Parameter(help="Address of the VIM, e.g. https://keystone.example:5000/v3.")] = (
        ""
    )
    username: str = ""
    user_domain: Annotated[str, Parameter(help="Name of the user's domain.")] = ""
    project: Annotated[str, Parameter(help="Name of the project that VNFs are deployed in.")] = ""
    project_domain: Annotated[str, Parameter(help="Name of the project's domain.")] = ""
    password_file: Annotated[
        Path | None,
        Parameter(
            allow_leading_hyphen=True,
            help="File with the password, - for standard input; asked for if left out.",
        ),
    ] = None
    application_credential_id: Annotated[str, Parameter(help="Instead of a user with a password.")] = ""
    application_credential_secret_file: Annotated[
        Path | None,
        Parameter(
            allow_leading_hyphen=True,
            help="File with its secret, - for standard input; asked for if left out.",
        ),
    ] = None
    ca_cert: Annotated[Path | None, Parameter(help="File of CA certificates (PEM) to trust for it.")] = None
    insecure: Annotated[
        bool | None, Parameter(negative="--verify", help="Do not verify its certificate.")
    ] = None
    region: Annotated[str, Parameter(help="The one region to use.")] = ""
    second_auth_url: Annotated[
        str | None,
        Parameter(
            help="Another address of the same Keystone, asked beside the first, so that a lost path is told "
            "from a lost VIM. Empty removes it."
        ),
    ] = None
    second_proxy: Annotated[
        str | None,
        Parameter(help="HTTP proxy (http://HOST:PORT) to ask Keystone through, in place of another address."),
    ] = None
    all_regions: Annotated[bool, Parameter(help="Use all regions, whichever the cloud names.")] = False


NOTHING_GIVEN = AccessOptions()


@dataclass(frozen=True, kw_only=True)
class Access:
    """What was said of a VIM's access; empty is what was not said."""

    type: str = ""
    auth_url: str = ""
    region: str = ""
    credentials: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    extra: dict[str, object] = field(default_factory=dict[str, object])
    settings: dict[str, object] = field(default_factory=dict[str, object])
    """Of the driver; an empty one is taken away."""


def read(options: AccessOptions) -> Access:
    """What the options say together.

    Raises:
        Invalid: a cloud, file or secret that is named is not there.
    """
    found = _of_file(options.config_file) if options.config_file else Access()
    region, auth_url, credentials = found.region, found.auth_url, found.credentials
    vim_type = found.type
    if options.cloud:
        from farsite.vims.clouds import named_cloud

        account = named_cloud(options.cloud)
        region, auth_url, vim_type = account.region, account.auth_url, "openstack"
        credentials = {**account.credentials, **credentials}
    credentials = {**credentials, **_given(options)}
    return Access(
        type=vim_type,
        auth_url=options.auth_url or auth_url,
        region=options.region or ("" if options.all_regions else region),
        credentials=credentials,
        extra=found.extra,
        settings={
            key: value
            for key, value in (
                ("second_auth_url", options.second_auth_url),
                ("second_proxy", options.second_proxy),
            )
            if value is not None
        },
    )


def _of_file(path: Path) -> Access:
    body = documents.read(path)
    extra: object = body.pop("extra", None) or {}
    if not isinstance(extra, dict):
        raise Invalid(f"{path}: extra is a mapping.")
    vim_type = str(body.pop("type", "") or "openstack")
    auth_url = str(body.pop("auth_url", "") or "")
    region = str(body.pop("region", "") or "")
    credentials = {key: str(value) for key, value in body.items() if value not in (None, "")}
    return Access(
        type=vim_type,
        auth_url=auth_url,
        region=region,
        credentials=credentials,
        extra=cast("dict[str, object]", extra),
    )


def _given(options: AccessOptions) -> dict[str, str]:
    given = {key: str(getattr(options, name)) for name, key in _CREDENTIALS if getattr(options, name)}
    if options.username or options.password_file:
        given["password"] = _secret(options.password_file, f"Password of {options.username or 'the user'}: ")
    if options.application_credential_id or options.application_credential_secret_file:
        given["application_credential_secret"] = _secret(
            options.application_credential_secret_file, "Secret of the application credential: "
        )
    if options.ca_cert is not None:
        from farsite.vims.clouds import certificate_of

        given["ca_cert"] = certificate_of(options.ca_cert)
    if options.insecure is not None:
        given["cert_verify"] = str(not options.insecure)
    return given


def _secret(file: Path | None, question: str) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise Invalid("There is no terminal to ask for the secret; give it in a file (--password-file).")
        secret = getpass.getpass(question)
    else:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
        except OSError as error:
            raise Invalid(f"The secret cannot be read from {file}: {error.strerror}.") from error
        secret = text.rstrip("\r\n")
    if not secret:
        raise Invalid("The secret is empty.")
    return secret
