"""The built-in functions between real interfaces: what is promised of packets is tried with packets."""

import json
import os
import signal
import subprocess
import time

import pytest
from functions_lab import Lab, Node, Running, _take_down, address, until

WIRE = [{"name": "inside"}, {"name": "outside"}]
TAP = [{"name": "ingress"}, {"name": "egress"}]
SERVER = [{"name": "data", "mac": "", "addresses": ["10.0.0.2/24", "fd00::2/64"]}]
CLIENT = [{"name": "data", "mac": "", "addresses": ["10.0.0.1/24", "fd00::1/64"]}]
TARGETS = pytest.mark.parametrize("target", ["10.0.0.2", "fd00::2"])
pytestmark = pytest.mark.linux


def chain(lab: Lab, *kinds: str, **configurations: object) -> tuple[Node, list[Running], Node]:
    """client - function - ... - server, on one link layer; the functions run."""
    client, server = lab.node(), lab.node()
    left, left_port = client, "data"
    middles: list[tuple[Node, str]] = []
    for kind in kinds:
        middle = lab.node()
        first, second = (port["name"] for port in (WIRE if kind == "firewall" else TAP))
        lab.wire(left, left_port, middle, first)
        left, left_port = middle, second
        middles.append((middle, kind))
    lab.wire(left, left_port, server, "data")
    address(client, "data", *CLIENT[0]["addresses"])
    address(server, "data", *SERVER[0]["addresses"])
    running = [
        middle.start(kind, WIRE if kind == "firewall" else TAP, configurations.get(kind))
        for middle, kind in middles
    ]
    return client, running, server


def ended(probe: Running, within_s: float = 10.0):
    """The result of a run once it is over."""
    return until(
        lambda: (result := probe.http("GET", "/traffic")[1])["running"] is False and result, within_s=within_s
    )


# ---------------------------------------------------------------------------------- what passes unchanged


def _serve_bulk(host, port, size):
    import hashlib
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
        listener.settimeout(10)
        peer, _ = listener.accept()
        digest, left = hashlib.sha256(), size
        while left:
            data = peer.recv(1 << 20)
            if not data:
                break
            digest.update(data)
            left -= len(data)
        peer.sendall(digest.hexdigest().encode())
        peer.close()
    return


def _send_bulk(host, port, size):
    import hashlib
    import os
    import socket
    import time

    data = os.urandom(1 << 20)
    digest = hashlib.sha256()
    for _ in range(100):
        try:
            peer = socket.create_connection((host, port), timeout=10)
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    started = time.monotonic()
    with peer:
        for _ in range(size >> 20):
            digest.update(data)
            peer.sendall(data)
        said = peer.recv(64)
        while len(said) < 64:
            said += peer.recv(64)
    return [said.decode() == digest.hexdigest(), time.monotonic() - started]


@TARGETS
def test_bulk_tcp_with_all_offloads_on_arrives_unharmed_through_two_functions(lab: Lab, target: str):
    """Hosts hand over unfinished checksums and uncut frames; a relay that spoils either breaks everything."""
    client, (firewall, inspector), server = chain(lab, "firewall", "inspector")
    size = 64 << 20
    server.ask(_serve_bulk, target, 5001, size)
    is_same, seconds = client.run(_send_bulk, target, 5001, size)
    server.answer()
    assert is_same
    counters = firewall.counters()["inside_to_outside"]
    mean = counters["forwarded_bytes"] / counters["forwarded_packets"]
    print(f"TCP to {target}: {size * 8 / seconds / 1e9:.2f} Gb/s, {mean:.0f} bytes a frame on average")
    assert mean > 1514, "frames came through whole: segmentation is left to the end"
    assert inspector.counters()["egress_to_ingress"]["forwarded_packets"] > 0


def _flood(host, port, seconds):
    import socket
    import struct
    import time

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect((host, port))
    end, number, padding = time.monotonic() + seconds, 0, bytes(56)
    while time.monotonic() < end:
        for _ in range(32):
            try:
                sender.send(struct.pack("!Q", number) + padding)
                number += 1
            except OSError:
                pass
    return number


