"""Playbooks that would go past what holds a change."""

from pathlib import Path

import pytest

from farsite.model.errors import Invalid
from farsite.vnfs.dictionary import read

DICTIONARY = """
name: names
vendor: nobody
product: names
versions: all
access: {method: ansible}
services: [dns]
places: [{name: main, path: /etc/names, services: [dns]}]
playbook: {file: apply.yaml}
activate: ":"
"""
PLAY = "- hosts: device\n  vars: {key: !unsafe '{{ no template }}'}\n"


def folder(directory: Path, **files: str) -> Path:
    (directory / "adapter.yaml").write_text(DICTIONARY)
    for name, text in {"apply": PLAY, **files}.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory


@pytest.mark.parametrize(
    "files",
    [
        {"apply": f"{PLAY}  connection: ansible.netcommon.network_cli\n"},
        {"apply": f"{PLAY}  tasks: [{{ansible.builtin.ping: , vars: {{ansible_connection: httpapi}}}}]\n"},
        {"more": "- block: [{ansible.builtin.ping: , connection: netconf}]\n"},
        {"more": "ansible_connection: '{{ somehow }}'\n"},
        {"more": "- ansible.builtin.set_fact: {ansible_connection: ansible.netcommon.libssh}\n"},
    ],
)
def test_a_playbook_that_goes_past_the_shell_is_refused_before_it_is_run(
    tmp_path: Path, files: dict[str, str]
) -> None:
    """Nothing on the device would take back what such a task has done when we are cut off."""
    with pytest.raises(Invalid, match=r"(apply|more)\.yaml says (ansible_)?connection: .* past its shell"):
        read(folder(tmp_path, **files))


def test_a_task_for_this_host_or_over_our_ssh_is_let_through(tmp_path: Path) -> None:
    """Playbooks look things up here, and say what is so anyhow."""
    tasks = "  tasks: [{ansible.builtin.ping: , connection: local}]\n"
    read(folder(tmp_path, apply=f"{PLAY}  connection: ssh\n{tasks}", more="no: [yaml"))
