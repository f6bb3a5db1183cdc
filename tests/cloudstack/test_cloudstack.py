"""CloudStack's commands, one by one, against the real service: what it asks is what the VNF runs."""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farsite.cloudstack.__main__ import run
from farsite.cloudstack.asked import WrongUsage
from farsite.cloudstack.commands import COMMANDS
from farsite.cloudstack.device import NotDone
from farsite.settings import Settings
from service_bench import Service, running
from ssh_device import NEEDED, Device

pytestmark = [*NEEDED, pytest.mark.slow]
PUBLIC = {"public_cidr": "203.0.113.0/24", "public_gateway": "203.0.113.1", "public_vlan": "50"}
CONTRACT = """
ensure-network-device implement-network shutdown-network destroy-network implement-vpc shutdown-vpc
update-vpc-source-nat-ip assign-ip release-ip add-static-nat delete-static-nat add-port-forward
delete-port-forward apply-fw-rules apply-network-acl prepare-nic release-nic add-dhcp-entry
remove-dhcp-entry config-dhcp-subnet remove-dhcp-subnet set-dhcp-options add-dns-entry
config-dns-subnet remove-dns-subnet save-vm-data save-password save-userdata save-sshkey
save-hypervisor-hostname apply-lb-rules restore-network custom-action
"""
USER_DATA = ["save-vm-data", "save-password", "save-userdata", "save-sshkey", "save-hypervisor-hostname"]


@dataclass
class Cloud:
    """A management server: what is registered with the physical network, and a network of its own."""

    service: Service
    directory: Path
    details: dict[str, object]
    network: str
    vpc: str = ""

    @property
    def name(self) -> str:
        return f"cloudstack-vpc-{self.vpc}" if self.vpc else f"cloudstack-network-{self.network}"

    @property
    def fields(self) -> dict[str, str]:
        return {
            "network_id": self.network,
            "vlan": "100",
            "zone_id": "1",
            "gateway": "10.0.0.1",
            "cidr": "10.0.0.0/24",
            "extension_ip": "10.0.0.1",
            **({"vpc_id": self.vpc} if self.vpc else {}),
        }

    def payload(self, whole: Mapping[str, object]) -> str:
        path = self.directory / "payload.json"
        path.write_text(json.dumps({"physical-network-extension-details": self.details, **whole}))
        return str(path)

    def ask(self, command: str, **payload: object) -> str:
        """What the command prints."""
        fields = {**self.fields, **payload}
        envelope = {"network-extension-details": {}, "payload": fields}
        # Longer than CloudStack waits: under the load of other tests a change may take its time.
        return run([command, self.payload(envelope), "300"], {})

    @property
    def runs(self) -> list[str]:
        """The lines of the router, without those that say nothing."""
        text = (self.directory / f"{self.name}.conf").read_text()
        return [" ".join(line.split()) for line in text.splitlines() if line and not line.startswith("#")]

    @property
    def versions(self) -> int:
        return len(self.service.client.configurations(self.name))

    def implemented(self) -> "Cloud":
        self.ask("ensure-network-device", current_details="{}")
        self.ask("implement-network")
        return self


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Service, Path, dict[str, object]]]:
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    (directory / "ssh").mkdir()
    device = Device(directory / "ssh")
    device.start()
    settings = Settings(data_dir=directory / "data", adapter_dir=str(Path(__file__).parent))
    try:
        with running(settings) as found:
            found.register("sim")
            package = found.onboard("webserver")
            access = {
                "host": "127.0.0.1",
                "port": device.port,
                "host_keys": [device.key("host")],
                "private_key": "secret:key",
            }
            management = {
                "adapter": "router",
                "access": access,
                "parameters": {"config": f"{directory}/{{device}}.conf"},
                "keep_in": f"{directory}/kept-{{device}}",
            }
            details: dict[str, object] = {
                "farsite_url": found.url,
                "farsite_token": found.token,
                "package": package["id"],
                "management": json.dumps(management),
                "secrets": {"key": (directory / "ssh" / "user").read_text()},
                "physicalnetworkname": "net1",
            }
            yield found, directory, details
    finally:
        device.stop()
        shutil.rmtree(directory, ignore_errors=True)


_networks = iter(range(100, 1000))