def _resolve(host):
    """Have the address resolved: nobody listens there, and saying so needs the whole way and back."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(1)
        asker.connect((host, 7))
        asker.send(b"?")
        try:
            asker.recv(1)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return False


def _sink(host, port):
    import socket
    import struct
    import time

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sink = socket.socket(family, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sink.bind((host, port))
    sink.settimeout(5)
    received, highest, behind, first = 0, -1, 0, None
    while True:
        try:
            (number,) = struct.unpack_from("!Q", sink.recv(2048))
        except TimeoutError:
            break
        if first is None:
            first = time.monotonic()
            sink.settimeout(0.5)
        last = time.monotonic()
        received += 1
        behind += number < highest
        highest = max(highest, number)
    return [received, behind, last - first]


def test_small_packets_keep_their_order_under_more_load_than_can_be_carried(lab: Lab):
    """Losing under overload is a wire's right; reordering is not. The rate is printed, never asserted."""
    client, (firewall,), server = chain(lab, "firewall")
    # A veth queues per CPU, so a process that moves to another CPU while it sends can overtake itself. That
    # is the kernel's reordering, as is what waited for ARP; with both excluded, what is left would be ours.
    cpus = sorted(os.sched_getaffinity(0))
    for place, pid in enumerate((client.pid, firewall.process.pid)):
        os.sched_setaffinity(pid, {cpus[place % len(cpus)]})
    client.run(_resolve, "10.0.0.2")
    server.ask(_sink, "10.0.0.2", 9)
    sent = client.run(_flood, "10.0.0.2", 9, 1.0)
    received, behind, seconds = server.answer()
    missed = firewall.counters()["inside_to_outside"]["missed_packets"]
    rate = received / seconds
    print(f"UDP 64 B: sent {sent}, carried {received} at {rate:.0f} packets/s, missed {missed}")
    assert behind == 0
    assert received > 1000


def _raw_send(name, frames):
    import socket

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((name, 0))
        for text in frames:
            raw.send(bytes.fromhex(text))
    return


def _raw_receive(name, marker, count, wait_s):
    """Frames that come in and end with the marker, as hex, with a stripped VLAN tag put back."""
    import socket
    import struct

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.setsockopt(263, 8, 1)
        raw.setsockopt(263, 23, 1)
        raw.bind((name, 3))
        print("listening", flush=True)
        raw.settimeout(wait_s)
        frames = []
        try:
            while len(frames) < count:
                data, control, _flags, _address = raw.recvmsg(65536, 64)
                status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", control[0][2])
                if status & 16:
                    data = data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
                if data.hex().endswith(marker):
                    frames.append(data.hex())
        except TimeoutError:
            pass
    return frames


def _exchange(sender: Node, receiver: Node, frames: list[str], *, expect: int) -> list[str]:
    """Send raw frames, alike at their end, from one side and tell which of them arrived at the other."""
    receiver.ask(_raw_receive, "data", frames[0][-16:], max(expect, 1), 5.0 if expect else 0.5)
    receiver.wait_for_word()
    sender.run(_raw_send, "data", frames)
    return receiver.answer()


BROADCAST = "ffffffffffff" + "020000000001"


def test_frames_that_are_not_ip_and_vlan_tags_pass_unchanged(lab: Lab):
    """The site agent's data-path probe and other people's VLANs are none of a firewall's business."""
    client, (firewall,), server = chain(lab, "firewall", firewall={"default_action": "drop"})
    probe = BROADCAST + "88b5" + "5a" * 60
    assert _exchange(client, server, [probe], expect=1) == [probe]
    assert _exchange(server, client, [probe], expect=1) == [probe]
    tagged = BROADCAST + "8100" + "2064" + "88b5" + "a5" * 60
    assert _exchange(client, server, [tagged], expect=1) == [tagged]
    double = BROADCAST + "88a8" + "0007" + "8100" + "2064" + "88b5" + "a5" * 60
    (arrived,) = _exchange(client, server, [double], expect=1)
    assert arrived == double
    assert firewall.counters()["unfiltered"]["inside_to_outside"] >= 3


