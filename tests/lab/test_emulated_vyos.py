"""The emulated VyOS holds a tree of its own, refuses as VyOS does, and takes back what nobody confirms."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from lab.emulators import vyos
from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Served
from lab.faults.certificates import Authority

MINUTE_S = 0.3
RELOAD = ["system", "config-management", "commit-confirm", "action", "reload"]


class Device(vyos.Vyos):
    """A VyOS that knows its own address."""

    url = ""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(minute_s=MINUTE_S)
    with Served(made, tls=Authority(tmp_path).server()) as served:
        made.url = served.url
        yield made


def said(device: Device, endpoint: str, key: str = vyos.DEFAULT_KEY, **content: object) -> httpx2.Response:
    return httpx2.post(f"{device.url}{endpoint}", json={"key": key, **content}, verify=False, timeout=10)


def sets(device: Device, *lines: str, **more: object) -> httpx2.Response:
    commands = [{"op": "set", "path": line.split()} for line in lines]
    return said(device, "/configure", commands=commands, **more)


def exists(device: Device, line: str) -> bool:
    return said(device, "/retrieve", op="exists", path=line.split()).json()["data"]


def until(is_so: Callable[[], bool], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_unconfirmed_change_is_reloaded_away(device: Device) -> None:
    """With the action `reload` what ran before runs again, saved or not."""
    sets(device, " ".join(RELOAD), "interfaces dummy dum0 description before")
    sets(device, "interfaces dummy dum0 description after", confirm_time=1)
    assert exists(device, "interfaces dummy dum0 description after")
    until(lambda: exists(device, "interfaces dummy dum0 description before"))


def test_an_unconfirmed_change_reboots_to_what_was_saved(device: Device) -> None:
    """The default: whatever was not saved before goes with it."""
    sets(device, "interfaces dummy dum0 description never-saved")
    answer = sets(device, "interfaces dummy dum1 description after", confirm_time=1)
    assert answer.json()["data"].endswith("before reboot\n")

    def is_back() -> bool:
        try:
            return not exists(device, "interfaces dummy dum1")
        except httpx2.TransportError:
            return False

    until(is_back)
    assert not exists(device, "interfaces dummy dum0")


def test_a_confirmed_change_stays_and_a_second_one_waits_its_turn(device: Device) -> None:
    """Two commit-confirms do not mix on the device either."""
    sets(device, "interfaces dummy dum0 description one", confirm_time=1)
    second = sets(device, "interfaces dummy dum0 description two", confirm_time=1)
    assert (second.status_code, second.json()["error"]) == (400, "Another confirm is pending\n")
    assert said(device, "/configure", op="confirm").json()["data"] == "Reload timer stopped\n"
    time.sleep(2 * MINUTE_S)
    assert exists(device, "interfaces dummy dum0 description one")


def test_a_change_that_cuts_its_own_access_is_taken_back(device: Device) -> None:
    """The API listens by its own configuration; only the timer can bring it back."""
    sets(device, " ".join(RELOAD))
    said(device, "/configure", commands=[{"op": "delete", "path": ["service", "https"]}], confirm_time=1)
    with pytest.raises(httpx2.TransportError):
        exists(device, "service https")

    def answers() -> bool:
        try:
            return exists(device, "service https api")
        except httpx2.TransportError:
            return False

    until(answers)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["interfaces dummy dum0 address 10.0.0.1"], "is not a valid IP host"),
        (["interfaces dummy dum0 mtu 9"], "not in the range 68 to 16000"),
        (["interfaces dummies dum0"], "Configuration path: interfaces [dummies] is not valid"),
        (["firewall ipv4 name F rule 10 description x"], "Rule action must be defined"),
        (["firewall ipv4 name F rule 10 action jump"], "no jump-target specified"),
        (
            [
                "firewall ipv4 name F rule 10 action accept",
                "firewall ipv4 name F rule 10 source group address-group A",
            ],
            'Invalid address-group "A"',
        ),
        (["protocols bgp neighbor 192.0.2.2 remote-as 65000"], "system-as number must be defined"),
        (["nat source rule 10 source address 10.0.0.0/8"], "translation requires address"),
        (["service dns forwarding listen-address 192.0.2.1"], "requires an allow-from"),
        (
            [
                "service dhcp-server shared-network-name L subnet 192.0.2.0/24 range 0 start 192.0.2.9",
                "service dhcp-server shared-network-name L subnet 192.0.2.0/24 range 0 stop 192.0.3.9",
            ],
            "must be inside of subnet",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_refused_and_nothing_of_it_stands(
    device: Device, lines: list[str], words: str
) -> None:
    """One wrong line of many leaves none of the others."""
    answer = sets(device, "interfaces dummy dum7 description good", *lines)
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert words in answer.json()["error"]
    assert not exists(device, "interfaces dummy dum7")


def test_a_wrong_key_is_refused(device: Device) -> None:
    """Nothing is told to whoever does not know it."""
    assert said(device, "/retrieve", key="wrong", op="showConfig", path=[]).status_code == 401


def test_what_is_saved_as_text_loads_as_it_was(device: Device) -> None:
    """A backup that does not come back is none."""
    sets(
        device,
        "interfaces ethernet eth1 address 10.0.0.1/24",
        "interfaces ethernet eth1 vif 7 address 10.7.0.1/24",
        "firewall ipv4 name F rule 10 action accept",
        "firewall ipv4 name F rule 10 log",
    )
    before = said(device, "/retrieve", op="showConfig", path=[]).json()["data"]
    raw = said(device, "/retrieve", op="showConfig", path=[], configFormat="raw").json()["data"]
    sets(device, "interfaces ethernet eth1 description changed")
    assert said(device, "/config-file", op="load", string=raw).json()["success"]
    assert said(device, "/retrieve", op="showConfig", path=[]).json()["data"] == before


def test_deleting_a_node_leaves_no_empty_parents(device: Device) -> None:
    """Fetching twice must show the same once a change was undone by hand."""
    before = device.fingerprint()
    sets(device, "protocols static route 0.0.0.0/0 next-hop 192.0.2.254")
    assert device.fingerprint() != before
    said(device, "/configure", op="delete", path=["protocols", "static", "route", "0.0.0.0/0"])
    assert device.fingerprint() == before


def test_a_component_that_fails_leaves_the_others_in_place(device: Device) -> None:
    """The partial failure an adapter must find by looking: the answer says failed, half of it runs."""
    device.orders.order(Fault.PARTIAL_FAILURE)
    answer = sets(
        device, "interfaces dummy dum0 description x", "protocols static route 10.0.0.0/8 blackhole"
    )
    assert answer.status_code == 400
    assert exists(device, "interfaces dummy dum0")
    assert not exists(device, "protocols static")