@pytest.fixture
def cloud(service: tuple[Service, Path, dict[str, object]]) -> Cloud:
    """A network that nobody has asked anything of."""
    return Cloud(service[0], service[1], dict(service[2]), network=str(next(_networks)))


def test_every_command_of_the_contract_is_there() -> None:
    """A command that is missing would fail in the middle of a customer's request."""
    assert set(COMMANDS) == set(CONTRACT.split())


def test_a_network_gets_a_device_and_the_same_one_again(cloud: Cloud) -> None:
    """It is asked before every operation: it must neither make a second nor forget the first."""
    told = json.loads(cloud.ask("ensure-network-device", current_details="{}"))
    assert told["name"] == cloud.name
    assert json.loads(cloud.ask("ensure-network-device", current_details=json.dumps(told))) == told


def test_a_network_lives_from_its_first_to_its_last_command(cloud: Cloud) -> None:
    """The life of an isolated network, as CloudStack asks for it."""
    cloud.implemented()
    assert cloud.runs == ["interface eth1 10.0.0.1/24"]
    cloud.ask("assign-ip", public_ip="203.0.113.5", source_nat="true", **PUBLIC)
    assert "interface eth0 203.0.113.5/24" in cloud.runs
    assert "route 0.0.0.0/0 203.0.113.1" in cloud.runs
    assert "nat source any 10.0.0.0/24 203.0.113.5" in cloud.runs
    cloud.ask("add-static-nat", public_ip="203.0.113.6", private_ip="10.0.0.6", **PUBLIC)
    assert "nat static any 203.0.113.6 10.0.0.6" in cloud.runs
    forward = {"public_ip": "203.0.113.5", "private_ip": "10.0.0.7", "protocol": "TCP", **PUBLIC}
    cloud.ask("add-port-forward", public_port="2222", private_port="22", **forward)
    assert "nat destination tcp 203.0.113.5:2222 10.0.0.7:22" in cloud.runs
    cloud.ask("add-port-forward", public_port="8080:8090", private_port="8080-8090", **forward)
    assert "nat destination tcp 203.0.113.5:8080-8090 10.0.0.7:8080-8090" in cloud.runs
    cloud.ask("delete-port-forward", public_port="2222", private_port="22", **forward)
    assert not any(":2222" in line for line in cloud.runs)
    cloud.ask("delete-static-nat", public_ip="203.0.113.6", private_ip="10.0.0.6", **PUBLIC)
    assert not any(line.startswith("nat static") for line in cloud.runs)
    cloud.ask("release-ip", public_ip="203.0.113.5", source_nat="true", **PUBLIC)
    assert not any("203.0.113.5" in line for line in cloud.runs)
    assert not any(line.startswith(("nat", "route")) for line in cloud.runs)
    cloud.ask("shutdown-network")
    assert cloud.service.native("GET", f"/vnfs/{cloud.name}").status_code == 404
    cloud.ask("destroy-network")


def test_what_was_done_is_not_done_again(cloud: Cloud) -> None:
    """CloudStack repeats what it has heard no answer to."""
    cloud.implemented()
    nat = {"public_ip": "203.0.113.6", "private_ip": "10.0.0.6", **PUBLIC}
    cloud.ask("add-static-nat", **nat)
    before = cloud.versions
    cloud.ask("implement-network")
    cloud.ask("add-static-nat", **nat)
    assert cloud.versions == before


def fw(*rules: Mapping[str, object], allows: bool = True) -> Mapping[str, object]:
    return {"fw_rules": {"default_egress_allow": allows, "cidr": "10.0.0.0/24", "rules": list(rules)}}


INGRESS = {"id": 1, "type": "ingress", "protocol": "tcp", "portStart": 22, "portEnd": 22, "destCidrs": []}
SSH_IN = {**INGRESS, "publicIp": "203.0.113.5", "sourceCidrs": ["198.51.100.0/24"]}