# ------------------------------------------------------------------------------------------- the firewall


@TARGETS
def test_a_blocked_port_is_blocked_and_replies_of_an_open_one_pass(lab: Lab, target: str):
    """What every firewall is bought for."""
    rules = [{"action": "accept", "protocol": "tcp", "destination_ports": [80]}]
    client, (firewall,), server = chain(lab, "firewall", firewall={"default_action": "drop", "rules": rules})
    server.start("webserver", SERVER, {"ports": [9090]})
    probe = client.start("probe", CLIENT)
    _, fetched = probe.http("POST", "/fetch", {"target": target})
    assert fetched["ok"], fetched
    told = json.loads(fetched["body"])
    assert told["vnfc"] == "vnfc-webserver"
    assert told["client"] == target.replace("2", "1")
    _, blocked = probe.http("POST", "/fetch", {"target": target, "port": 9090, "timeout_s": 0.3})
    assert (blocked["ok"], blocked["error"]) == (False, "timed out while connecting")
    counters = firewall.counters()
    assert counters["dropped"]["inside_to_outside"]["default_action"] >= 1
    assert counters["rules"][0]["accepted_flows"] == 1


def test_changed_rules_hold_for_flows_that_are_open_already(lab: Lab):
    """Blocking an attacker must also end what he has open."""
    client, (firewall,), server = chain(lab, "firewall")
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    order = {
        "kind": "udp",
        "target": "10.0.0.2",
        "port": 80,
        "rate_pps": 200,
        "duration_s": 30,
        "timeout_s": 0.2,
    }
    assert probe.http("POST", "/traffic", order)[0] == 202
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > 20)
    status, told = firewall.http("PUT", "/configuration", {"rules": [{"action": "drop", "protocol": "udp"}]})
    assert status == 200
    assert told["rules"] == [{"action": "drop", "protocol": "udp", "direction": "any"}]
    until(lambda: probe.http("GET", "/traffic")[1]["lost"] > 20)
    before = probe.http("GET", "/traffic")[1]["received"]
    assert firewall.counters()["rules"][0]["dropped_packets"] > 20
    assert firewall.http("PUT", "/configuration", {})[0] == 200
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > before + 20)
    _, result = probe.http("DELETE", "/traffic")
    assert not result["running"]
    assert {outage["flow"] for outage in result["outages"]} == set(range(8))


def test_a_refused_configuration_changes_nothing_and_names_every_fault(lab: Lab):
    """An operator corrects all mistakes at once, with the old rules still in force."""
    client, (firewall,), _ = chain(lab, "firewall", firewall={"default_action": "drop"})
    bad = {"default_action": "deny", "rules": [{"action": "accept", "destination_ports": ["http"]}, 7]}
    status, told = firewall.http("PUT", "/configuration", bad)
    assert status == 400
    assert {fault["path"] for fault in told["faults"]} == {
        "default_action",
        "rules[0].destination_ports[0]",
        "rules[0].destination_ports",
        "rules[1]",
    }
    assert all(fault["expected"] for fault in told["faults"])
    assert firewall.http("GET", "/configuration")[1]["default_action"] == "drop"
    assert client is not None


def _echo_large(host, port, size):
    import os
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(3)
        sender.connect((host, port))
        data = os.urandom(size)
        sender.send(data)
        return sender.recv(65536) == data


@TARGETS
def test_fragmented_packets_pass_whole_with_the_flow_they_belong_to(lab: Lab, target: str):
    """Large datagrams come in pieces, and only the first piece has ports."""
    rules = [{"action": "accept", "protocol": "udp", "destination_ports": [80]}]
    client, (firewall, inspector), server = chain(
        lab, "firewall", "inspector", firewall={"default_action": "drop", "rules": rules}
    )
    server.start("webserver", SERVER)
    assert client.run(_echo_large, target, 80, 5000)
    assert firewall.counters()["dropped"] == {"inside_to_outside": {}, "outside_to_inside": {}}
    assert inspector.counters()["ingress_to_egress"]["forwarded_packets"] >= 4


