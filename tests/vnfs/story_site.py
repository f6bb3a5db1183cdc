"""A function inside a Linux site, with its users and what it serves: a package of three VDUs, and the site's
machine as the jump host of an operator."""

import contextlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service_bench import Service

DIRECTORY = "/run/vdu"
"""Of an appliance, as it sees it."""
FUNCTION, CLIENT, SERVER = "192.0.2.2", "192.0.2.3", "198.51.100.3"
"""The function and its users on the network `front`; what it leads to on the network `back`."""
FUNCTION_BEHIND = "198.51.100.2"
# The host has an address on it while the test runs, so two tests at once need two.
_MANAGEMENT = f"198.18.{os.getpid() % 256}"
JUMP_HOST, MANAGED = f"{_MANAGEMENT}.1", f"{_MANAGEMENT}.2"

_TYPES = """\
tosca_definitions_version: tosca_simple_yaml_1_2
imports: [etsi_nfv_sol001_vnfd_types.yaml]
node_types:
  acme.Story:
    derived_from: tosca.nodes.nfv.VNF
    properties:
      descriptor_id: {type: string, default: 6f0c7d2e-5a51-4d0a-8f4e-3b1f00d5c0de}
      provider: {type: string, default: Acme}
      product_name: {type: string, default: Acme function}
      software_version: {type: string, default: '1.0'}
      descriptor_version: {type: string, default: '1.0'}
      flavour_id: {type: string, default: default}
      flavour_description: {type: string, default: a function with its users}
      vnfm_info: {type: list, entry_schema: {type: string}, default: [Farsite]}
"""
_HEAD = """\
tosca_definitions_version: tosca_simple_yaml_1_2
imports: [etsi_nfv_sol001_vnfd_types.yaml, types.yaml]
topology_template:
  substitution_mappings:
    node_type: acme.Story
    properties: {flavour_id: default}
  node_templates:
    VNF: {type: acme.Story}
"""
_VDU = """\
    %(name)s:
      type: tosca.nodes.nfv.Vdu.Compute
      properties:
        name: %(name)s
        description: %(name)s
        vdu_profile: {min_number_of_instances: 1, max_number_of_instances: 1}
        boot_data: %(boot)s
      capabilities:
        virtual_compute:
          properties:
            virtual_memory: {virtual_mem_size: 512 MiB}
            virtual_cpu: {num_virtual_cpu: 1}
      artifacts:
        sw_image: {type: tosca.artifacts.nfv.SwImage, file: '%(image)s'}
"""
_PORT = """\
    %(name)s:
      type: tosca.nodes.nfv.VduCp
      properties: {layer_protocols: [ipv4], order: %(order)d}
      requirements: [virtual_binding: %(vdu)s, virtual_link: %(link)s]
"""
_LINK = """\
    %(name)s:
      type: tosca.nodes.nfv.VnfVirtualLink
      properties:
        connectivity_type: {layer_protocols: [ipv4]}
        vl_profile:
          max_bitrate_requirements: {root: 1000}
          min_bitrate_requirements: {root: 0}
          virtual_link_protocol_data:
            - associated_layer_protocol: ipv4
              l3_protocol_data: {ip_version: ipv4, cidr: %(cidr)s}
"""
_POLICY = """\
    - %(vdu)s_initially:
        type: tosca.policies.nfv.VduInitialDelta
        properties: {initial_delta: {number_of_instances: 1}}
        targets: [%(vdu)s]
"""
_SERVES = f"ip route add default via {FUNCTION_BEHIND}; cd /tmp; exec python3 -m http.server 8080"
_FETCH = (
    "import sys, urllib.request as u\n"
    "print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2).status)\n"
)