def test_an_ingress_rule_opens_what_the_address_stands_for(cloud: Cloud) -> None:
    """The rule names a public address, our firewall sees the guest's; and the rule may come first."""
    cloud.implemented()
    cloud.ask("apply-fw-rules", **fw(SSH_IN))
    assert not any("198.51.100.0/24" in line for line in cloud.runs)
    forward = {"public_ip": "203.0.113.5", "private_ip": "10.0.0.7", "protocol": "tcp", **PUBLIC}
    cloud.ask("add-port-forward", public_port="22", private_port="2022", **forward)
    assert "accept tcp > 198.51.100.0/24 10.0.0.7 2022" in cloud.runs
    cloud.ask("add-static-nat", public_ip="203.0.113.6", private_ip="10.0.0.6", **PUBLIC)
    assert not any("10.0.0.6" in line and line.startswith("accept") for line in cloud.runs)
    cloud.ask("delete-port-forward", public_port="22", private_port="2022", **forward)
    assert not any("10.0.0.7" in line for line in cloud.runs)


@pytest.mark.parametrize("allows", [True, False])
def test_egress_rules_are_the_exceptions_from_the_default(cloud: Cloud, allows: bool) -> None:
    """The same rule denies where everything may leave, and allows where nothing may."""
    cloud.implemented()
    out = {"id": 2, "type": "egress", "protocol": "icmp", "icmpType": -1, "icmpCode": -1, "destCidrs": []}
    cloud.ask("apply-fw-rules", **fw({**out, "sourceCidrs": []}, allows=allows))
    rules = [line for line in cloud.runs if line.startswith(("accept", "drop"))]
    expected = ["drop icmp > 10.0.0.0/24 any", "accept any > 10.0.0.0/24 any"]
    assert rules == (expected if allows else ["accept icmp > 10.0.0.0/24 any"])


def test_guests_get_addresses_and_names(cloud: Cloud) -> None:
    """DHCP and DNS, guest by guest, then all of them at once after a restart of the network."""
    cloud.implemented()
    cloud.ask("config-dhcp-subnet", dns="192.0.2.53,192.0.2.54", domain="cs.example.com")
    guest = {"mac": "02:00:00:00:00:01", "ip": "10.0.0.10", "hostname": "vm-1"}
    cloud.ask("prepare-nic", nic_uuid="9d0c", default_nic="true", **guest)
    cloud.ask("add-dhcp-entry", dns="192.0.2.53", default_nic="true", domain="cs.example.com", **guest)
    cloud.ask("config-dns-subnet", dns="192.0.2.53", domain="cs.example.com")
    cloud.ask("add-dns-entry", ip="10.0.0.10", hostname="vm-1")
    assert f"pool n{cloud.network} router 10.0.0.1 dns 192.0.2.53" in cloud.runs
    assert "lease 02:00:00:00:00:01 10.0.0.10 vm-1" in cloud.runs
    assert "name vm-1 10.0.0.10" in cloud.runs
    other = {
        "ip": "10.0.0.11",
        "mac": "02:00:00:00:00:02",
        "hostname": "vm-2",
        "default_nic": True,
        "vm_data": [],
    }
    restored = {"dhcp_enabled": True, "dns_enabled": True, "userdata_enabled": False, "vms": [other]}
    cloud.ask("restore-network", dns="192.0.2.53", domain="cs.example.com", restore_data=restored)
    assert [line for line in cloud.runs if line.startswith(("lease", "name"))] == [
        "name vm-2 10.0.0.11",
        "lease 02:00:00:00:00:02 10.0.0.11 vm-2",
    ]
    cloud.ask("remove-dhcp-entry", mac="02:00:00:00:00:02", ip="10.0.0.11")
    cloud.ask("release-nic", mac="02:00:00:00:00:02", ip="10.0.0.11")
    assert not any(line.startswith("lease") for line in cloud.runs)
    cloud.ask("remove-dns-subnet")
    cloud.ask("remove-dhcp-subnet")
    assert not any(line.startswith(("name", "pool")) for line in cloud.runs)


def test_load_balancer_rules_are_made_changed_and_revoked(cloud: Cloud) -> None:
    """A backend that was revoked gets no more traffic; a rule that was revoked is gone."""
    cloud.implemented()
    backends = [
        {"ip": "10.0.0.10", "port": 8080, "revoked": False},
        {"ip": "10.0.0.11", "port": 8080, "revoked": True},
    ]
    rule = {"id": 1, "name": "lb-web", "publicIp": "203.0.113.5", "publicPort": 80, "privatePort": 8080}
    rule |= {"protocol": "tcp", "algorithm": "leastconn", "revoke": False, "backends": backends}
    cloud.ask("apply-lb-rules", lb_rules=[rule])
    name = f"n{cloud.network}.lb.1"
    assert f"pool {name} least_connections 10.0.0.10:8080" in cloud.runs
    assert f"virtual 203.0.113.5:80 {name}" in cloud.runs
    cloud.ask("apply-lb-rules", lb_rules=[{**rule, "revoke": True}])
    assert not any("lb.1" in line for line in cloud.runs)
    with pytest.raises(WrongUsage, match="only tcp"):
        cloud.ask("apply-lb-rules", lb_rules=[{**rule, "protocol": "udp"}])


