"""Farsite's main job on this machine in a minute: two sites, a chain, packets, faults, healing.

`python -m demo` tells the story and leaves the service running; `python -m demo clean` removes every trace.
"""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from demo.api import ENDED, Api
from demo.process import DATA, FARSITE, HOME, ROOT, Orchestrator, clean
from demo.screen import Screen
from farsite.functions.packaging import build_sample, nsd_sample_names, vnf_sample_names

SITES = ("north", "south")
SERVER_PORTS = {80: "accepted", 8080: "accepted", 9090: "blocked"}
FLOWS = 64


class Story:
    """The demonstration, chapter by chapter."""

    def __init__(self, screen: Screen, *, is_simulated: bool) -> None:
        self.screen = screen
        self.is_simulated = is_simulated
        self.orchestrator = Orchestrator()
        self.api = Api(self.orchestrator)
        self.summary: list[tuple[str, str]] = []
        self.vnfs: dict[str, list[dict[str, Any]]] = {}
        self.ns_id = ""
        self.server_address = ""
        self.nsd_id = ""
        self._seen_members: list[str] = []

    def tell(self) -> None:
        self.start()
        self.register_sites()
        self.onboard()
        self.instantiate()
        if self.is_simulated:
            self.kill_simulated_inspector()
        else:
            self.first_packet()
            self.policies()
            self.counters()
            self.kill_inspector()
        self.kill_orchestrator()
        self.close()

    # -- chapters -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.screen.title("The orchestrator, on its embedded database")
        took_s = self.orchestrator.start()
        self.screen.say(
            f"farsite serve answers at {self.orchestrator.url} after {took_s:.2f} s (SQLite, loopback only)"
        )
        self.summary.append(("orchestrator start-up", f"{took_s:.2f} s"))

    def register_sites(self) -> None:
        self.screen.title("Two sites")
        kind = "simulated" if self.is_simulated else "linux"
        for site in SITES:
            vim = self.api.post("/vims", {"name": site, "type": kind, "site": site})
            details = vim["capability_details"]
            tier = "simulated, no packets" if self.is_simulated else f"tier {details.get('tier', '?')}"
            self.screen.say(
                f"VIM {site}: {vim['state']} ({tier}), tunnel endpoint {vim['tunnel_endpoint'] or 'none'}, "
                f"offers {', '.join(sorted(vim['features']))}"
            )

    def onboard(self) -> None:
        self.screen.title("Packages, as SOL004 archives through the API")
        for name in vnf_sample_names():
            package = self.api.post("/packages")
            self.api.put_archive(f"/packages/{package['id']}/content", build_sample(name))
            package = self.api.until(
                lambda package=package: self.api.get(f"/packages/{package['id']}"),
                lambda seen: seen["state"] in ("ONBOARDED", "ERROR"),
            )
            self.screen.say(f"VNF package {name}: {package['state']} ({package['product_name']})")
        (name,) = nsd_sample_names()
        nsd = self.api.post("/nsds")
        self.api.put_archive(f"/nsds/{nsd['id']}/content", build_sample(name))
        nsd = self.api.until(
            lambda: self.api.get(f"/nsds/{nsd['id']}"), lambda seen: seen["state"] in ("ONBOARDED", "ERROR")
        )
        self.screen.say(f"Service descriptor {name}: {nsd['state']}")
        self.nsd_id = nsd["id"]

    def instantiate(self) -> None:
        self.screen.title("The service: client -> firewall -> {inspector, inspector} -> server")
        self.ns_id = self.api.post("/ns", {"nsd": self.nsd_id, "name": "demo"})["id"]
        began = time.monotonic()
        operation = self.api.post(
            f"/ns/{self.ns_id}/instantiate", {"vims": {"client": "north", "server": "south"}}
        )
        operation = self.api.ended(operation["id"])
        took_s = time.monotonic() - began
        self._insist(operation)
        self.look_at_service()
        names = {vim["id"]: vim["name"] for vim in self.api.get("/vims")}
        for profile, members in self.vnfs.items():
            places = ", ".join(names[vnf["vim_id"]] for vnf in members)
            self.screen.say(f"{profile:10} on {places}")
        self.screen.say(
            f"instantiated in {took_s * 1000:.0f} ms: five functions, one network, one chain on two sites"
        )
        self.summary.append(("service instantiated (5 functions, 2 sites)", f"{took_s * 1000:.0f} ms"))

    def first_packet(self) -> None:
        self.screen.title("Real packets through the chain")
        answer = self.fetch(80)
        self._check(answer["ok"], f"no answer from the server: {answer}")
        elapsed_s = self.screen.elapsed_s
        self.screen.say(
            f"first answer through the chain, connect {answer['connect_ms']:.2f} ms: {answer['body'][:80]}"
        )
        self.screen.say(f"{elapsed_s:.2f} s from the start of the demo to the first packet")
        self.summary.append(("demo start to first packet", f"{elapsed_s:.2f} s"))

    def policies(self) -> None:
        for port, verdict in SERVER_PORTS.items():
            answer = self.fetch(port)
            words = f"{answer['status']} in {answer['total_ms']:.1f} ms" if answer["ok"] else answer["error"]
            self.screen.say(f"port {port}: {words} (the firewall's rule: {verdict})")
            self._check(answer["ok"] is (verdict == "accepted"), f"port {port} should be {verdict}")
        blocked = self._inside("firewall", 0, "GET", "/counters")
        self.screen.say(f"the firewall counts its drops: {self._drops(blocked)}")
        self.summary.append(("port 9090", "blocked by the firewall"))

    def counters(self) -> None:
        self.screen.say(
            f"{FLOWS} flows of TCP and of UDP, each through firewall and one of the inspectors ..."
        )
        for kind in ("tcp", "udp"):
            self._inside("client", 0, "POST", "/traffic", self._order(kind, rate_pps=2000, duration_s=1.0))
            result = self._traffic_result()
            self.screen.say(
                f"{kind}: {result['sent']} sent, {result['received']} answered, {result['lost']} lost, "
                f"round trip p50 {result['rtt_ms']['p50']:.2f} ms, p99 {result['rtt_ms']['p99']:.2f} ms"
            )
            self._check(result["lost"] == 0, f"{kind} lost packets: {result['errors']}")
        rows = self._counter_rows()
        self.screen.table(("hop", "instance", "site", "forward packets", "return packets"), rows)
        shares = [row for row in rows if "inspector" in str(row[0])]
        self._check(
            all(int(row[3]) > 0 and int(row[4]) > 0 for row in shares), "a return path missed its inspector"
        )
        states = [
            self._inside("inspector", at, "GET", "/counters") for at in range(len(self.vnfs["inspector"]))
        ]
        unknown = sum(int(one.get("dropped_no_state", 0)) for one in states)
        self.screen.say(
            f"both inspectors carry flows; packets whose flow an inspector had not seen: {unknown}"
        )
        self._check(unknown == 0, "the return path was not symmetric")
        self.summary.append(
            ("flows over both inspectors", " / ".join(str(row[3]) for row in shares) + " packets")
        )
        self.summary.append(("packets on the wrong inspector", str(unknown)))

    def kill_inspector(self) -> None:
        self.screen.title("An inspector dies")
        self._inside("client", 0, "POST", "/traffic", self._order("udp", rate_pps=3200, duration_s=2.5))
        time.sleep(0.7)
        victim = self.vnfs["inspector"][0]
        pid = self._pid(victim)
        self.screen.say(
            f"{FLOWS} UDP flows at 3,200 packets a second; SIGKILL to inspector {victim['name']} (pid {pid})"
        )
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        heal = self.api.until(
            lambda: self._latest(victim["id"], "HEAL"),
            lambda seen: seen is not None and seen["state"] in ENDED,
        )
        healed_ms = (time.monotonic() - killed_at) * 1000
        self._insist(heal)
        result = self._traffic_result()
        outage_ms = result["longest_outage_ms"] or 0.0
        self.screen.say(
            f"{result['lost']} of {result['sent']} packets lost; longest gap of a flow {outage_ms:.0f} ms"
        )
        self.screen.say(
            f"healed after {healed_ms:.0f} ms: a replacement, configured alike, is in the chain again"
        )
        for alarm in self.api.get("/alarms"):
            if alarm["managed_object_id"] == victim["id"]:
                self.screen.say(
                    f"alarm {alarm['specific_problem'].partition('/')[0]}: {alarm['perceived_severity']} "
                    f"(raised as MAJOR), {alarm['event_type']}, at {alarm['location']}"
                )
        self.look_at_service()
        self._check(self.fetch(80)["ok"], "no answer after the healing")
        self.summary.append(("inspector killed: packets lost", f"{result['lost']} of {result['sent']}"))
        self.summary.append(("inspector killed: longest outage of a flow", f"{outage_ms:.0f} ms"))
        self.summary.append(("inspector killed: replaced after", f"{healed_ms:.0f} ms"))

    def kill_simulated_inspector(self) -> None:
        self.screen.title("An inspector dies (simulated)")
        victim = self.vnfs["inspector"][0]
        body = {"kind": "kill_vnfc", "target": victim["vnfcs"][0]["id"], "settings": {}}
        killed_at = time.monotonic()
        self.api.post(f"/vims/{victim['vim_id']}/faults", body)
        heal = self.api.until(
            lambda: self._latest(victim["id"], "HEAL"),
            lambda seen: seen is not None and seen["state"] in ENDED,
        )
        self._insist(heal)
        healed_ms = (time.monotonic() - killed_at) * 1000
        self.screen.say(
            f"alarm, heal operation {heal['id']}, replaced after {healed_ms:.0f} ms (no packets involved)"
        )
        self.summary.append(("inspector killed: replaced after", f"{healed_ms:.0f} ms (simulated)"))

    def kill_orchestrator(self) -> None:
        self.screen.title("The orchestrator dies in the middle of an instantiation")
        if not self.is_simulated:
            self._inside("client", 0, "POST", "/traffic", self._order("udp", rate_pps=500, duration_s=4.0))
        second = self.api.post("/ns", {"nsd": self.nsd_id, "name": "second"})["id"]
        operation = self.api.post(f"/ns/{second}/instantiate")
        time.sleep(0.15)
        self.orchestrator.kill()
        killed_at = datetime.now(UTC)
        self.screen.say(f"a second service: operation {operation['id']} accepted; SIGKILL 150 ms later")
        took_s = self.orchestrator.start()
        ended = self.api.ended(operation["id"])
        self._insist(ended)
        steps = self.api.get(f"/operations/{operation['id']}")["steps"]
        before = sum(
            one["ended_at"] is not None and datetime.fromisoformat(one["ended_at"]) < killed_at
            for one in steps
        )
        self.screen.say(
            f"started again in {took_s:.2f} s; {before} of {len(steps)} steps were done before the kill, "
            f"the others since: {ended['state']}"
        )
        wanted, standing = self._wanted_and_standing(second)
        self.screen.say(f"{wanted} VNFCs wanted, {standing} stand on the VIMs: nothing doubled, nothing lost")
        self._check(standing == wanted, "something was doubled or lost")
        self.summary.append(
            ("orchestrator killed in an instantiation", f"{ended['state']}, {standing} of {wanted} VNFCs")
        )
        if not self.is_simulated:
            went_on = self._traffic_result()
            self.screen.say(
                f"the first service went on meanwhile: {went_on['sent']} packets sent, {went_on['lost']} lost"
            )
            lost = f"{went_on['lost']} of {went_on['sent']}"
            self.summary.append(("packets lost while the orchestrator was dead", lost))
        self._insist(self.api.ended(self.api.post(f"/ns/{second}/terminate")["id"]))
        _, left = self._wanted_and_standing(second)
        self.screen.say(f"the second service is terminated again; {left} of its VNFCs are left")
        self._check(left == 0, "something was left behind")

    def _wanted_and_standing(self, ns_id: str) -> tuple[int, int]:
        """VNFCs that a service shall have, and those that really stand on the VIMs for it."""
        members = [self.api.get(f"/vnfs/{one['vnf_id']}") for one in self.api.get(f"/ns/{ns_id}")["vnfs"]]
        self._seen_members = [one["id"] for one in members] or self._seen_members
        standing = [
            one
            for vim in self.api.get("/vims")
            for one in self.api.get(f"/vims/{vim['id']}/resources")
            if one["owner"] in self._seen_members and one["kind"] == "COMPUTE"
        ]
        return sum(len(one["vnfcs"]) for one in members), len(standing)

    def close(self) -> None:
        self.screen.title("Summary")
        self.screen.table(("what", "figure"), self.summary)
        self.screen.say("The service is left running. Go on by hand:")
        farsite = FARSITE.relative_to(ROOT) if FARSITE.is_relative_to(ROOT) else FARSITE
        print(f"""
    export FARSITE_DATA_DIR={DATA}
    {farsite} ns list
    {farsite} ns show demo
    {farsite} ns counters demo
    {farsite} vnf list
    {farsite} alarm list
    {farsite} op list
    {farsite} vnf scale demo-inspector-1 --aspect workers --wait
    {farsite} ns terminate demo --wait

    make clean-demo     removes every trace
""")

    # -- details --------------------------------------------------------------------------------------

    def look_at_service(self) -> None:
        ns = self.api.get(f"/ns/{self.ns_id}")
        self.vnfs = {}
        for member in ns["vnfs"]:
            vnf = self.api.get(f"/vnfs/{member['vnf_id']}")
            self.vnfs.setdefault(member["profile"], []).append(vnf)
        server = self.vnfs["server"][0]
        ports = server["vnfcs"][0]["ports"]
        addresses = [address for port in ports for address in port["addresses"]]
        self.server_address = addresses[0].partition("/")[0] if addresses else ""

    def fetch(self, port: int) -> Any:
        order = {"target": self.server_address, "port": port, "path": "/", "timeout_s": 0.7}
        return self._inside("client", 0, "POST", "/fetch", order)

    def _inside(self, profile: str, at: int, method: str, path: str, body: object | None = None) -> Any:
        vnf = self.vnfs[profile][at]
        return self.api.inside(vnf["id"], vnf["vnfcs"][0]["id"], method, path, body)

    def _order(self, kind: str, *, rate_pps: int, duration_s: float) -> dict[str, object]:
        return {"kind": kind, "target": self.server_address, "port": 8080, "flows": FLOWS,
                "rate_pps": rate_pps, "duration_s": duration_s}  # fmt: skip

    def _traffic_result(self) -> Any:
        return self.api.until(
            lambda: self._inside("client", 0, "GET", "/traffic"), lambda seen: not seen["running"]
        )

    def _counter_rows(self) -> list[tuple[str, str, str, int, int]]:
        names = {vim["id"]: vim["name"] for vim in self.api.get("/vims")}
        who = {
            vnfc["id"]: (vnf["name"], names[vnf["vim_id"]])
            for members in self.vnfs.values()
            for vnf in members
            for vnfc in vnf["vnfcs"]
        }
        rows: list[tuple[str, str, str, int, int]] = []
        for chain in self.api.get(f"/ns/{self.ns_id}/chains"):
            for one in self.api.get(f"/ns/{self.ns_id}/chains/{chain['id']}/counters"):
                name, site = who.get(one["vnfc_id"], (one["vnfc_id"], "?"))
                rows.append((one["hop"], name, site, one["forward_packets"], one["reverse_packets"]))
        return rows

    def _drops(self, counters: dict[str, Any]) -> str:
        return json.dumps({key: value for key, value in counters.items() if "drop" in key})

    def _pid(self, vnf: dict[str, Any]) -> int:
        resources = self.api.get(f"/vims/{vnf['vim_id']}/resources")
        for one in resources:
            if one["owner"] == vnf["id"] and one["kind"] == "COMPUTE" and one["is_alive"]:
                return int(one["details"]["pid"])
        raise SystemExit(f"No living process of {vnf['name']} among {resources}")

    def _latest(self, instance_id: str, kind: str) -> Any:
        for operation in self.api.get(f"/operations?filter=(eq,instance_id,{instance_id})"):
            if operation["type"] == kind:
                return operation
        return None

    def _insist(self, operation: dict[str, Any]) -> None:
        self._check(
            operation["state"] == "COMPLETED",
            f"operation {operation['id']}: {operation.get('error')}",
        )

    def _check(self, is_so: bool, words: str) -> None:
        if not is_so:
            raise SystemExit(f"The demonstration failed: {words}\nThe log is {HOME / 'farsite.log'}.")


