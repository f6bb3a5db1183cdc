"""What CloudStack asks, read from either form of its protocol.

The merged form: `COMMAND PAYLOAD-FILE TIMEOUT`, where the file holds the command's fields under `payload`
(for `custom-action` beside it). The form before it: `COMMAND --network-id 42 ...`, with the details as
arguments or in the environment, and long payloads in files of Base64.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

DEFAULT_TIMEOUT_S = 60.0
OLD_NAMES = {"implement": "implement-network", "shutdown": "shutdown-network", "destroy": "destroy-network"}
"""Commands that had other names before the merged form."""
_PHYSICAL, _NETWORK = "physical-network-extension-details", "network-extension-details"
_OF_VPC = frozenset({"implement-vpc", "update-vpc-source-nat-ip"})


class WrongUsage(Exception):  # exit code 1: what was asked cannot be asked so
    """The command line, the payload or the details registered with CloudStack are not right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command. `physical` is what was registered with the physical network, `stored` what
    `ensure-network-device` printed last; both may hold secrets and are never printed."""

    command: str
    fields: Mapping[str, object]
    physical: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    stored: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    action: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S

    def text(self, name: str) -> str:
        """A field as text; empty where it is not there."""
        value = self.fields.get(name)
        return "" if value is None else str(value)

    def needed(self, name: str) -> str:
        """A field that the command cannot do without.

        Raises:
            WrongUsage: it is not there.
        """
        if value := self.text(name):
            return value
        raise WrongUsage(f"{self.command}: the payload has no {name}.")

    def detail(self, name: str, otherwise: str = "") -> str:
        """What was registered with the physical network under a name."""
        value = self.physical.get(name)
        return otherwise if value in (None, "") else str(value)


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """The command of a command line.

    Raises:
        WrongUsage: it is none; says what is wrong with it.
    """
    if not arguments:
        raise WrongUsage("Usage: farsite-cloudstack COMMAND PAYLOAD-FILE TIMEOUT-SECONDS")
    command = OLD_NAMES.get(arguments[0], arguments[0])
    if len(arguments) == 1 or arguments[1].startswith("--"):
        return _by_arguments(command, arguments[1:], environment)
    return _by_file(command, arguments)


def _by_file(command: str, arguments: Sequence[str]) -> Asked:
    try:
        whole: object = json.loads(Path(arguments[1]).read_text())
        timeout_s = float(arguments[2]) if len(arguments) > 2 else DEFAULT_TIMEOUT_S
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise WrongUsage(f"{command}: {arguments[1]} cannot be read as a payload: {error}.") from error
    top = _object(whole, "the payload file")
    inner = top.get("payload", {})
    is_action = command == "custom-action"
    return Asked(
        command=command,
        fields=top if is_action else _object(inner, "payload"),
        physical=_object(top.get(_PHYSICAL, {}), _PHYSICAL),
        stored=_object(top.get(_NETWORK, {}), _NETWORK),
        action=str(top.get("action", "")),
        parameters=_object(top.get("action-params", {}), "action-params"),
        timeout_s=timeout_s,
    )


def _by_arguments(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    fields: dict[str, object] = {}
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if len(arguments) % 2 or not all(name.startswith("--") for name in given):
        raise WrongUsage(f"{command}: arguments come in pairs, --name value.")
    physical = _object(
        given.pop(f"--{_PHYSICAL}", "") or environment.get("CS_PHYSICAL_NETWORK_EXTENSION_DETAILS", ""),
        _PHYSICAL,
    )
    stored = _object(
        given.pop(f"--{_NETWORK}", "") or environment.get("CS_NETWORK_EXTENSION_DETAILS", ""), _NETWORK
    )
    # Before there were two objects, each detail had a variable of its own.
    physical = {**_variables(environment, "CS_NET_DEV_"), **physical}
    stored = {**_variables(environment, "CS_NET_EXT_"), **stored}
    action = given.pop("--action", "")
    parameters = {
        **_variables(environment, "CS_ACTION_PARAM_"),
        **_object(given.pop("--action-params", ""), "--action-params"),
    }
    for name, value in given.items():
        plain = name.removeprefix("--").replace("-", "_")
        if plain.endswith("_file"):
            fields[plain.removesuffix("_file")] = _encoded(name, value)
        elif plain == "lb_rules":
            fields[plain] = _parsed(value, name)
        elif plain == "cidr" and command in _OF_VPC:
            fields["vpc_cidr"] = value
        else:
            fields[plain] = value
    return Asked(
        command=command, fields=fields, physical=physical, stored=stored, action=action, parameters=parameters
    )


def _variables(environment: Mapping[str, str], prefix: str) -> dict[str, object]:
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix)
    }


def _encoded(name: str, path: str) -> object:
    try:
        return cast("object", json.loads(base64.b64decode(Path(path).read_bytes())))
    except (OSError, ValueError, binascii.Error) as error:
        raise WrongUsage(f"{name}: {path} is no Base64 of JSON: {error}.") from error


def _parsed(text: str, where: str) -> object:
    try:
        return cast("object", json.loads(text))
    except ValueError as error:
        raise WrongUsage(f"{where} is no JSON: {error}.") from error


def _object(value: object, where: str) -> dict[str, object]:
    found: object = _parsed(value, where) if isinstance(value, str) and value else value or {}
    if not isinstance(found, dict):
        raise WrongUsage(f"{where} is no JSON object.")
    return cast("dict[str, object]", found)