def test_the_tiers_of_a_vpc_share_a_device(cloud: Cloud) -> None:
    """One tier goes without touching the other, and the VPC's address can change."""
    cloud.vpc = f"9{cloud.network}"
    cloud.details["guest_interface"] = "eth1.{network_id}"
    source = {"vpc_cidr": "10.0.0.0/16", "source_nat": "true", **PUBLIC}
    cloud.ask("ensure-network-device", current_details="{}")
    cloud.ask("implement-vpc", public_ip="203.0.113.5", **source)
    assert "nat source any 10.0.0.0/16 203.0.113.5" in cloud.runs
    cloud.ask("implement-network")
    tier = Cloud(cloud.service, cloud.directory, cloud.details, network=str(next(_networks)), vpc=cloud.vpc)
    tier.ask("implement-network", gateway="10.0.1.1", cidr="10.0.1.0/24", extension_ip="10.0.1.1")
    acl = [
        {"number": 20, "action": "deny", "trafficType": "egress", "protocol": "all", "sourceCidrs": []},
        {
            "number": 10,
            "action": "allow",
            "trafficType": "ingress",
            "protocol": "tcp",
            "portStart": 22,
            "portEnd": 22,
        }
        | {"sourceCidrs": ["0.0.0.0/0"]},
    ]
    tier.ask("apply-network-acl", acl_rules=acl)
    guest = f"eth1.{tier.network}"
    assert [line for line in cloud.runs if line.startswith(("accept", "drop"))] == [
        f"accept tcp >{guest} any any 22",
        f"drop any {guest}> any any",
        f"drop any >{guest} any any",
        f"accept any {guest}> any any",
    ]
    cloud.ask("update-vpc-source-nat-ip", public_ip="203.0.113.9", **source)
    assert "nat source any 10.0.0.0/16 203.0.113.9" in cloud.runs
    assert "nat source any 10.0.0.0/16 203.0.113.5" not in cloud.runs
    tier.ask("destroy-network")
    assert not any(guest in line for line in cloud.runs)
    assert f"interface eth1.{cloud.network} 10.0.0.1/24" in cloud.runs
    cloud.ask("shutdown-vpc")
    assert cloud.service.native("GET", f"/vnfs/{cloud.name}").status_code == 404


@pytest.mark.parametrize("command", [*USER_DATA, "set-dhcp-options"])
def test_what_is_not_served_is_refused_and_not_swallowed(cloud: Cloud, command: str) -> None:
    """A password that is said to be kept and is not would lock a customer out."""
    with pytest.raises(WrongUsage, match="not served"):
        cloud.ask(command, ip="10.0.0.10", password="secret", options='{"15":"example.com"}', nic_id="1")


@pytest.mark.parametrize(
    "command",
    [
        "release-ip",
        "delete-static-nat",
        "delete-port-forward",
        "remove-dhcp-entry",
        "remove-dhcp-subnet",
        "remove-dns-subnet",
        "shutdown-network",
        "destroy-network",
        "release-nic",
    ],
)
def test_taking_away_where_nothing_is_is_quiet(cloud: Cloud, command: str) -> None:
    """Cleaning up must end, also after a network that was never implemented."""
    assert cloud.ask(command, public_ip="203.0.113.5") == ""


def test_a_change_that_the_device_refuses_changes_nothing(cloud: Cloud) -> None:
    """CloudStack reads the device's own words, and what ran runs on."""
    cloud.implemented()
    before = cloud.runs
    with pytest.raises(NotDone, match="cannot be a destination"):
        cloud.ask("add-static-nat", public_ip="203.0.113.6", private_ip="192.0.2.255", **PUBLIC)
    assert cloud.runs == before
    cloud.ask("add-static-nat", public_ip="203.0.113.6", private_ip="10.0.0.6", **PUBLIC)


