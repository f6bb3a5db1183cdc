"""How a folder's playbooks would reach the device: by our SSH and its shell, or not at all.

A change by playbook is held by the device, which lets Ansible's tasks through in place of `/bin/sh`. A task
that goes another way (`network_cli`, `netconf`, `httpapi`) is held by nobody: it types into a session of its
own, which outlives the playbook, and nothing takes back what it did.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import cast

import yaml

from farsite.model.errors import Invalid

_OURS = frozenset({"ssh", "ansible.builtin.ssh"})
_HERE = frozenset({"local", "ansible.builtin.local"})
"""A task for this host; it reaches no device."""
_SAYS = frozenset({"connection", "ansible_connection"})


class _Loader(yaml.SafeLoader):
    """Reads what Ansible's own tags mark (`!unsafe`, `!vault`) as text."""


def _untagged(loader: _Loader, _tag: str, node: yaml.Node) -> str:
    return str(loader.construct_scalar(node)) if isinstance(node, yaml.ScalarNode) else ""


# The stubs of PyYAML leave open what the function gets.
_Loader.add_multi_constructor("!", _untagged)  # pyright: ignore[reportUnknownMemberType]


def refuse_other_ways(files: Mapping[str, bytes], where: str) -> None:
    """Look through the playbooks, tasks and variables of a folder. What is no YAML is Ansible's to refuse.

    Raises:
        Invalid: one of them reaches the device past us; names the file and its words.
    """
    for name, content in files.items():
        if PurePath(name).suffix not in (".yaml", ".yml"):
            continue
        try:
            document: object = yaml.load(content, Loader=_Loader)  # noqa: S506  (a SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        for word, way in _ways(document):
            if way not in _OURS | _HERE:
                raise Invalid(
                    f"{where}/{name} says {word}: {way}. Such a task would reach the device past its shell, "
                    f"where nothing could hold the change and take it back. Leave {word} out: playbooks of "
                    f"an adapter reach the device over SSH, by its shell. A device that has none is for an "
                    f"adapter of method netconf or rest."
                )


def _ways(document: object) -> Iterator[tuple[str, str]]:
    if isinstance(document, dict):
        for key, value in cast(Mapping[object, object], document).items():
            if key in _SAYS and isinstance(value, str):
                yield str(key), value
            yield from _ways(value)
    elif isinstance(document, list):
        for one in cast(list[object], document):
            yield from _ways(one)