@TARGETS
def test_an_icmp_error_comes_back_to_whom_it_concerns_and_no_other_passes(lab: Lab, target: str):
    """Path MTU discovery and refusals live on these, and an attacker would like to forge them."""
    rules = [{"action": "accept", "protocol": "udp", "destination_ports": [7]}]
    client, (firewall, inspector), server = chain(
        lab, "firewall", "inspector", firewall={"default_action": "drop", "rules": rules}
    )
    assert client.run(_resolve, target), "port unreachable passed both functions"
    assert not server.run(_resolve, "10.0.0.1" if "." in target else "fd00::1")
    assert inspector.counters()["dropped"]["egress_to_ingress"]["no_state"] >= 1
    assert firewall.counters()["dropped"] == {"inside_to_outside": {}, "outside_to_inside": {}}


def test_a_later_fragment_without_its_first_one_is_dropped(lab: Lab):
    """Otherwise fragments carry past the firewall what it would have refused."""
    client, (firewall,), server = chain(lab, "firewall")
    head = "4500" + "001c" + "0001" + "0005" + "4011" + "0000" + "0a000001" + "0a000002"
    assert _exchange(client, server, [BROADCAST + "0800" + head + "0badf00d" * 2], expect=0) == []
    assert firewall.counters()["dropped"]["inside_to_outside"] == {"fragment_without_first": 1}


def test_a_replaced_firewall_picks_up_connections_that_its_rules_accept(lab: Lab):
    """Healing a firewall must not cut every connection through it."""
    configuration = {
        "default_action": "drop",
        "rules": [{"action": "accept", "protocol": "tcp", "destination_ports": [80]}],
    }
    client, (firewall,), server = chain(lab, "firewall", firewall=configuration)
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    order = {
        "kind": "tcp",
        "target": "10.0.0.2",
        "port": 80,
        "rate_pps": 100,
        "duration_s": 30,
        "timeout_s": 5,
        "flows": 4,
    }
    assert probe.http("POST", "/traffic", order)[0] == 202
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > 20)
    assert firewall.stop(signal.SIGKILL) == -signal.SIGKILL
    firewall.node.start("firewall", WIRE, configuration)
    before = probe.http("GET", "/traffic")[1]["received"]
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > before + 20)
    _, result = probe.http("DELETE", "/traffic")
    assert result["errors"] == {}, "no connection was cut"


# ------------------------------------------------------------------------------------------ the inspector


@TARGETS
def test_an_inspector_drops_the_middle_of_connections_it_did_not_see_begin(lab: Lab, target: str):
    """This is what proves that both directions of a flow are steered through the same instance."""
    client, (inspector,), server = chain(lab, "inspector")
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    order = {
        "kind": "tcp",
        "target": target,
        "port": 80,
        "rate_pps": 100,
        "duration_s": 30,
        "timeout_s": 0.3,
        "flows": 2,
    }
    assert probe.http("POST", "/traffic", order)[0] == 202
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > 20)
    assert probe.http("GET", "/traffic")[1]["lost"] == 0
    inspector.stop(signal.SIGKILL)
    forgetful = inspector.node.start("inspector", TAP)
    until(lambda: forgetful.counters()["dropped_no_state"] > 0)
    # Each connection is lost once; the probe opens another one, which the inspector sees begin.
    before = probe.http("GET", "/traffic")[1]["received"]
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > before + 20)
    _, result = probe.http("DELETE", "/traffic")
    # While no inspector runs, one that is opened anew does not even come up; how many depends on the moment.
    result["errors"].pop("timed out while connecting", None)
    assert result["errors"] == {"timed out waiting for the answer": 2}
    assert {outage["flow"] for outage in result["outages"]} == {0, 1}


