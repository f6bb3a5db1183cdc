"""The adapter of dnsmasq, as a client sees it that asks for an address and for names."""

import json
import os
import shutil
from pathlib import Path

import pytest
from bench_dnsmasq import dnsmasq, serving
from bench_parts import applied, cable, done, namespace, opening

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for network namespaces"),
    pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not there"),
    pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not there"),
]

# A client without programs of anybody. It prints the address offered, the router, and what two names mean.
CLIENT = """
import json, socket, struct, sys
mac = bytes.fromhex(sys.argv[1])
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(10)
asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lan")
asking.bind(("", 68))
discover = struct.pack("!4BIHH16s16s", 1, 1, 6, 0, 7, 0, 0x8000, b"", mac) + bytes(192)
discover += bytes.fromhex("63825363") + bytes([53, 1, 1, 55, 3, 1, 3, 6, 255])
asking.sendto(discover, ("255.255.255.255", 67))
offer = asking.recv(2000)
options, rest = {}, offer[240:]
while rest[0] != 255:
    options[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]

def address_of(name):
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(10)
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    asking.sendto(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1", ("10.0.0.1", 53))
    return socket.inet_ntoa(asking.recv(2000)[-4:])

print(json.dumps([
    socket.inet_ntoa(offer[16:20]), socket.inet_ntoa(options[3]),
    address_of("www.example.org"), address_of("any.apps.example.org"),
]))
"""


async def test_a_client_gets_the_address_and_the_names_of_the_document(tmp_path: Path) -> None:
    """What was configured is what a machine is told that knows nothing."""
    async with namespace() as server, namespace() as client:
        await cable(server, "lan", client, "lan")
        await done("ip", "-n", server, "addr", "add", "10.0.0.1/24", "dev", "lan")
        parameters = dnsmasq(tmp_path / "dnsmasq")
        within = ("ip", "netns", "exec", server)
        adapter = await opening("dnsmasq", tmp_path, parameters, within)()
        await applied(adapter, serving("10.0.0.80", 3600), "1")
        assert [one.said for one in await adapter.health() if not one.is_well] == []
        await done("ip", "-n", client, "addr", "add", "10.0.0.7/24", "dev", "lan")

        asks = ("ip", "netns", "exec", client, "python3", "-c", CLIENT)
        assert json.loads(await done(*asks, "020000000001")) == [
            "10.0.0.50",
            "10.0.0.1",
            "10.0.0.80",
            "10.0.0.81",
        ]
        offered = json.loads(await done(*asks, "020000000002"))[0]

    assert 100 <= int(offered.rpartition(".")[2]) <= 199


async def test_health_tells_when_a_name_is_not_answered(tmp_path: Path) -> None:
    """A server that runs and does not know its names is as bad as none."""
    async with namespace() as server, namespace() as client:
        await cable(server, "lan", client, "lan")
        await done("ip", "-n", server, "addr", "add", "10.0.0.1/24", "dev", "lan")
        parameters = dnsmasq(tmp_path / "dnsmasq")
        adapter = await opening("dnsmasq", tmp_path, parameters, ("ip", "netns", "exec", server))()
        await applied(adapter, serving("10.0.0.80", 3600), "1")
        own = Path(parameters["directory"]) / "farsite-dns.conf"
        own.write_text(own.read_text() + "host-record=new.example.org,10.0.0.9\n")

        said = [one.said for one in await adapter.health() if not one.is_well]
    assert len(said) == 1
    assert said[0].startswith("new.example.org")
