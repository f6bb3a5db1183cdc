"""Devices tell a real service of faults by SNMP, with the programs of net-snmp in their place."""

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from alarms_seen import alarms_of, the_alarm
from service_bench import Service, running
from snmp_senders import (
    COLD_START,
    LINK_DOWN,
    LINK_UP,
    as_v2c,
    as_v3,
    counted,
    interface,
    listening,
    named,
    port_of,
    send,
)

BATTERY = "1.3.6.1.4.1.99999.1.0.1"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that listens; tests share it, so each names its own devices."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(listening(data_dir)) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def device() -> str:
    return f"sw-{uuid4().hex[:8]}"


def told_of(service: Service, alarm_id: str) -> list[str]:
    """Kinds of entries that subscribers get of an alarm, oldest first."""
    from farsite.store import outbox

    with service.farsite.database.transaction() as connection:
        return [one.kind for one in outbox.after(connection, 0, object_id=alarm_id, limit=100)]


# -- what devices tell -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [as_v2c(), as_v3()], ids=["2c", "3"])
def test_a_link_that_a_switch_tells_of_is_an_alarm_until_it_is_up(
    service: Service, device: str, how: list[str]
) -> None:
    """What every switch says out of the box is understood without a rule."""
    send(port_of(service), how, LINK_DOWN, [*interface(3), *named(device)])
    alarm = the_alarm(service, device, "MAJOR")
    assert (alarm["specific_problem"], alarm["probable_cause"]) == ("link-down/3", "Link failure")
    assert (alarm["location"], alarm["event_type"]) == (f"turin/{device}", "COMMUNICATIONS_ALARM")
    assert (alarm["source"], alarm["object_kind"]) == ("snmp", "host")
    send(port_of(service), how, LINK_UP, [*interface(3), *named(device)])
    assert the_alarm(service, device, "CLEARED")["id"] == alarm["id"]
    assert told_of(service, alarm["id"]) == ["alarm-raised", "alarm-cleared"]


def test_a_rule_of_the_operator_makes_an_alarm_of_a_makers_trap(service: Service, device: str) -> None:
    """By its OID and its variables, and ended by another value of one of them."""
    variables = ["1.3.6.1.4.1.99999.1.1.0", "i"]
    send(port_of(service), as_v2c(), BATTERY, [*variables, "3", *named(device)])
    alarm = the_alarm(service, device, "CRITICAL")
    assert (alarm["fault_type"], alarm["object_kind"]) == ("battery", "ups")
    assert "battery.0 = 3" in alarm["fault_details"]
    send(port_of(service), as_v2c(), BATTERY, [*variables, "2", *named(device)])
    the_alarm(service, device, "CLEARED")


def test_a_restart_is_told_to_who_subscribed_and_leaves_nothing_open(service: Service, device: str) -> None:
    """It is over when it is told; who must know of it hears of it all the same."""
    send(port_of(service), as_v2c(), COLD_START, named(device))
    alarm = the_alarm(service, device, "CLEARED")
    assert alarm["fault_type"] == "restarted"
    assert told_of(service, alarm["id"]) == ["alarm-raised", "alarm-cleared"]


def test_a_trap_that_is_told_twice_is_one_alarm_also_when_it_is_over(service: Service, device: str) -> None:
    """Devices have two receivers and send thrice, since nobody answers a trap."""
    began, ended = (LINK_DOWN, "4711"), (LINK_UP, "4720")
    for trap, up_time in (began, began, ended, began):
        send(port_of(service), as_v2c(), trap, [*interface(3), *named(device)], up_time=up_time)
    send(port_of(service), as_v2c(), LINK_DOWN, [*interface(4), *named(device)])
    found = service.until(lambda: alarms_of(service, device), lambda seen: len(seen) == 2)
    assert {one["specific_problem"]: one["perceived_severity"] for one in found} == {
        "link-down/3": "CLEARED",
        "link-down/4": "MAJOR",
    }


@pytest.mark.parametrize("how", [as_v2c(), as_v3(engine="")], ids=["2c", "3"])
def test_an_inform_is_answered_when_it_is_recorded(service: Service, device: str, how: list[str]) -> None:
    """Over version 3 the sender first asks who we are, and needs no engine of its own."""
    done = send(port_of(service), how, LINK_DOWN, [*interface(3), *named(device)], inform=True)
    assert done.returncode == 0, done.stderr
    found = [(one["specific_problem"], one["perceived_severity"]) for one in alarms_of(service, device)]
    assert found == [("link-down/3", "MAJOR")]
    # What is no fault is answered too, or it would come for ever.
    done = send(port_of(service), how, "1.3.6.1.4.1.99999.7", named(device), inform=True)
    assert done.returncode == 0, done.stderr


# -- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        (as_v2c("another"), "community"),
        (as_v3("somebody"), "user"),
        (as_v3(secrets=("authPriv", "SHA-256", "another-word", "AES", "the-privacy-word")), "security"),
        (as_v3(secrets=("noAuthNoPriv", "", "", "", "")), "security"),
    ],
    ids=["community", "user", "key", "no key"],
)
def test_who_has_not_the_secret_is_counted_and_not_heard(
    service: Service, device: str, how: list[str], outcome: str
) -> None:
    """A forged trap would have us heal what is well, and a forged end hide what is not."""
    before = counted(outcome)
    send(port_of(service), how, LINK_DOWN, [*interface(3), *named(device)])
    service.until(lambda: counted(outcome), lambda seen: seen == before + 1)
    send(port_of(service), as_v3(), LINK_DOWN, [*interface(3), *named(f"{device}-b")])
    the_alarm(service, f"{device}-b", "MAJOR")
    assert alarms_of(service, device) == []


def test_a_sender_that_is_not_listed_is_counted_and_not_answered(service: Service, device: str) -> None:
    """It has the right community, and is not where it should be."""
    before = counted("sender")
    variables = [*interface(3), *named(device)]
    done = send(
        port_of(service),
        ["-r", "0", "-t", "1", *as_v2c()],
        LINK_DOWN,
        variables,
        inform=True,
        from_address="127.0.0.2",
    )
    assert done.returncode != 0
    assert counted("sender") > before
    assert alarms_of(service, device) == []


def test_garbage_and_too_much_of_it_stop_nothing(service: Service, device: str) -> None:
    """A flood costs the loud one what it sends too much, and the service goes on answering."""
    unreadable, too_many = counted("form"), counted("rate")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as storm:
        for body in (b"", b"\x30\x84\xff\xff\xff\xff", b"x" * 20_000, b"\x30\x80" * 1000):
            storm.sendto(body, ("127.0.0.1", port_of(service)))
        for _ in range(3000):
            storm.sendto(b"\x30garbage", ("127.0.0.1", port_of(service)))
        asked_s = time.monotonic()
        assert service.native("GET", "/vims").status_code == 200
        assert time.monotonic() - asked_s < 5
    service.until(lambda: counted("form"), lambda seen: seen > unreadable + 4)
    service.until(lambda: counted("rate"), lambda seen: seen > too_many)
    # Until its credit has grown again, this address is not heard.
    found = service.until(
        lambda: (
            send(port_of(service), as_v2c(), LINK_DOWN, [*interface(3), *named(device)]),
            alarms_of(service, device),
        )[1],
        bool,
    )
    assert [one["perceived_severity"] for one in found] == ["MAJOR"]