def test_an_inspector_lets_nothing_begin_from_the_egress_side(lab: Lab):
    """A reverse packet of an unknown flow means that the forward one went elsewhere."""
    client, (inspector,), server = chain(lab, "inspector")
    client.start("webserver", CLIENT)
    probe = server.start("probe", SERVER)
    _, fetched = probe.http("POST", "/fetch", {"target": "10.0.0.1", "timeout_s": 0.3})
    assert fetched["error"] == "timed out while connecting"
    order = {
        "kind": "udp",
        "target": "fd00::1",
        "port": 80,
        "rate_pps": 100,
        "duration_s": 0.2,
        "timeout_s": 0.1,
    }
    probe.http("POST", "/traffic", order)
    result = ended(probe)
    assert (result["received"], result["lost"]) == (0, result["sent"])
    counters = inspector.counters()
    assert (
        counters["dropped"]["egress_to_ingress"]["no_state"] == counters["dropped_no_state"] > result["sent"]
    )


def test_patterns_are_counted_and_dropped_as_configured(lab: Lab):
    """Inspection of content is what an inspector is for."""
    patterns = [{"name": "seen", "text": "GET /"}, {"name": "evil", "text": "/bytes/666", "action": "drop"}]
    client, (inspector,), server = chain(lab, "inspector", inspector={"patterns": patterns})
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    assert probe.http("POST", "/fetch", {"target": "10.0.0.2", "path": "/bytes/66"})[1]["ok"]
    _, evil = probe.http("POST", "/fetch", {"target": "10.0.0.2", "path": "/bytes/666", "timeout_s": 0.4})
    assert evil["error"] == "timed out waiting for the answer"
    counters = inspector.counters()
    assert counters["matched"]["evil"] >= 1
    assert counters["matched"]["seen"] >= 2
    assert counters["dropped"]["ingress_to_egress"]["pattern"] == counters["matched"]["evil"]


# ---------------------------------------------------------------------------------------- ports and health


def _remove(name):
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("del", index=ip.link_lookup(ifname=name)[0])


def test_a_port_that_goes_down_is_told_and_works_again_when_it_is_up(lab: Lab):
    """Health must say what packets would find, and no restart may be needed."""
    client, (firewall,), server = chain(lab, "firewall")
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    assert firewall.http("GET", "/health")[1]["passes_packets"] is True
    firewall.node.run(_take_down, "outside")
    _, health = firewall.http("GET", "/health")
    assert (health["status"], health["passes_packets"]) == ("degraded", False)
    firewall.node.bring_up("outside")
    until(lambda: firewall.http("GET", "/health")[1]["status"] == "ok")
    until(lambda: probe.http("POST", "/fetch", {"target": "10.0.0.2", "timeout_s": 0.5})[1]["ok"])


def test_a_port_that_was_taken_away_and_made_anew_is_used_again(lab: Lab):
    """An agent that repairs a link gives the new interface the old name."""
    client, (firewall,), server = chain(lab, "firewall")
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    client.run(_remove, "data")
    until(lambda: firewall.http("GET", "/health")[1]["status"] == "degraded")
    lab.wire(client, "data", firewall.node, "inside")
    address(client, "data", "10.0.0.1/24")
    until(lambda: firewall.http("GET", "/health")[1]["status"] == "ok")
    until(lambda: probe.http("POST", "/fetch", {"target": "10.0.0.2", "timeout_s": 0.5})[1]["ok"])


# ---------------------------------------------------------------------------------------------- the probe


def test_an_outage_is_measured_for_every_flow_it_hit(lab: Lab):
    """The demonstration's figures (packets lost, milliseconds) come from here."""
    client, (firewall,), server = chain(lab, "firewall")
    server.start("webserver", SERVER)
    probe = client.start("probe", CLIENT)
    order = {
        "kind": "udp",
        "target": "10.0.0.2",
        "port": 80,
        "flows": 4,
        "rate_pps": 400,
        "duration_s": 60,
        "timeout_s": 0.3,
    }
    probe.http("POST", "/traffic", order)
    assert probe.http("POST", "/traffic", order)[0] == 409
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > 40)
    assert probe.http("GET", "/traffic")[1]["lost"] == 0
    firewall.node.run(_take_down, "outside")
    cut_at = time.monotonic()
    until(lambda: probe.http("GET", "/traffic")[1]["lost"] > 40)
    firewall.node.bring_up("outside")
    cut_ms = (time.monotonic() - cut_at) * 1000
    before = probe.http("GET", "/traffic")[1]["received"]
    until(lambda: probe.http("GET", "/traffic")[1]["received"] > before + 40)
    _, result = probe.http("DELETE", "/traffic")
    for flow in range(4):
        longest = max(outage["ms"] for outage in result["outages"] if outage["flow"] == flow)
        assert 200 < longest < cut_ms + 1500
    assert sum(outage["lost"] for outage in result["outages"]) == result["lost"]
    assert result["received"] + result["lost"] == result["sent"]
    assert len({flow["source_port"] for flow in result["per_flow"]}) == 4