def main() -> int:
    if sys.argv[1:] == ["clean"]:
        clean()
        return 0
    clean()
    # Also when the shell that started us in the background has SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    screen = Screen()
    print("Farsite demonstration. Ctrl-C stops it and removes every trace.")
    HOME.mkdir(mode=0o700)
    missing = os.environ.get("DEMO_SIMULATED", "") or _what_forbids_linux_sites()
    if missing:
        print(f"\nThis host does not allow network namespaces to this user:\n{missing}\n"
              f"The same story follows on the simulated driver: no packets, all else real.")  # fmt: skip
    try:
        Story(screen, is_simulated=bool(missing)).tell()
    except KeyboardInterrupt:
        print("\nStopped. Removing every trace ...")
        clean()
        return 130
    return 0


def _what_forbids_linux_sites() -> str:
    """Why Linux sites cannot be made here, in words that say how to allow it; empty when they can."""
    answer = subprocess.run(
        [str(FARSITE), "doctor", "-o", "json"], capture_output=True, text=True, check=False, timeout=60
    )
    (linux,) = (one for one in json.loads(answer.stdout) if one["what"] == "VIM type linux")
    return "" if linux["is_good"] else f"{linux['found']}\n{linux['remedy']}"


if __name__ == "__main__":
    sys.exit(main())
