"""Thousands of OpenStacks that are no more than their answers: what a watcher of thousands asks, thinly
answered.

Each cloud has an address of its own on loopback (127.x.y.z) and one port, behind which Keystone, Heat, Nova,
Neutron, Glance and Placement answer under paths, as devstack and Kolla's fronts have them. Bodies are what
those services of release 2026.2 answer, cut to what a member of a project sees of an empty one; `tests/bench`
has our own driver and the SDK read them. Nothing is deployed here, and nothing is claimed about real clouds
but what it costs to watch them.

A process of its own: `python -m bench.many_clouds COUNT [DIRECTORY [FIRST [ADDRESS]]]`, with certificates
and keys for TLS in DIRECTORY/0.pem, 1.pem ..., each for a few clouds. With ADDRESS the first
cloud is there and not on loopback, and the others follow it. It prints where the first cloud is and then
obeys lines on stdin, each answered by one line of JSON:

    lose FIRST COUNT    nobody listens there any more, and what is open is reset
    hang FIRST COUNT    connections are taken, questions are not answered
    slow FIRST COUNT S  each answer takes up to so many seconds, by chance
    jitter FIRST COUNT MEDIAN_S SPREAD SHARE
                        answers take log-normal times, and that share of them never comes; never two of
                        a cloud within some seconds
    mend [FIRST COUNT]  all of them, or those, are well again
    begin               count from now on
    end                 {"requests": ..., "logins": ..., "lost": ..., "gaps_s": [...]}: what was counted
"""

import asyncio
import itertools
import json
import random
import ssl
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address

PORT = 5000
_FIRST_NET = 101
NETWORK = 250
"""Clouds whose addresses differ in the last number only."""
CERTIFIED = 5
"""So many clouds have a certificate in common, with an address of each, as the members of a cluster have."""
_LOSS_APART_S = 10.0
"""What is lost is single answers; two in a row are an outage, and would rightly be told."""
_PROJECT = "3f1c9a6de0b24a64b1c1b2a4a7d9f0e5"
_TOKEN = "gAAAAABn" + "Zk3vQ1x8" * 22


def address_of(number: int) -> str:
    """The address of a cloud."""
    network, host = divmod(number, NETWORK)
    return f"127.{_FIRST_NET + network // NETWORK}.{network % NETWORK}.{host + 1}"


class Cloud:
    """One cloud: how it is, and when it was asked."""

    def __init__(self, number: int, scheme: str, address: str) -> None:
        self.number = number
        self.url = f"{scheme}://{address}:{PORT}"
        self.address = address
        self.is_hanging = False
        self.delay_s = 0.0
        self.jitter: tuple[float, float, float] | None = None
        """Median of the seconds that an answer takes, spread of their logarithm, share that is lost."""
        self.lost_s = 0.0
        self.lost = 0
        self.asked_s = array("d")
        self.requests = 0
        self.logins = 0
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.Transport] = set()
        self._answers: dict[bytes, bytes] = {}

    def answer(self, method: bytes, path: bytes) -> bytes:
        """The bytes of an answer, made once per question."""
        key = method + path
        found = self._answers.get(key)
        if found is None or path.startswith(b"/v3/auth/tokens"):
            status, body = answers(self.url, method.decode(), path.decode())
            headers = f"X-Subject-Token: {_TOKEN}\r\n" if method == b"POST" else ""
            found = self._answers[key] = _whole(status, body, method, headers)
        return found


def _whole(status: str, body: str, method: bytes, headers: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
        "Vary: X-Auth-Token\r\nx-openstack-request-id: req-6c2bf3ce-6f36-4ad6-9c9a-0b6d9fd1a5a1\r\n"
        f"{headers}\r\n"
    )
    return (head + ("" if method == b"HEAD" else body)).encode()