def package(function_boot: str, client_boot: str) -> bytes:
    """A function with the boot data that is its own, a client in front of it and a web server behind it."""

    def script(text: str) -> str:
        return json.dumps({"content_or_file_data": {"content": text}})

    vdus = {
        "function": ("host:appliance", script(function_boot)),
        "client": ("host:appliance", script(client_boot)),
        "server": ("host:shell", json.dumps({"kvp_data": {"data": {"script": _SERVES}}})),
    }
    ports = (
        ("front", "function", "front"),
        ("back", "function", "back"),
        ("mgmt", "function", "management"),
        ("client0", "client", "front"),
        ("server0", "server", "back"),
    )
    links = {"front": "192.0.2.0/24", "back": "198.51.100.0/24", "management": f"{_MANAGEMENT}.0/24"}
    nodes = [
        *(_VDU % {"name": name, "image": image, "boot": boot} for name, (image, boot) in vdus.items()),
        *(
            _PORT % {"name": f"{name}_cp", "vdu": vdu, "link": f"{link}_net", "order": order}
            for order, (name, vdu, link) in enumerate(ports)
        ),
        *(_LINK % {"name": f"{name}_net", "cidr": cidr} for name, cidr in links.items()),
    ]
    policies = ["  policies:\n", *(_POLICY % {"vdu": vdu} for vdu in vdus)]
    entry = "Definitions/vnfd.yaml"
    files = {
        "TOSCA-Metadata/TOSCA.meta": "TOSCA-Meta-File-Version: 1.0\nCSAR-Version: 1.1\nCreated-By: Acme\n"
        f"Entry-Definitions: {entry}\n",
        entry: "".join([_HEAD, *nodes, *policies]),
        "Definitions/types.yaml": _TYPES,
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return written.getvalue()


@dataclass(frozen=True)
class Site:
    """The site as its operator sees it."""

    service: Service
    name: str = "edge"

    def register(self) -> None:
        answer = self.service.native("POST", "/vims", json={"name": self.name, "type": "linux"})
        assert answer.status_code == 201, answer.text

    def deployed(self, content: bytes) -> str:
        """The VNF of a package, instantiated; its id."""
        made = self.service.native("POST", "/packages").json()
        zipped = {"Content-Type": "application/zip"}
        onboarding = self.service.native(
            "PUT", f"/packages/{made['id']}/content", content=content, headers=zipped
        )
        assert onboarding.status_code == 200, onboarding.text
        vnf = self.service.create_vnf("Acme function", name="one")
        answer = self.service.native("POST", f"/vnfs/{vnf}/instantiate", json={})
        assert answer.status_code == 202, answer.text
        ended = self.service.until(
            lambda: self.service.native("GET", f"/operations/{answer.json()['id']}").json(),
            lambda seen: seen["state"] in ("COMPLETED", "FAILED_TEMP", "FAILED", "ROLLED_BACK"),
            within_s=120,
        )
        assert ended["state"] == "COMPLETED", ended["error"]
        assert self._one("COMPUTE", "function")["addresses"] == [FUNCTION, FUNCTION_BEHIND, MANAGED]
        assert self._one("COMPUTE", "client")["addresses"] == [CLIENT]
        assert self._one("COMPUTE", "server")["addresses"] == [SERVER]
        return vnf

    def _one(self, kind: str, name: str) -> dict[str, Any]:
        found = self.service.native("GET", f"/vims/{self.name}/resources").json()
        return next(one for one in found if (one["kind"], one["name"]) == (kind, name))

    def pid(self, vdu: str) -> int:
        """The first process of a VDU."""
        return int(self._one("COMPUTE", vdu)["details"]["pid"])

    def vnfc(self, vdu: str) -> str:
        return self._one("COMPUTE", vdu)["vnfc_id"]

    def client_gets(self, url: str) -> bool:
        """Whether a web request of the function's users is answered."""
        within = ["nsenter", f"--net=/proc/{self.pid('client')}/ns/net"]
        ran = subprocess.run([*within, sys.executable, "-c", _FETCH, url], capture_output=True, timeout=20)
        return ran.stdout.strip() == b"200"

    def versions_at_work(self) -> set[str]:
        """Of the function's programs, as the kernel says which files they are."""
        space = os.stat(f"/proc/{self.pid('function')}/ns/pid").st_ino
        found: set[str] = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and (entry / "ns" / "pid").stat().st_ino == space:
                    found |= set(re.findall(r"/versions/([^/]+)/", os.readlink(entry / "exe")))
        return found

    def file(self, path: str) -> Path:
        """A file of the function, as it lies on the host."""
        (found,) = self.service.settings.run_dir.glob(f"sites/*/work/*/{path.removeprefix(f'{DIRECTORY}/')}")
        return found

    @contextlib.contextmanager
    def jump_host(self) -> Iterator[None]:
        """The site's machine with an address on the management network, as docs/guide/services.md has it."""
        agent = self.service.native("GET", f"/vims/{self.name}").json()["capability_details"]["agent_pid"]
        bridge = self._one("VL", "management_net")["details"]["bridge"]
        leg = f"leg{secrets.token_hex(4)}"
        _run("ip", "link", "add", leg, "type", "veth", "peer", "name", "leg", "netns", agent)
        try:
            _run("nsenter", f"--net=/proc/{agent}/ns/net", "ip", "link", "set", "leg", "master", bridge, "up")
            _run("ip", "addr", "add", f"{JUMP_HOST}/24", "dev", leg)
            _run("ip", "link", "set", leg, "up")
            yield
        finally:
            _run("ip", "link", "del", leg)

    def remove(self) -> None:
        """What an operator does to be rid of it all."""
        _run(
            *(sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove"),
            str(self.service.settings.run_dir),
        )


def _run(*words: str) -> None:
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, f"{' '.join(words)}: {ran.stderr}"
