"""First contact with an appliance on a Linux site: its very first answer is from whom we made it to be."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import guide_pages
from farsite.settings import Settings
from farsite.vims.drivers.linux.agent import trial
from package_variants import booting_with
from service_bench import Service, running

SSHD = "/usr/sbin/sshd"
pytestmark = [
    pytest.mark.linux,
    pytest.mark.slow,
    pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is not there"),
    pytest.mark.skipif(os.getuid() != 0, reason="sshd lets others than itself in as root only"),
]

LETS_US_IN = """#!/bin/sh
set -eu
mkdir -p ssh
echo 1 >/proc/sys/net/ipv4/ip_forward
echo ${{ ssh.login_public | quote }} >ssh/authorized_keys
"""
MADE_FOR_IT = LETS_US_IN + "echo ${{ ssh.host_key | base64 }} | base64 -d >ssh/host_key\n"
"""Carries the host key that was made for it, and lets us in."""
ANOTHER = LETS_US_IN + "# not ${{ ssh.host_key_public }}\nssh-keygen -q -t ed25519 -N '' -f ssh/host_key\n"
"""Has another key than the one that was made for it."""
TELLS_ITS_OWN = LETS_US_IN.replace("ssh.login_public", "secret.lets_in")
"""Is given none: it makes one and tells it on its console, as cloud-init does."""
DOCUMENT = {"firewall": {"default_action": "accept", "rules": []}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = Settings(data_dir=directory, function_watch_period_s=3600, function_drift_period_s=3600)
    try:
        with running(settings) as found:
            answer = found.native("POST", "/vims", json={"name": "north", "type": "linux"})
            assert answer.status_code == 201, answer.text
            yield found
    finally:
        remove = [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(settings.run_dir)]
        subprocess.run(remove, check=True, capture_output=True, timeout=60)
        shutil.rmtree(directory, ignore_errors=True)


def test_the_guide_does_what_it_says(service: Service, tmp_path: Path) -> None:
    """Each command in a shell, in the order of the page."""
    environment = {
        **os.environ,
        "FARSITE_URL": service.url,
        "FARSITE_TOKEN": service.token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    steps = guide_pages.read_page("day-zero.md")
    assert len(steps) > 15
    for step in steps:
        ran = subprocess.run(
            ["sh", "-c", step.command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == step.exit_code, f"{step.place}: {step.command}\n{ran.stdout}{ran.stderr}"
        printed = ran.stdout + ran.stderr
        assert not step.printed or guide_pages.is_as_printed(step.printed, printed), (
            f"{step.place}:\n{printed}"
        )


class Appliance:
    """A VNF of one machine that boots with a script."""

    def __init__(self, service: Service, script: str, *, ends: str = "COMPLETED", **secrets: str) -> None:
        self.service = service
        vnfd_id = str(uuid.uuid4())
        boot = {"content_or_file_data": {"content": script}}
        made = service.native("POST", "/packages").json()
        answer = service.native(
            "PUT",
            f"/packages/{made['id']}/content",
            content=booting_with(vnfd_id, boot, image="host:appliance"),
            headers={"Content-Type": "application/zip"},
        )
        assert answer.status_code == 200, answer.text
        self.name = f"edge-{uuid.uuid4()}"
        self.id = service.create_vnf(vnfd_id, name=self.name)
        for name, value in secrets.items():
            service.native("PUT", f"/vnfs/{self.id}/secrets/{name}", json={"value": value})
        self.instantiation = self.done("instantiate", {}, ends)
        (vnfc,) = service.native("GET", f"/vnfs/{self.id}").json()["vnfcs"]
        self.vnfc = vnfc["id"]

    def done(self, verb: str, body: object, ends: str = "COMPLETED") -> Mapping[str, Any]:
        answer = self.service.native("POST", f"/vnfs/{self.id}/{verb}", json=body)
        assert answer.status_code == 202, answer.text
        ended = self.service.ended(answer.json()["id"])
        assert ended["state"] == ends, ended["error"]
        return ended

    def managed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As an operator says it."""
        command = [str(Path(sys.executable).with_name("farsite")), "vnf", "config", "manage", self.name]
        told = ["--adapter", "linux", "--vnfc", self.vnfc, "--parameter", "directory=/run/vdu/linux"]
        return subprocess.run(
            [*command, *told, "--keep-in", "/run/vdu/farsite", *words],
            env={**os.environ, "FARSITE_URL": self.service.url, "FARSITE_TOKEN": self.service.token},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def plan(self) -> Any:
        """Ask the machine what it runs."""
        return self.service.native("POST", f"/vnfs/{self.id}/configuration/plan", json=DOCUMENT)


def test_an_appliance_that_carries_what_was_made_for_it_is_managed_without_a_key_or_a_pin(
    service: Service,
) -> None:
    """Nobody has seen its keys, nobody has typed one, and nothing was taken on trust."""
    one = Appliance(service, MADE_FOR_IT)
    said = one.managed()
    assert said.returncode == 0, said.stderr
    answer = one.plan()
    assert answer.status_code == 200, answer.text
    one.done("configure", {"document": DOCUMENT})
    one.done("heal", {"cause": "to see whether the new one is the same"})
    assert one.plan().status_code == 200


def test_a_boot_script_that_fails_says_so_without_its_secrets(service: Service) -> None:
    """Its last words hold them, and stay on the console; so does what stands in the database and the log."""
    password = "Tr0ub4dor-and-3"
    script = "#!/bin/sh\nPASS=x ${{ secret.admin }}\nexit 3\n"
    one = Appliance(service, script, ends="FAILED_TEMP", admin=password)
    assert "farsite vnf console" in one.instantiation["error"]["detail"]
    assert password not in str(one.instantiation)
    files = [one for one in service.settings.data_dir.rglob("*") if one.is_file()]
    shown = [one for one in files if password.encode() in one.read_bytes()]
    # The site's own records of what it runs, the VDU's directory, its console: its account alone reads them.
    places = {"vdus", "deployments", "logs", "work"}
    assert all(places.intersection(one.parts) for one in shown), shown


def test_another_in_its_place_is_not_talked_to(service: Service) -> None:
    """It answers, and with a key of its own."""
    one = Appliance(service, ANOTHER)
    assert one.managed().returncode == 0
    answer = one.plan()
    assert answer.status_code >= 400
    assert "host key" in answer.json()["detail"].lower()


def test_an_appliance_that_tells_its_key_on_the_console_is_known_by_that(service: Service) -> None:
    """The VIM shows the console, and nobody on the network can write on it."""
    with tempfile.TemporaryDirectory() as at:
        key = Path(at) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        private, public = key.read_text(), key.with_suffix(".pub").read_text().strip()
    one = Appliance(service, TELLS_ITS_OWN, lets_in=public, login=private)
    told = one.managed("--private-key", "login")
    assert told.returncode == 0, told.stderr
    before = one.plan()
    assert before.status_code == 400, before.text
    assert "pinned" in before.json()["detail"]
    said = one.managed("--private-key", "login", "--host-key-from-console")
    assert said.returncode == 0, said.stderr
    assert one.plan().status_code == 200
