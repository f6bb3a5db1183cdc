"""What a server boots with, as Nova holds it."""

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from guests import IMAGE, NETWORK, Guests, guests
from tenancy import Project

from package_variants import booting_with

PASSWORD = "correct-horse-battery"
CONTENT = """#cloud-config
hostname: ${{ vnf.name }}-${{ vnfc.index }}
ssh_keys:
  ed25519_private: |
    ${{ ssh.host_key }}
ssh_authorized_keys: [ ${{ ssh.login_public }} ]
password: ${{ secret.admin | json }}
mac: ${{ port.data.mac }} at ${{ vim.region }}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Guests]:
    with guests() as found:
        yield found


def onboarded(running: Guests) -> str:
    vnfd_id = str(uuid.uuid4())
    boot = {
        "kvp_data": {"data": {"role": "edge of ${{ vnf.name }}"}},
        "content_or_file_data": {"content": CONTENT, "destination_path": "/etc/day-zero"},
    }
    created = running.service.native("POST", "/packages").json()
    answer = running.service.native(
        "PUT",
        f"/packages/{created['id']}/content",
        content=booting_with(vnfd_id, boot, image=IMAGE),
        headers={"Content-Type": "application/zip"},
        params={"image": f"{IMAGE}={IMAGE}"},
    )
    assert answer.status_code == 200, answer.text
    return vnfd_id


def user_data(server: Any) -> str:
    return base64.b64decode(server.user_data).decode()


def addresses(server: Any) -> set[tuple[str, str, str]]:
    """By network: each address with the MAC of its port."""
    return {
        (network, one["addr"], one["OS-EXT-IPS-MAC:mac_addr"])
        for network, entries in server.addresses.items()
        for one in entries
    }


def test_a_server_boots_with_names_secrets_and_the_keys_that_were_made_for_it(
    running: Guests, project: Project
) -> None:
    """Nova has it whole, Heat shows nobody the secret, and one that is made anew boots with the same."""
    cloud = running.register_project("zero", project)
    vnf = running.service.create_vnf(onboarded(running), name="edge")
    running.service.native("PUT", f"/vnfs/{vnf}/secrets/admin", json={"value": PASSWORD})
    links = [{"cp": "data", "network_id": NETWORK}]
    seen = running.ask(
        "vnfs", vnf, "instantiate", vim="zero", external_links=links, compute_flavours={"server": "m1.tiny"}
    )
    assert seen["state"] == "COMPLETED", seen["error"]
    (server,) = cloud.servers().values()
    booted = user_data(server)
    (vnfc,) = running.vnf(vnf)["vnfcs"]
    known = running.service.native("GET", f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/identity").json()
    assert "hostname: edge-0\n" in booted
    assert f'password: "{PASSWORD}"\n' in booted
    assert f"ssh_authorized_keys: [ {known['login_key']} ]" in booted
    assert "\n    -----BEGIN OPENSSH PRIVATE KEY-----\n" in booted
    assert f"mac: {vnfc['ports'][0]['mac']} at {project.account.region}" in booted
    assert "${{" not in booted
    assert server.has_config_drive
    assert server.metadata["role"] == "edge of edge"
    (stack,) = cloud.stacks()
    heat = cloud.admin.orchestration
    path = f"/stacks/{stack.name}/{stack.id}"
    shown = heat.get(path).text + heat.get(f"{path}/template").text + heat.get(f"{path}/environment").text
    assert "user_data" in shown
    assert PASSWORD not in shown
    assert "PRIVATE KEY" not in shown
    healed = running.ask("vnfs", vnf, "heal", vnfc_ids=[vnfc["id"]])
    assert healed["state"] == "COMPLETED", healed["error"]
    (again,) = cloud.servers().values()
    assert again.id != server.id
    assert user_data(again) == booted
    assert again.image["id"] == server.image["id"]
    assert again.flavor["original_name"] == server.flavor["original_name"]
    assert addresses(again) == addresses(server)
    console = running.service.native("GET", f"/vnfs/{vnf}/vnfcs/{vnfc['id']}/console")
    assert console.json()["text"], console.text
    running.terminated(vnf)