@pytest.mark.parametrize("kind", ["udp", "tcp", "http"])
@TARGETS
def test_traffic_of_every_kind_comes_back(lab: Lab, kind: str, target: str):
    """A probe that loses packets by itself would blame the chain."""
    client, server = lab.node(), lab.node()
    lab.wire(client, "data", server, "data")
    address(client, "data", *CLIENT[0]["addresses"])
    address(server, "data", *SERVER[0]["addresses"])
    server.start("webserver", SERVER)
    order = {
        "kind": kind,
        "target": target,
        "port": 80,
        "flows": 4,
        "rate_pps": 200,
        "duration_s": 0.5,
        "timeout_s": 1.0,
    }
    probe = client.start("probe", CLIENT, {"traffic": order})
    result = ended(probe)
    assert result["sent"] + result["skipped"] == 100
    assert (result["received"], result["lost"], result["out_of_order"]) == (result["sent"], 0, 0)
    assert 0 < result["rtt_ms"]["p50"] <= result["rtt_ms"]["p99"] <= result["rtt_ms"]["max"]
    assert probe.counters()["last_run"] == {name: result[name] for name in ("sent", "received", "lost")}


def test_a_fetch_that_fails_says_why_in_words(lab: Lab):
    """Operators read these words in the demonstration and in alarms."""
    client, server = lab.node(), lab.node()
    lab.wire(client, "data", server, "data")
    address(client, "data", "10.0.0.1/24")
    address(server, "data", "10.0.0.2/24")
    probe = client.start("probe", CLIENT)
    words = {
        target: probe.http("POST", "/fetch", {"target": target, "timeout_s": 0.2})[1]["error"]
        for target in ("10.0.0.2", "10.0.0.3", "192.0.2.1")
    }
    assert words == {
        "10.0.0.2": "connection refused",
        "10.0.0.3": "timed out while connecting",
        "192.0.2.1": "network unreachable",
    }
    assert probe.http("POST", "/fetch", {"target": "server", "port": 0})[0] == 400


# ------------------------------------------------------------------------------------ processes and bounds


def test_functions_are_ready_soon(lab: Lab):
    """Healing waits for this. The times are printed, never asserted."""
    node = lab.node()
    for name in ("inside", "outside"):
        lab.wire(node, name, lab.node(), name)
    for kind in ("firewall", "inspector", "webserver", "probe"):
        best = []
        for _ in range(3):
            running = node.start(kind, WIRE)
            best.append(running.ready_after_s)
            running.stop()
        print(f"{kind}: ready after {min(best) * 1000:.0f} ms")


def test_as_process_one_it_buries_orphans_and_ends_on_sigterm(lab: Lab):
    """Process one of a namespace ignores signals it does not handle, and inherits every orphan."""
    node = lab.node()
    running = node.start("webserver", pid_namespace=True)
    inner = until(lambda: node.run(_child_of, running.process.pid))
    enter = [
        "nsenter",
        "--target",
        str(inner),
        "--pid",
        *(["--user", "--preserve-credentials"] if os.geteuid() else []),
    ]
    subprocess.run([*enter, "sh", "-c", "sleep 0.05 & sleep 0.05 &"], check=True)
    until(lambda: node.run(_child_of, inner) == 0)
    node.run(_terminate, inner)
    assert running.process.wait(5) == 0


