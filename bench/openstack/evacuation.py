"""From the loss of a host to its 50 servers running on another one: healed by Farsite, and by 50 plain calls.

Both have the same servers, hosts and moment: the host's nova-compute is killed, and the host is declared dead
(force-down), as a watchdog would. From then on Farsite is on its own: it sees the host at its next look,
tells, decides, fences each server, has it evacuated, and connects it again. The plain side is what nobody can
be quicker than: 50 evacuate calls sent at once, by somebody who knew what to do. In its turn Farsite is told
by a policy to leave healing to others. Done is done for both when Nova has every server ACTIVE on the other
host and Neutron has its ports up.

The turns go to and fro between two hosts of the site. It takes hosts away, so nobody else may use the site.
"""

import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lab.openstack.raising import existing
from openstack.connection import Connection

from bench.figures import Figure, NotMeasured
from bench.openstack.contest import POLL_S, at_once, spread, watch
from bench.openstack.product import Api, await_usable, register
from bench.openstack.site import Account, Site, sweep
from bench.openstack.stage import Stage
from farsite.functions.packaging import build_sample

_SERVERS = 50
_RUNS = 3
_FLOOR, _GOAL = 2.0, 1.2
_WITHIN_S = 600.0
_LOOK_S = 0.5
_POLICY = "/healing-policies/evacuation"
_IMAGE = "cirros"
_LADDER = [
    {"kind": "evacuate", "deadline_s": _WITHIN_S, "probe": "alive"},
    {"kind": "respawn", "deadline_s": _WITHIN_S},
]
_PLAIN_EVACUATION = "2.14"
"""Up to 2.94 Nova starts what it has evacuated. Farsite asks with the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Seconds since the host was declared dead."""

    first_s: float
    last_s: float


class _Hosts:
    """Two compute hosts of a laboratory's site."""

    def __init__(self, site: Site, cloud: Connection) -> None:
        self._site = site
        self._cloud = cloud
        self._processes = existing(site.directory, say=lambda _: None).processes
        self.names = [f"{site.name}-cmp{number}" for number in (1, 2)]

    def _process(self, host: str) -> str:
        return f"{self._site.name}-compute{self.names.index(host) + 1}"

    def other(self, host: str) -> str:
        return self.names[1 - self.names.index(host)]

    def lose(self, host: str) -> None:
        """The host's program dies, and the host is declared dead."""
        self._processes.kill(self._process(host))
        self._put("force-down", host, forced_down=True)

    def bring_back(self, host: str) -> None:
        """Start it again; waits until Nova gives it work."""
        self._processes.start(self._process(host))
        _await(lambda: self._put("force-down", host, forced_down=False) < 400, f"{host} to be taken back")
        self.enable(host)
        _await(lambda: self._is_up(host), f"{host} to be up")

    def enable(self, *hosts: str) -> None:
        for host in hosts:
            self._put("enable", host)

    def disable(self, host: str) -> None:
        """Nothing new comes to it."""
        self._put("disable", host)

    def _put(self, what: str, host: str, **more: object) -> int:
        body = {"host": host, "binary": "nova-compute", **more}
        return int(
            self._cloud.compute.put(f"/os-services/{what}", json=body, microversion="2.11").status_code
        )

    def _is_up(self, host: str) -> bool:
        told: Any = self._cloud.compute.get(
            f"/os-services?host={host}&binary=nova-compute", microversion="2.11"
        ).json()
        return any(
            one["state"] == "up" and one["status"] == "enabled" and not one["forced_down"]
            for one in told["services"]
        )


class _Servers:
    """The servers of the project, as its administrator sees them."""

    def __init__(self, cloud: Connection, project_id: str) -> None:
        self._cloud = cloud
        self._project_id = project_id

    def all(self) -> list[str]:
        """Their ids."""
        told: Any = self._cloud.compute.get("/servers?limit=1000").json()
        return sorted(one["id"] for one in told["servers"])

    def running_on(self, host: str) -> set[str]:
        """Ids of those that run there, with all their ports up."""
        # In short: details of fifty servers at each look take more of Nova than what is measured.
        at = f"host={host}&status=ACTIVE&project_id={self._project_id}"
        here: Any = self._cloud.compute.get(f"/servers?all_tenants=1&limit=1000&{at}").json()
        if not here["servers"]:
            return set()
        told: Any = self._cloud.network.get(
            f"/ports?project_id={self._project_id}&fields=device_id&fields=admin_state_up&fields=status"
        ).json()
        cut = {
            one["device_id"]
            for one in told["ports"]
            if one["device_id"] and not (one["admin_state_up"] and one["status"] == "ACTIVE")
        }
        return {one["id"] for one in here["servers"]} - cut

    def evacuate(self, server_id: str) -> None:
        """The plain call.

        Raises:
            NotMeasured: Nova refuses.
        """
        answer = self._cloud.compute.post(
            f"/servers/{server_id}/action", json={"evacuate": {}}, microversion=_PLAIN_EVACUATION
        )
        if answer.status_code >= 400:
            raise NotMeasured(f"evacuate {server_id}: {answer.status_code} {answer.text[:300]}")


