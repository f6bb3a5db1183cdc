"""How many requests an operation costs the VIM, counted by proxies in front of its services.

Both orchestrators are given the address of the front's Keystone and learn every other one from its catalogue,
so nothing passes by. Farsite is another process than the one that is timed, and its heartbeats are left out:
those belong to the VIM, not to an operation. Whoever asks Tacker is known to the real Keystone, so that what
it asks about its askers is not counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from lab.faults.proxy import Loop
from lab.openstack.front import SiteFront

from bench.figures import Figure
from bench.openstack.contest import at_once, watch
from bench.openstack.package import Shape
from bench.openstack.peers.tacker import Tacker
from bench.openstack.product import Api, Farsite, onboard, register
from bench.openstack.site import Account
from bench.openstack.stage import Stage
from bench.orchestrator import data_directory, service

_HOUR_S = 3600
_COUNTED_SERVICES = ("keystone", "heat")
_OF_HEARTBEATS = ("keystone HEAD /v3/auth/tokens", "heat GET /v1/{id}/build_info")


class _Begins(Protocol):
    name: str

    def create(self, count: int) -> list[str]: ...
    def instantiate(self, vnf_id: str) -> str: ...
    def terminate(self, vnf_id: str) -> str: ...
    def completed(self, operations: Sequence[str]) -> set[str]: ...
    def forget(self, vnfs: Sequence[str]) -> None: ...


def measure(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """Per operation, alone and with several at once."""
    counts = (1,) if is_quick else (1, 10)
    with front_of(stage) as front:
        account = replace(stage.account, auth_url=front.auth_url)
        with farsite_behind(account) as ours:
            yield from _counted(ours, front, counts, to_reach_logins=0)
        if stage.peer is not None:
            theirs = Tacker(stage.peer, stage.account, Shape.FLAT, vim=account)
            yield from _counted(theirs, front, counts)


@contextmanager
def front_of(stage: Stage) -> Iterator[SiteFront]:
    """Proxies in front of the stage's site."""
    loop = Loop()
    front = SiteFront(stage.site.services(), loop=loop)
    try:
        yield front
    finally:
        front.close()
        loop.close()


@contextmanager
def farsite_behind(account: Account) -> Iterator[Farsite]:
    """A Farsite that reads no inventory meanwhile. It has had its first operation and so has logged in."""
    with (
        data_directory() as directory,
        service(directory, inventory_period_s=_HOUR_S) as running,
    ):
        api = Api(running)
        register(api, "counted", account)
        ours = Farsite(api, onboard(api, Shape.FLAT), "counted")
        ours.turn(1)
        yield ours


def _counted(
    who: _Begins, front: SiteFront, counts: Sequence[int], *, to_reach_logins: float | None = None
) -> Iterator[Figure]:
    for count in counts:
        vnfs = who.create(count)
        for verb, begin in (("instantiate", who.instantiate), ("terminate", who.terminate)):
            with front.counting() as found:
                took_s = _take(who, begin, vnfs)
            logins = _logins(found) / count
            title = f"{verb}, {count} flat" + (" at once, each" if count > 1 else "")
            yield Figure(
                what=f"requests to Keystone and Heat, {title}: {who.name}",
                value=sum(_of(found, one) for one in _COUNTED_SERVICES) / count,
                unit="",
                note=f"{_told(found, count)}; took {took_s:.1f} s",
            )
            yield Figure(
                what=f"password logins, {title}: {who.name}",
                value=logins,
                unit="",
                to_reach=to_reach_logins,
                note="per operation, after the first",
            )
        who.forget(vnfs)


def _take(who: _Begins, begin: Callable[[str], str], vnfs: Sequence[str]) -> float:
    return watch(at_once(begin, vnfs), who.completed)[-1]


def _of(found: Counter[str], service: str) -> int:
    return sum(
        number
        for label, number in found.items()
        if label.startswith(f"{service} ") and not label.startswith(_OF_HEARTBEATS)
    )


def _logins(found: Counter[str]) -> int:
    return sum(number for label, number in found.items() if label.endswith("/auth/tokens password"))


def _told(found: Counter[str], count: int) -> str:
    """Requests per service and operation."""
    return ", ".join(f"{one.title()} {_of(found, one) / count:.3g}" for one in _COUNTED_SERVICES)
