"""Many registered VIMs polled once a second: what it costs, and whether any poll is late.

Each VIM is a project of the real Keystone. The polls are counted where they arrive.
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bench.figures import Figure, NotMeasured, percentile
from bench.openstack.product import Api, register
from bench.openstack.site import Account, Site
from bench.openstack.stage import Stage
from bench.orchestrator import Service, cpu_s, data_directory, resident_mib, service

_VIMS = 200
_PERIOD_S = 1.0
_LATE_AFTER_S = 1.5
"""A poll is late when it comes more than half a period after its time."""
_AT_ONCE = 8
_SETTLE_S = 15.0
_ROLES = ("member", "heat_stack_owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """What arrived while it was looked at for `over_s` seconds."""

    over_s: float
    requests: dict[str, int]
    gaps_s: list[list[float]]

    @property
    def all_gaps_s(self) -> list[float]:
        return [gap for one in self.gaps_s for gap in one]


def measure(stage: Stage, *, is_quick: bool) -> Iterator[Figure]:
    """Processor time and punctuality, with inventory every ten seconds (as shipped) and without."""
    count, look_s = (20, 10.0) if is_quick else (_VIMS, 60.0)
    with (
        _projects(stage.site, count) as accounts,
        _answers(stage.site) as answers,
    ):
        reached = [replace(one, auth_url=answers.auth_url) for one in accounts]
        for name, inventory_s in (("", 10), (", inventory hourly", 3600)):
            with (
                data_directory() as directory,
                service(directory, inventory_period_s=inventory_s) as running,
            ):
                _register(Api(running), reached)
                time.sleep(_SETTLE_S)
                yield from _figures(f"{count} VIMs at 1 Hz{name}", running, answers, count, look_s)


def _figures(
    title: str, running: Service, answers: "_Answers", count: int, look_s: float
) -> Iterator[Figure]:
    answers.begin()
    used_s, began = cpu_s(running.pid), time.monotonic()
    time.sleep(look_s)
    used_s, over_s = cpu_s(running.pid) - used_s, time.monotonic() - began
    polls = answers.end(over_s)
    gaps = polls.all_gaps_s
    if len(polls.gaps_s) < count:
        raise NotMeasured(f"{len(polls.gaps_s)} of {count} VIMs were polled at all")
    rate = sum(polls.requests.values()) / over_s
    told = ", ".join(f"{name} {number / over_s:.0f}" for name, number in polls.requests.items() if number)
    yield Figure(
        what=f"{title}: processor time",
        value=used_s / over_s * 100,
        unit="% of a core",
        note=f"{rate:.0f} requests/s ({told}); {used_s / sum(polls.requests.values()) * 1000:.2f} ms each; "
        f"RSS {resident_mib(running.pid):.0f} MiB",
    )
    late = sum(gap > _LATE_AFTER_S for gap in gaps)
    yield Figure(
        what=f"{title}: polls later than {_LATE_AFTER_S:g} s after the one before",
        value=late / len(gaps) * 100,
        unit="%",
        to_reach=0,
        note=f"{late} of {len(gaps)}; between polls p50 {percentile(gaps, 50):.2f} p99 "
        f"{percentile(gaps, 99):.2f} worst {max(gaps):.2f} s",
    )


def _register(api: Api, accounts: Sequence[Account]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for made in [
            threads.submit(register, api, one.project, one, heartbeat_period_s=_PERIOD_S) for one in accounts
        ]:
            made.result()


# -- the answering side


class _Answers:
    """The process that answers for the site."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.auth_url = self._read()

    def begin(self) -> None:
        """Count from now on."""
        self._say("begin")

    def end(self, over_s: float) -> Polls:
        """What was counted."""
        self._say("end")
        told = json.loads(self._read())
        return Polls(over_s=over_s, requests=told["requests"], gaps_s=told["gaps_s"])

    def _say(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise NotMeasured("bench.openstack.answers ended")
        return line


@contextmanager
def _answers(site: Site) -> Iterator[_Answers]:
    command = [sys.executable, "-m", "bench.openstack.answers", json.dumps(site.services())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Answers(process)
        finally:
            process.terminate()


# -- projects


@contextmanager
def _projects(site: Site, count: int) -> Iterator[list[Account]]:
    """So many projects of one user, who may own stacks in all of them."""
    mark = f"bench-{uuid.uuid4().hex[:8]}"
    with site.admin.connect() as root:
        account = replace(site.admin, username=mark, password=uuid.uuid4().hex)
        identity: Any = root.identity
        user = identity.create_user(name=mark, password=account.password, domain_id="default")
        roles = [identity.find_role(one) for one in _ROLES]
        made: list[str] = []
        names = [f"{mark}-{number}" for number in range(count)]
        try:
            with ThreadPoolExecutor(4) as threads:
                for name in threads.map(lambda one: _make(identity, one, user, roles, made), names):
                    assert name
            yield [replace(account, project=name) for name in names]
        finally:
            identity.delete_user(user)
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(identity.delete_project, made))


def _make(identity: Any, name: str, user: object, roles: Sequence[object], made: list[str]) -> str:
    project = identity.create_project(name=name, domain_id="default")
    made.append(project.id)
    for role in roles:
        identity.assign_project_role_to_user(project, user, role)
    return name