def test_a_network_of_another_kind_is_told_to_cloudstack(cloud: Cloud) -> None:
    """With the isolation method NetworkExtension the network's broadcast domain comes from here."""
    cloud.details |= {"isolation_method": "NetworkExtension", "broadcast_domain_type": "Lswitch"}
    with pytest.raises(WrongUsage, match="broadcast_uri"):
        cloud.ask("implement-network")
    cloud.details["broadcast_uri"] = "ovn://cs-net-{network_id}"
    assert json.loads(cloud.ask("implement-network")) == {
        "network.broadcast_domain_type": "Lswitch",
        "network.broadcast_uri": f"ovn://cs-net-{cloud.network}",
    }


def test_an_operator_asks_what_runs(cloud: Cloud) -> None:
    """A custom action has its fields beside the details, and its answer is shown to whoever asked."""
    cloud.implemented()

    def acted(action: str) -> Any:
        whole = {"network_id": cloud.network, "action": action, "action-params": {}}
        return json.loads(run(["custom-action", cloud.payload(whole), "60"], {}))

    assert acted("configuration")["interfaces"][0]["addresses"] == ["10.0.0.1/24"]
    assert acted("drift")["has_drifted"] is False
    assert acted("health")[0]["is_well"] is True
    assert acted("metrics")
    assert acted("show")["name"] == cloud.name
    with pytest.raises(WrongUsage, match="no action"):
        acted("reboot")


def test_the_form_before_is_understood(cloud: Cloud, tmp_path: Path) -> None:
    """Arguments, details in the environment, and long payloads in files of Base64."""
    environment = {
        "CS_PHYSICAL_NETWORK_EXTENSION_DETAILS": json.dumps(cloud.details),
        "CS_NETWORK_EXTENSION_DETAILS": "{}",
    }
    where = ["--network-id", cloud.network, "--vlan", "100", "--cidr", "10.0.0.0/24"]
    run(["implement", *where, "--gateway", "10.0.0.1", "--extension-ip", "10.0.0.1"], environment)
    forward = ["--public-ip", "203.0.113.5", "--public-cidr", "203.0.113.5/24", "--private-ip", "10.0.0.7"]
    more = ["--public-port", "22", "--private-port", "22", "--protocol", "tcp"]
    run(["add-port-forward", *where, *forward, *more], environment)
    rules = tmp_path / "rules"
    rules.write_bytes(base64.b64encode(json.dumps(fw(SSH_IN)["fw_rules"]).encode()))
    as_arguments = ["--physical-network-extension-details", json.dumps(cloud.details)]
    run(["apply-fw-rules", *where, "--fw-rules-file", str(rules), *as_arguments], {})
    assert "accept tcp > 198.51.100.0/24 10.0.0.7 22" in cloud.runs
    said = run(["custom-action", *where, "--action", "show"], {**environment, "CS_ACTION_PARAM_ANY": "1"})
    assert json.loads(said)["name"] == cloud.name
    run(["destroy", *where], environment)


def executed(*arguments: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "farsite.cloudstack", *arguments], capture_output=True, text=True, timeout=120
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_executable_says_by_its_exit_code_what_is_wrong(cloud: Cloud) -> None:
    """CloudStack logs the code and what stands on standard error; secrets are in neither."""
    payload = {"payload": {**cloud.fields, "current_details": "{}"}}
    code, told, said = executed("ensure-network-device", cloud.payload(payload), "60")
    assert (code, json.loads(told)["name"], said) == (0, cloud.name, "")
    code, told, said = executed("no-such-command", cloud.payload(payload), "60")
    assert (code, told) == (1, "")
    assert "no-such-command" in said
    assert executed("ensure-network-device", "/nonexistent", "60")[0] == 1
    code, told, said = executed("apply-fw-rules", cloud.payload({"payload": {**cloud.fields, **fw()}}), "60")
    assert (code, told) == (3, "")
    cloud.details["farsite_token"] = "token-of-nobody"
    code, _, said = executed("ensure-network-device", cloud.payload(payload), "60")
    assert code == 3
    assert "token-of-nobody" not in said
    cloud.details["farsite_url"] = "http://127.0.0.1:9"
    assert executed("ensure-network-device", cloud.payload(payload), "60")[0] == 2