def measure(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """Both sides in turn, the same servers each time; the median of the ratios within a run."""
    count, runs = (4, 1) if is_quick else (_SERVERS, _RUNS)
    with _ground(stage, count) as ground:
        pairs: list[tuple[Turn, Turn]] = []
        for number in range(runs):
            # Who begins changes from run to run.
            order = (ground.plain, ground.ours) if number % 2 else (ground.ours, ground.plain)
            taken = {turn: turn() for turn in order}
            pairs.append((taken[ground.plain], taken[ground.ours]))
            print(
                f"    run {number + 1} of {runs}: plain {pairs[-1][0].last_s:.1f} s, "
                f"Farsite {pairs[-1][1].last_s:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    yield from _figures(count, pairs)


def _figures(count: int, pairs: Sequence[tuple[Turn, Turn]]) -> Iterator[Figure]:
    plain, ours = [one.last_s for one, _ in pairs], [one.last_s for _, one in pairs]
    yield Figure(
        what=f"host declared dead -> its {count} servers run elsewhere: {count} plain evacuate calls",
        value=statistics.median(plain),
        unit="s",
        note=f"{len(plain)} runs, {spread(plain)} s; first after {_median_first(one for one, _ in pairs)}",
    )
    yield Figure(
        what=f"host declared dead -> its {count} servers run elsewhere: Farsite",
        value=statistics.median(ours),
        unit="s",
        note=f"{len(ours)} runs, {spread(ours)} s; the first after {_median_first(one for _, one in pairs)}",
    )
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    yield Figure(
        what="the same, Farsite / plain calls",
        value=statistics.median(ratios),
        unit="x",
        to_reach=_FLOOR,
        note=f"goal {_GOAL:g} x; {len(ratios)} pairs, {spread(ratios)}",
    )


def _median_first(turns: Iterator[Turn]) -> str:
    return f"{statistics.median(one.first_s for one in turns):.2f} s"


# -- the ground


class _Ground:
    """Servers that Farsite manages, all on one of two hosts."""

    def __init__(self, api: Api, hosts: _Hosts, servers: _Servers, vnfs: Sequence[str], vim: str) -> None:
        self._api = api
        self._hosts = hosts
        self._servers = servers
        self._vnfs = vnfs
        self._vim = vim
        self._at = hosts.names[0]

    def ours(self) -> Turn:
        """Farsite heals."""
        self._let("farsite")
        return self._turn(lambda _: None)

    def plain(self) -> Turn:
        """Somebody else does, and Farsite looks on."""
        self._let("none")
        return self._turn(lambda ids: at_once(self._servers.evacuate, ids))

    def _let(self, recoverer: str) -> None:
        # No limit of what is healed at a time, or how often: all of the host at once.
        budget = {"per_vnf": 1000}
        body = {"scope": {}, "handled_by": recoverer, "ladder": _LADDER, "fencing": "best", "budget": budget}
        self._api.ask("PUT", _POLICY, body)

    def _turn(self, act: Callable[[Sequence[str]], object]) -> Turn:
        before, after = self._at, self._hosts.other(self._at)
        ids = self._servers.all()
        self._hosts.lose(before)
        began = time.monotonic()
        act(ids)
        seen = watch(ids, lambda _: self._servers.running_on(after), began, every_s=_LOOK_S)
        self._at = after
        self._settle(before)
        return Turn(first_s=seen[0], last_s=seen[-1])

    def _settle(self, lost: str) -> None:
        """The host is back, and Farsite knows where everything stands: no alarm is open, no heal runs."""
        self._hosts.bring_back(lost)
        _await(self._is_settled, "Farsite to know where everything stands")
        await_usable(self._api, self._vim)

    def _is_settled(self) -> bool:
        is_open = self._api.ask("GET", "/alarms?filter=(eq,is_open,true)")
        if any(one["fault_type"] in ("vnfc-died", "vnf-down", "host-down") for one in is_open):
            return False
        at_work = self._api.ask("GET", "/operations?filter=(in,state,STARTING,PROCESSING,FAILED_TEMP)")
        if stuck := [one for one in at_work if one["state"] == "FAILED_TEMP"]:
            raise NotMeasured(f"operation {stuck[0]['id']} rests: {stuck[0]['error']}")
        hosts = {
            one["host"]
            for vnf_id in self._vnfs
            for one in self._api.ask("GET", f"/vnfs/{vnf_id}")["resources"]
            if one["kind"] == "COMPUTE"
        }
        return not at_work and hosts == {self._at}


@contextmanager
def _ground(stage: Stage, count: int) -> Iterator[_Ground]:
    """So many VNFs of one server each in a project of their own, all on the first host; they go afterwards.

    Raises:
        NotMeasured: the site has no two hosts, or they do not come up.
    """
    api, site, name = stage.api, stage.site, f"evacuated-{uuid.uuid4().hex[:6]}"
    with site.project() as account:
        admin = _administrator_in(site, account)
        with admin.connect() as cloud:
            project_id = str(cloud.current_project_id)
            hosts = _Hosts(site, cloud)
            network = _network(account)
            try:
                register(api, name, admin)
                _await(lambda: bool(api.ask("GET", f"/vims/{name}")["zones"]), "the zones of the site")
                vnfs = _on_first_host(api, name, hosts, network, count)
                servers = _Servers(cloud, project_id)
                stands = servers.running_on(hosts.names[0])
                if len(stands) != count:
                    raise NotMeasured(f"{len(stands)} of {count} servers stand on {hosts.names[0]}")
                yield _Ground(api, hosts, servers, vnfs, name)
                api.ask("DELETE", _POLICY)
                _terminate(api, vnfs)
                api.ask("DELETE", f"/vims/{name}")
            finally:
                for host in hosts.names:
                    hosts.bring_back(host)
                sweep(account)
                with account.connect() as own:
                    own.network.delete_network(network)


def _administrator_in(site: Site, account: Account) -> Account:
    """The site's administrator, inside the project: only he may evacuate."""
    with site.admin.connect() as root:
        identity: Any = root.identity
        project = identity.find_project(account.project)
        identity.assign_project_role_to_user(project, root.current_user_id, identity.find_role("admin"))
    return replace(site.admin, project=account.project)


def _network(account: Account) -> str:
    with account.connect() as own:
        made = own.network.create_network(name="evacuated")
        own.network.create_subnet(network_id=made.id, ip_version=4, cidr="10.123.0.0/16")
        return str(made.id)


def _on_first_host(api: Api, vim: str, hosts: _Hosts, network: str, count: int) -> list[str]:
    package = api.ask("POST", "/packages", {})
    api.ask("PUT", f"/packages/{package['id']}/content?image=guest-image={_IMAGE}", build_sample("guest"))
    hosts.disable(hosts.names[1])
    try:
        vnfs = [str(api.ask("POST", "/vnfs", {"package": package["id"]})["id"]) for _ in range(count)]
        links = [{"cp": "net", "network_id": network}]
        want = {"vim": vim, "external_links": links}

        def begin(vnf_id: str) -> str:
            return str(api.ask("POST", f"/vnfs/{vnf_id}/instantiate", want)["id"])

        watch(at_once(begin, vnfs), lambda asked: _completed(api, asked))
    finally:
        hosts.enable(hosts.names[1])
    return vnfs


def _terminate(api: Api, vnfs: Sequence[str]) -> None:
    def begin(vnf_id: str) -> str:
        return str(api.ask("POST", f"/vnfs/{vnf_id}/terminate", {"type": "FORCEFUL"})["id"])

    watch(at_once(begin, vnfs), lambda asked: _completed(api, asked))
    for vnf_id in vnfs:
        api.ask("DELETE", f"/vnfs/{vnf_id}")


def _completed(api: Api, asked: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for first in range(0, len(asked), 20):
        part = ",".join(asked[first : first + 20])
        for one in api.ask("GET", f"/operations?filter=(in,id,{part})&page_size=100"):
            if one["state"] not in ("STARTING", "PROCESSING", "COMPLETED"):
                raise NotMeasured(f"operation {one['id']} is {one['state']}: {one['error']}")
            if one["state"] == "COMPLETED":
                found.add(str(one["id"]))
    return found


def _await(is_so: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + _WITHIN_S
    while not is_so():
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"waited {_WITHIN_S:g} s for {what}")
        time.sleep(POLL_S)