class Connection(asyncio.Protocol):
    """One connection to a cloud; requests come one after another."""

    def __init__(self, cloud: Cloud, watch: "Watch") -> None:
        self._cloud = cloud
        self._watch = watch
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._cloud.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._cloud.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = 0
            if head.startswith((b"POST", b"PUT")):
                at = head.lower().find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            self._take(method, path)

    def _take(self, method: bytes, path: bytes) -> None:
        cloud = self._cloud
        if self._watch.is_counting:
            cloud.requests += 1
            cloud.asked_s.append(time.monotonic())
            cloud.logins += method == b"POST"
        if cloud.is_hanging:
            return
        answer = cloud.answer(method, path)
        if cloud.jitter is not None:
            if (delay_s := _jittered(cloud, cloud.jitter)) is not None:
                asyncio.get_running_loop().call_later(delay_s, self._send, answer)
        elif cloud.delay_s:
            delay_s = random.uniform(0, cloud.delay_s)
            asyncio.get_running_loop().call_later(delay_s, self._send, answer)
        else:
            self._transport.write(answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _jittered(cloud: Cloud, how: tuple[float, float, float]) -> float | None:
    """How long an answer takes; None: it is lost."""
    median_s, spread, share = how
    now = time.monotonic()
    if random.random() < share and now - cloud.lost_s > _LOSS_APART_S:
        cloud.lost_s = now
        cloud.lost += 1
        return None
    return median_s * random.lognormvariate(0, spread)


class Watch:
    """Whether requests are counted."""

    is_counting = False


_OF_ADMINISTRATORS = (
    "/compute/v2.1/os-availability-zone/detail",
    "/compute/v2.1/os-aggregates",
    "/compute/v2.1/os-hypervisors",
    "/compute/v2.1/os-services",
    "/placement/",
)
"""Paths that a member of a project is refused."""


# -- answers -------------------------------------------------------------------------------------------------


def answers(url: str, method: str, target: str) -> tuple[str, str]:
    """Status and body that a cloud gives to a member of its project."""
    path = target.partition("?")[0]
    if path == "/v3/auth/tokens":
        return ("201 CREATED" if method == "POST" else "200 OK"), _token(url)
    found = _bodies(url).get(path.rstrip("/") or "/")
    if found is not None:
        return found
    if path != "/placement/" and path.startswith(_OF_ADMINISTRATORS):
        refusal = {"forbidden": {"code": 403, "message": "Policy doesn't allow it to be performed."}}
        return "403 Forbidden", json.dumps(refusal)
    nothing = {"error": {"code": 404, "message": f"No {path}.", "title": "Not Found"}}
    return "404 Not Found", json.dumps(nothing)


def _token(url: str) -> str:
    now = datetime.now(UTC)

    def at(when: datetime) -> str:
        return when.strftime("%Y-%m-%dT%H:%M:%S.000000Z")

    domain = {"id": "default", "name": "Default"}
    return json.dumps(
        {
            "token": {
                "methods": ["password"],
                "user": {
                    "domain": domain, "id": "9b0c", "name": "nfv_user", "password_expires_at": None,
                },
                "audit_ids": ["Zk3vQ1x8SXmQ3a0o0yPbLw"],
                "expires_at": at(now + timedelta(hours=1)),
                "issued_at": at(now),
                "project": {"domain": domain, "id": _PROJECT, "name": "nfv"},
                "is_domain": False,
                "roles": [{"id": "r1", "name": "member"}, {"id": "r2", "name": "reader"}],
                "catalog": _catalogue(url),
            }
        }
    )  # fmt: skip


@cache
def _catalogue(url: str) -> list[dict[str, object]]:
    places = {
        "identity": ("keystone", "/v3"),
        "orchestration": ("heat", f"/heat/v1/{_PROJECT}"),
        "compute": ("nova", "/compute/v2.1"),
        "network": ("neutron", "/network"),
        "image": ("glance", "/image"),
        "placement": ("placement", "/placement"),
    }
    return [
        {
            "endpoints": [
                {
                    "id": f"{name}-{interface}", "interface": interface, "region": "RegionOne",
                    "region_id": "RegionOne", "url": url + path,
                }
                for interface in ("public", "internal")
            ],
            "id": name, "type": kind, "name": name,
        }
        for kind, (name, path) in places.items()
    ]  # fmt: skip


@cache
def _bodies(url: str) -> Mapping[str, tuple[str, str]]:
    def link(path: str) -> list[dict[str, str]]:
        return [{"rel": "self", "href": f"{url}{path}/"}]

    keystone = {
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": link("/v3"),
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }  # fmt: skip
    nova = {
        "id": "v2.1", "status": "CURRENT", "version": "2.100", "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z", "links": link("/compute/v2.1"),
    }  # fmt: skip
    limits = {
        "maxTotalInstances": 10, "maxTotalCores": 20, "maxTotalRAMSize": 51200, "totalInstancesUsed": 0,
        "totalCoresUsed": 0, "totalRAMUsed": 0, "maxTotalKeypairs": 100, "maxServerGroups": 10,
        "maxServerGroupMembers": 10, "maxServerMeta": 128, "totalServerGroupsUsed": 0,
    }  # fmt: skip
    zone = {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    flavor = {
        "id": "1", "name": "m1.tiny", "ram": 512, "disk": 1, "swap": 0, "vcpus": 1, "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0, "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True, "description": None, "extra_specs": {}, "links": [],
    }  # fmt: skip
    neutron = {"id": "v2.0", "status": "CURRENT", "links": link("/network/v2.0")}
    extension = {
        "name": "Trunk Extension",
        "alias": "trunk",
        "description": "",
        "updated": "",
        "links": list[str](),
    }
    glance = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == 17 else "SUPPORTED", "links": link("/image/v2")}
        for minor in (17, 16, 9, 7, 0)
    ]
    # Its link is empty, and means where the question was asked.
    placement = {
        "id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }  # fmt: skip
    heat = {"id": "v1.0", "status": "CURRENT", "links": link("/heat/v1")}
    small_flavor = {"id": "1", "name": "m1.tiny", "description": None, "links": list[str]()}
    root = f"/heat/v1/{_PROJECT}"
    plain: dict[str, object] = {
        "/v3": {"version": keystone},
        f"{root}/build_info": {"api": {"revision": "unknown"}, "engine": {"revision": "unknown"}},
        f"{root}/validate": {"Description": "No description", "Parameters": {}, "Environment": {}},
        f"{root}/stacks": {"stacks": []},
        f"{root}/services": {"services": []},
        "/heat": {"versions": [heat]},
        "/compute": {"versions": [nova]},
        "/compute/v2.1": {"version": {**nova, "media-types": []}},
        "/compute/v2.1/flavors": {"flavors": [small_flavor]},
        "/compute/v2.1/flavors/detail": {"flavors": [flavor]},
        "/compute/v2.1/servers/detail": {"servers": []},
        "/compute/v2.1/limits": {"limits": {"rate": [], "absolute": limits}},
        "/compute/v2.1/os-availability-zone": {"availabilityZoneInfo": [zone]},
        "/network": {"versions": [neutron]},
        "/network/v2.0": {"resources": []},
        "/network/v2.0/networks": {"networks": []},
        "/network/v2.0/extensions": {"extensions": [extension]},
        "/network/v2.0/agents": {"agents": []},
        "/network/v2.0/availability_zones": {"availability_zones": []},
        "/image": {"versions": glance},
        "/image/versions": {"versions": glance},
        "/image/v2/images": {"images": [], "first": "/v2/images", "schema": "/v2/schemas/images"},
        "/placement": {"versions": [placement]},
    }
    found = {path: ("200 OK", json.dumps(body)) for path, body in plain.items()}
    found["/"] = ("300 MULTIPLE CHOICES", json.dumps({"versions": {"values": [keystone]}}))
    return found


# -- the process ---------------------------------------------------------------------------------------------


@cache
def _certified(pem: str, group: int) -> ssl.SSLContext:
    """What the clouds of one group show. Of a certificate with hundreds of addresses every handshake of ours
    would read all of them, which no cloud asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}/{group}.pem")
    return context


async def serve(count: int, pem: str, first: int, address: str, read: Callable[[], str]) -> None:
    """Answer for so many clouds and obey what is read, until that ends."""
    watch = Watch()
    clouds = [
        Cloud(
            first + number,
            "https" if pem else "http",
            str(ip_address(address) + number) if address else address_of(first + number),
        )
        for number in range(count)
    ]
    loop = asyncio.get_running_loop()

    async def listen(cloud: Cloud) -> None:
        cloud.server = await loop.create_server(
            lambda: Connection(cloud, watch),
            cloud.address,
            PORT,
            ssl=_certified(pem, cloud.number // CERTIFIED) if pem else None,
            reuse_address=True,
        )

    for cloud in clouds:
        await listen(cloud)
    print(json.dumps({"first": clouds[0].url}), flush=True)
    while line := (await asyncio.to_thread(read)).split():
        told: object = "done"
        meant = clouds[int(line[1]) : int(line[1]) + int(line[2])] if len(line) > 2 else []
        match line[0]:
            case "lose":
                for cloud in meant:
                    if cloud.server is not None:
                        cloud.server.close()
                        cloud.server = None
                    for transport in list(cloud.open):
                        transport.abort()
            case "hang":
                for cloud in meant:
                    cloud.is_hanging = True
            case "slow":
                for cloud in meant:
                    cloud.delay_s = float(line[3])
            case "jitter":
                for cloud in meant:
                    cloud.jitter = float(line[3]), float(line[4]), float(line[5])
                    cloud.lost_s = time.monotonic()
            case "mend":
                for cloud in meant or clouds:
                    cloud.is_hanging, cloud.delay_s, cloud.jitter = False, 0.0, None
                    if cloud.server is None:
                        await listen(cloud)
            case "begin":
                for cloud in clouds:
                    cloud.requests = cloud.logins = cloud.lost = 0
                    cloud.asked_s = array("d")
                watch.is_counting = True
            case "end":
                watch.is_counting = False
                told = {
                    "requests": sum(cloud.requests for cloud in clouds),
                    "logins": sum(cloud.logins for cloud in clouds),
                    "lost": sum(cloud.lost for cloud in clouds),
                    "gaps_s": [
                        [round(after - before, 4) for before, after in itertools.pairwise(asked)]
                        for asked in (cloud.asked_s for cloud in clouds)
                    ],
                }
            case other:
                told = f"no such command: {other}"
        print(json.dumps(told), flush=True)


def main() -> int:
    """Serve until stdin ends."""
    given = sys.argv[1:]
    count, pem, first, address = given + ["", "", "0", ""][len(given) :]
    asyncio.run(serve(int(count), pem, int(first), address, sys.stdin.readline))
    return 0


if __name__ == "__main__":
    sys.exit(main())