def _child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    return int(children[0]) if children else 0


def _terminate(pid):
    import os
    import signal

    os.kill(pid, signal.SIGTERM)


def test_a_function_with_a_bad_configuration_does_not_start_and_says_why(lab: Lab):
    """The site agent hands these words on as the reason of a failed deployment."""
    node = lab.node()
    running = Running(node, "firewall", WIRE, {"default_action": "deny", "rule": []})
    assert not running.wait_ready()
    assert running.process.wait(5) == 78
    words = running.words()
    assert 'default_action: "deny" (expected one of accept, drop)' in words
    assert "rule: an unknown field" in words
    missing = Running(node, "firewall", WIRE, {})
    assert not missing.wait_ready()
    assert "ports.inside" in missing.words()
    unknown = Running(node, "router", [], {})
    assert not unknown.wait_ready()
    assert unknown.process.wait(5) == 64
    assert "firewall, inspector, probe, webserver" in unknown.words()


def _talk(payload, port=8080):
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(bytes.fromhex(payload))
        peer.settimeout(1)
        said = b""
        try:
            while part := peer.recv(65536):
                said += part
        except TimeoutError:
            pass
        except ConnectionResetError:
            pass
    return said.decode("latin-1")


def test_the_management_interface_bears_whatever_is_sent_to_it(lab: Lab):
    """It answers health queries; it must do so after any nonsense."""
    node = lab.node()
    running = node.start("webserver")
    cases = {
        b"\r\n\r\n": "400",
        b"GET / HTTP/3.0\r\n\r\n": "505",
        b"GET /health HTTP/1.1\r\nbroken\r\n\r\n": "400",
        b"PUT /configuration HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n": "413",
        b"PUT /configuration HTTP/1.1\r\nContent-Length: -1\r\n\r\n": "400",
        b"PUT /configuration HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": "400",
        b"PUT /configuration HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n": "411",
        b"GET /health HTTP/1.1\r\nX: " + b"x" * 40000: "431",
    }
    for sent, status in cases.items():
        said = node.run(_talk, sent.hex())
        assert said.startswith(f"HTTP/1.1 {status}"), (sent[:60], said[:100])
        assert "application/problem+json" in said
    assert running.http("DELETE", "/health")[0] == 405
    assert running.http("GET", "/nowhere")[0] == 404
    assert running.http("PUT", "/configuration", {"port": 99999})[0] == 400
    pipelined = b"GET /health HTTP/1.1\r\n\r\n" * 500 + b"GET /counters HTTP/1.1\r\nConnection: close\r\n\r\n"
    said = node.run(_talk, pipelined.hex())
    assert said.count("HTTP/1.1 200 OK") == 501
    assert said.rindex('"requests"') > said.rindex('"status"')


def test_a_webserver_moves_to_other_ports_and_keeps_those_it_has(lab: Lab):
    """Configuration is applied whole or not at all, and connections on kept ports live on."""
    client, server = lab.node(), lab.node()
    lab.wire(client, "data", server, "data")
    address(client, "data", "10.0.0.1/24")
    address(server, "data", "10.0.0.2/24")
    web = server.start("webserver", [{"name": "data", "addresses": ["10.0.0.2/24"]}], {"ports": [8080]})
    probe = client.start("probe", CLIENT)
    assert web.http("GET", "/health")[1]["listening"] == ["10.0.0.2:80", "10.0.0.2:8080"]
    assert web.http("PUT", "/configuration", {"port": 80, "ports": [8081]})[0] == 200
    ports = {
        port: probe.http("POST", "/fetch", {"target": "10.0.0.2", "port": port, "timeout_s": 0.5})[1]["ok"]
        for port in (80, 8080, 8081)
    }
    assert ports == {80: True, 8080: False, 8081: True}
    big = probe.http("POST", "/fetch", {"target": "10.0.0.2", "path": "/bytes/20000000", "timeout_s": 5})[1]
    assert (big["ok"], big["body_bytes"]) == (True, 20_000_000)
