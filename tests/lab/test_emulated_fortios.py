"""The emulated FortiGate keeps its tables together: names resolve, what is used stays, a batch is one."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from lab.emulators import fortios
from lab.emulators.server import Served
from lab.faults.certificates import Authority

ADDRESS = f"{fortios.CMDB}firewall/address"
GROUP = f"{fortios.CMDB}firewall/addrgrp"
POLICY = f"{fortios.CMDB}firewall/policy"
CONFIG = f"{fortios.CMDB}system/config"
GLOBAL = f"{fortios.CMDB}system/global"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(fortios.FortiOs(minute_s=1.0), tls=Authority(tmp_path).server()) as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    who = {"Authorization": f"Bearer {fortios.DEFAULT_TOKEN}"}
    with httpx2.Client(base_url=served.url, verify=False, headers=who, timeout=10) as one:
        yield one


def address(name: str) -> dict[str, object]:
    return {"name": name, "type": "ipmask", "subnet": "10.1.0.0 255.255.0.0"}


def policy(number: int, source: str = "all") -> dict[str, object]:
    every = {"srcintf": "port1", "dstintf": "port2", "srcaddr": source, "dstaddr": "all", "service": "ALL"}
    return {
        "policyid": number,
        "action": "accept",
        "schedule": "always",
        **{key: [{"name": name}] for key, name in every.items()},
    }


def test_what_is_used_cannot_be_deleted(client: httpx2.Client) -> None:
    """An adapter has to delete in the right order, and learns it from the answer."""
    client.post(ADDRESS, json=address("one"))
    client.post(GROUP, json={"name": "group", "member": [{"name": "one"}]})
    refused = client.delete(f"{ADDRESS}/one")
    assert (refused.status_code, refused.json()["error"]) == (500, -23)
    client.delete(f"{GROUP}/group")
    assert client.delete(f"{ADDRESS}/one").status_code == 200


def test_a_name_that_does_not_resolve_changes_nothing(client: httpx2.Client) -> None:
    """The object is refused with the name, and is not there afterwards."""
    refused = client.post(POLICY, json=policy(1, source="nobody"))
    assert refused.json()["error"] == -651
    assert "for name nobody" in refused.json()["cli_error"]
    assert client.get(f"{POLICY}/1").status_code == 404


def test_rules_keep_the_order_they_are_moved_to(client: httpx2.Client) -> None:
    """Which rule strikes first is the point of a firewall."""
    for number in (1, 2, 3):
        client.post(POLICY, json=policy(number))
    client.put(f"{POLICY}/3?action=move&before=1")
    assert [one["policyid"] for one in client.get(POLICY).json()["results"]] == [3, 1, 2]


def test_a_batch_is_made_whole_or_not_at_all(client: httpx2.Client) -> None:
    """One wrong object of several leaves none of the others."""
    started = client.post(f"{CONFIG}?action=batch-start").json()["results"]["transaction-id"]
    who = {"X-Transaction-Id": started}
    client.post(ADDRESS, json=address("one"), headers=who)
    client.post(POLICY, json=policy(1, source="nobody"), headers=who)
    assert client.get(f"{ADDRESS}/one").status_code == 404
    assert client.post(f"{CONFIG}?action=batch-commit", headers=who).status_code == 500
    assert client.get(f"{ADDRESS}/one").status_code == 404


def test_what_is_not_saved_in_time_is_taken_back(client: httpx2.Client, served: Served) -> None:
    """With `cfg-save revert` the device restarts with what it had, unless somebody saves."""
    client.put(GLOBAL, json={"cfg-save": "revert", "cfg-revert-timeout": 10})
    client.post(f"{fortios.MONITOR}system/config/save")
    client.post(ADDRESS, json=address("kept"))
    client.post(f"{fortios.MONITOR}system/config/save")
    client.post(ADDRESS, json=address("lost"))
    deadline = time.monotonic() + 5
    seen: list[int] = []
    while seen != [404, 200]:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
        # While it restarts it does not answer.
        with contextlib.suppress(httpx2.TransportError):
            seen = [client.get(f"{ADDRESS}/{name}").status_code for name in ("lost", "kept")]


@pytest.mark.parametrize(
    ("field", "value"), [("subnet", "10.0.0.300/24"), ("color", 99), ("nonsense", 1), ("type", "other")]
)
def test_a_wrong_value_is_refused(client: httpx2.Client, field: str, value: object) -> None:
    """The number is the same for all of them; the words tell which."""
    refused = client.post(ADDRESS, json={**address("one"), field: value})
    assert (refused.status_code, refused.json()["error"]) == (500, -651)


def test_a_table_is_read_in_parts(client: httpx2.Client) -> None:
    """Tables of thousands are asked for in pages and by filter."""
    for number in range(5):
        client.post(ADDRESS, json=address(f"a{number}"))
    assert [one["name"] for one in client.get(f"{ADDRESS}?start=1&count=2").json()["results"]] == ["a0", "a1"]
    assert client.get(f"{ADDRESS}?filter=name==a3").json()["matched_count"] == 1
    assert client.get(f"{ADDRESS}?format=name").json()["results"][0] == {"name": "all"}
