"""Real Linux sites with a management network of their own: the service, its agents and its functions are real
processes, and what is cut is cut by nftables rules.

The test's thread, and so the service that it starts, lives in a network namespace of its own, `office`. Every
site has a cable to it (a veth pair) with an address, which its host answers at.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farsite.model.ids import VimId
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, holder, namespaces
from service_bench import Service

BOUND_S = 90.0
NEEDS = ("ip", "nft", "nsenter")
MANAGEMENT = "192.0.2"


def what_is_missing() -> str:
    """Why cables cannot be laid here; empty when they can."""
    if os.geteuid() != 0:
        return "laying cables between namespaces needs root"
    missing = [one for one in NEEDS if shutil.which(one) is None]
    return f"{', '.join(missing)} is not there" if missing else ""


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextmanager
def office() -> Iterator[None]:
    """This thread, and all threads and processes that it starts, in a network namespace with a switch."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    try:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "addr", "add", f"{MANAGEMENT}.1/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")
        yield
    finally:
        namespaces.enter(home, namespaces.CLONE_NEWNET)
        os.close(home)


@dataclass
class Site:
    """One site with its cable."""

    name: str
    vim_id: str
    number: int
    run_dir: Path
    directory: Path
    service: Service
    lock: int = -1
    thawed: threading.Event = field(default_factory=threading.Event)
    freezing: threading.Thread = field(default_factory=threading.Thread)

    @property
    def address(self) -> str:
        return f"{MANAGEMENT}.{10 + self.number}"

    @property
    def agent(self) -> int:
        """Process id of the living agent, or 0."""
        return daemon.living(self.directory / "agent.pid")

    def inside(self, *command: str, text: str = "") -> str:
        """Run a command in the site's network namespace."""
        return run("nsenter", "-t", str(self.agent), "-n", *command, text=text)

    def functions(self) -> Mapping[str, str]:
        """VNFC -> its process, of those that live, as the agent tells."""
        answer = self.service.native("GET", f"/vims/{self.name}/resources")
        assert answer.status_code == 200, answer.text
        computes = [one for one in answer.json() if one["kind"] == "COMPUTE" and one["is_alive"]]
        return {one["vnfc_id"]: one["details"]["pid"] for one in computes}

    # -- the cable ----------------------------------------------------------------------------------------

    def lay_cable(self) -> None:
        here, there = f"to-{self.number}", f"office{self.number}"
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", str(self.agent))
        run("ip", "link", "set", here, "master", "switch", "up")
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", there)
        self.inside("ip", "link", "set", there, "up")

    # -- what happens to it -------------------------------------------------------------------------------

    def kill_agent_for_good(self) -> None:
        """SIGKILL, and no other comes up: what would keep a machine's service from starting."""
        give_up_at = time.monotonic() + BOUND_S
        descriptor = os.open(self.directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while self.lock < 0:
            assert time.monotonic() < give_up_at, "the agent's lock is never free"
            if pid := self.agent:
                daemon.kill(pid)
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.lock = descriptor

    def lose_power(self) -> None:
        """Everything of the site is gone at once: agent, functions, and its network namespace."""
        self.kill_agent_for_good()
        for pid in self.processes():
            daemon.kill(pid)
        holder.forget(self.run_dir, paths.site_namespace(VimId(self.vim_id)))

    def come_back(self) -> None:
        """The agent may be started again."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def freeze_agent(self) -> None:
        os.kill(self.agent, signal.SIGSTOP)

    def thaw_agent(self) -> None:
        if pid := self.agent:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def freeze_agents(self) -> None:
        """Freeze it, and whatever is started in its place, until they are thawed."""
        self.thawed = threading.Event()

        def freeze(thawed: threading.Event) -> None:
            while not thawed.wait(0.05):
                with suppress(ProcessLookupError):
                    if pid := self.agent:
                        os.kill(pid, signal.SIGSTOP)

        self.freezing = threading.Thread(target=freeze, args=(self.thawed,), daemon=True)
        self.freezing.start()

    def thaw_agents(self) -> None:
        """The one that is there now goes on, and nobody is frozen any more."""
        self.thawed.set()
        self.freezing.join()
        self.thaw_agent()

    def cut_management(self) -> None:
        """Nothing of ours gets to the host, and nothing of it to us; what runs there goes on."""
        if subprocess.run(
            ["ip", "link", "show", f"to-{self.number}"], capture_output=True, check=False
        ).returncode:
            # The end of it that was in a machine went with that when it lost its power.
            self.lay_cable()
        run("ip", "link", "set", f"to-{self.number}", "down")
        self.freeze_agent()

    def mend_management(self) -> None:
        self.thaw_agent()
        run("ip", "link", "set", f"to-{self.number}", "up")

    def cut_data(self) -> None:
        """Nothing passes the underlay any more, in either direction."""
        rules = """
            table inet cut {
                chain in  { type filter hook input priority -300; iifname "wan0" drop; }
                chain out { type filter hook output priority -300; oifname "wan0" drop; }
            }
        """
        self.inside("nft", "-f", "-", text=rules)

    def mend_data(self) -> None:
        self.inside("nft", "delete", "table", "inet", "cut")

    def processes(self) -> list[int]:
        """Functions and helpers of the site that live."""
        mark = os.fsencode(self.directory.resolve())
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                words += [e for e in (entry / "environ").read_bytes().split(b"\0") if b"FARSITE_SITE=" in e]
                if any(mark in word for word in words) and daemon.start_time(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        self.come_back()
        self.thaw_agent()


def until(holds: Any, what: str, *, within_s: float = BOUND_S) -> Any:
    give_up_at = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < give_up_at, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)
    return found


class Grounds:
    """A service with three sites: the client in the west, the firewall in the north, the server and what else
    there is in the south. So every packet passes the north, and nothing that faults there carries our own
    questions to the client."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sites: dict[str, Site] = {}
        for number, name in enumerate(("west", "north", "south")):
            self._register(name, number)
        for site in self.sites.values():
            site.lay_cable()
        for sample in ("firewall", "inspector", "probe", "webserver"):
            service.onboard(sample)
        service.onboard("chain-demo", "nsds")
        self._policy()
        self.vnfs = self._chained()
        self.target = self._address_of_server()

    def _register(self, name: str, number: int) -> None:
        settings = {"host_probe": f"{MANAGEMENT}.{10 + number}:22"}
        body = {"name": name, "type": "linux", "settings": settings}
        answer = self.service.native("POST", "/vims", json=body)
        assert answer.status_code == 201, answer.text
        told = answer.json()
        socket = Path(
            until(
                lambda: self.service.native("GET", f"/vims/{name}").json()["capability_details"].get("agent"),
                f"{name} tells of its agent",
            )
        )
        self.sites[name] = Site(name, told["id"], number, socket.parents[2], socket.parent, self.service)

    def _policy(self, *, is_dry_run: bool = True) -> None:
        """What an outside monitor tells of a VNF starts its healing; tried dry, what would be done is in the
        record, and nothing of it happens."""
        policy = {
            "scope": {},
            "triggers": [{"fault_types": ["vnf-silent"], "hold_off_s": 0}],
            "ladder": [{"kind": "reboot_hard", "deadline_s": 10}, {"kind": "respawn"}],
            "is_dry_run": is_dry_run,
        }
        answer = self.service.native("PUT", "/healing-policies/watched", json=policy)
        assert answer.status_code == 200, answer.text

    @contextmanager
    def healing_for_real(self) -> Iterator[None]:
        """By the policies that there are when nobody has written any."""
        assert self.service.native("DELETE", "/healing-policies/watched").status_code == 204
        try:
            yield
        finally:
            self._policy()

    @contextmanager
    def healing_on_complaint(self) -> Iterator[None]:
        """What the monitor complains of is healed, where nothing forbids that."""
        self._policy(is_dry_run=False)
        try:
            yield
        finally:
            self._policy()

    def _chained(self) -> Mapping[str, str]:
        made = self.service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "chained"})
        assert made.status_code == 201, made.text
        places = {"client": "west", "firewall": "north", "server": "south"}
        started = self.service.native("POST", "/ns/chained/instantiate", json={"vims": places})
        assert started.status_code == 202, started.text
        path = f"/operations/{started.json()['id']}"
        done = self.service.until(
            lambda: self.service.native("GET", path).json(),
            lambda seen: seen["state"] in ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP"),
            within_s=4 * BOUND_S,
        )
        assert done["state"] == "COMPLETED", done
        shown = self.service.native("GET", "/ns/chained").json()
        return {one["profile"]: one["vnf_id"] for one in shown["vnfs"]}

    def _address_of_server(self) -> str:
        resources = self.service.native("GET", f"/vnfs/{self.vnfs['server']}").json()["resources"]
        addresses = [each for one in resources if one["kind"] == "LINKPORT" for each in one["addresses"]]
        return next(one for one in addresses if re.fullmatch(r"[\d.]+", one))

    # -- traffic ------------------------------------------------------------------------------------------

    def client(self, method: str, path: str, body: object = None) -> Any:
        vnf_id = self.vnfs["client"]
        (vnfc,) = self.service.native("GET", f"/vnfs/{vnf_id}").json()["vnfcs"]
        answer = self.service.native(
            method, f"/vnfs/{vnf_id}/vnfcs/{vnfc['id']}/management/{path}", json=body
        )
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def passes(self) -> bool:
        """Whether a request gets from the west through the north to the south and back."""
        order = {"target": self.target, "port": 80, "path": "/", "timeout_s": 2.0}
        vnf_id = self.vnfs["client"]
        (vnfc,) = self.service.native("GET", f"/vnfs/{vnf_id}").json()["vnfcs"]
        fetched = f"/vnfs/{vnf_id}/vnfcs/{vnfc['id']}/management/fetch"
        answer = self.service.native("POST", fetched, json=order)
        # While its agent is away or begins anew, nobody knows: asked again.
        return answer.status_code == 200 and bool(answer.json()["ok"])

    # -- what is concluded --------------------------------------------------------------------------------

    def host(self, site: str) -> Mapping[str, Any]:
        (found,) = self.service.native("GET", f"/vims/{site}/hosts").json()
        return found

    def judged(self, site: str, verdict: str) -> Mapping[str, Any]:
        """The host of a site once that is the verdict."""
        return self.service.until(
            lambda: self.host(site), lambda seen: seen["verdict"] == verdict, within_s=BOUND_S
        )

    def well(self, *sites: str) -> None:
        for site in sites:
            self.service.until(
                lambda site=site: self.host(site), lambda seen: seen["state"] == "up", within_s=BOUND_S
            )
            self.service.until(
                lambda site=site: self.service.native("GET", f"/vims/{site}").json()["state"],
                lambda seen: seen in ("ACTIVE", "DEGRADED"),
                within_s=BOUND_S,
            )

    def vim(self, name: str) -> Mapping[str, Any]:
        return self.service.native("GET", f"/vims/{name}").json()

    def open_alarms(self) -> set[str]:
        told = self.service.native("GET", "/alarms", params={"filter": "(eq,is_open,true)"}).json()
        return {one["fault_type"] for one in told}

    def content(self, profile: str) -> None:
        """The monitor says that all is well again."""
        self.complain(profile, datetime.now(UTC).isoformat(), severity="CLEARED")

    def complain(self, profile: str, at: str, *, severity: str = "CRITICAL") -> None:
        """A monitor from outside says that a VNF is silent: right or wrong, it asks for healing."""
        body = {
            "time": at,
            "object": self.vnfs[profile],
            "kind": "vnf",
            "location": f"monitor/{profile}",
            "type": "COMMUNICATIONS_ALARM",
            "severity": severity,
            "problem": "vnf-silent",
        }
        answer = self.service.native("POST", "/intake/webhook", json=body)
        assert answer.status_code == 200, answer.text

    def decided(self, profile: str, word: str, *outcomes: str) -> Mapping[str, Any]:
        """The first decision about a VNF whose evidence or reasons hold a word, and with such an outcome."""
        return self.carried_out(profile, word, *outcomes)["decision"]

    def carried_out(self, profile: str, word: str, *outcomes: str) -> Mapping[str, Any]:
        """The same with what was done about it."""

        def found() -> Any:
            told = self.service.native("GET", f"/vnfs/{self.vnfs[profile]}/healing").json()["decisions"]
            return [
                one
                for one in told
                if word in " ".join((*one["decision"]["reasons"], *one["decision"]["evidence"].values()))
                and (not outcomes or one["decision"]["outcome"] in outcomes)
            ]

        return until(found, f"a decision about the {profile} with {word}")[0]

    def heals(self) -> list[Any]:
        """Every heal that was begun."""
        told = self.service.native("GET", "/operations", params={"filter": "(eq,type,HEAL)"}).json()
        return [one["id"] for one in told]

    def end(self) -> None:
        for site in self.sites.values():
            site.end()
