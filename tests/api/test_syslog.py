"""Senders of syslog tell a real service of faults, over each protocol, as well as they can and as badly."""

import datetime as dt
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from alarms_seen import alarms_of, the_alarm
from farsite.api.intake.syslog import MESSAGE_MAX
from farsite.model.access import Role
from service_bench import Service, running
from syslog_senders import PROTOCOLS, RULES, connected, counted, down, listening, port_of, send, up


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that listens; tests share it, so each names its own switches."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(listening(data_dir)) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def switch() -> str:
    return f"leaf-{uuid4().hex[:8]}"


# -- what senders tell --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_message_is_an_alarm_until_the_one_that_ends_it(
    service: Service, switch: str, protocol: str
) -> None:
    """A switch that knows nothing of us tells of its own fault, and of its end."""
    send(service, protocol, down(switch), down(switch, "Gi0/2"))
    service.until(lambda: alarms_of(service, switch), lambda seen: len(seen) == 2)
    send(service, protocol, up(switch, "Gi0/2"))
    one, other = service.until(
        lambda: sorted(alarms_of(service, switch), key=lambda one: one["specific_problem"]),
        lambda seen: seen[1]["perceived_severity"] == "CLEARED",
    )
    assert (one["specific_problem"], one["perceived_severity"]) == ("link-down/Gi0/1", "MAJOR")
    assert (one["object_kind"], one["location"]) == ("switch", f"turin/{switch}")
    assert (one["probable_cause"], one["event_type"]) == ("Link failure", "COMMUNICATIONS_ALARM")
    assert (one["source"], one["fault_type"]) == ("syslog", "link-down")
    assert one["fault_details"] == [f"Interface Gi0/1 of {switch} is down"]
    assert other["cleared_at"] is not None
    history = service.native("GET", "/alarms/history", params={"object": switch}).json()
    assert history[0]["who"] == "syslog 127.0.0.1"


@pytest.mark.parametrize(
    "how",
    [
        ("--udp", "--rfc3164"),
        ("--udp", "--rfc5424"),
        ("--tcp", "--rfc3164"),
        ("--tcp", "--rfc5424", "--octet-count"),
    ],
    ids=" ".join,
)
def test_what_the_logger_of_linux_sends_is_understood(
    service: Service, switch: str, how: tuple[str, ...]
) -> None:
    """A program that others wrote, in each form that it has."""
    if shutil.which("logger") is None:
        pytest.skip("logger is not there")
    port = port_of(service, how[0].removeprefix("--"))
    for priority, text in (("local7.err", "down"), ("local7.notice", "up")):
        command = ["logger", *how, "--server", "127.0.0.1", "--port", str(port), "--tag", "ifmgr"]
        subprocess.run(
            [*command, "--priority", priority, f"Interface Gi0/1 of {switch} is {text}"],
            check=True,
            timeout=30,
        )
        the_alarm(service, switch, "MAJOR" if text == "down" else "CLEARED")


def test_who_subscribed_is_told_as_of_any_alarm(service: Service, switch: str) -> None:
    """What a message told goes the way of all alarms: it has an entry in the outbox, and its end too."""
    from farsite.store import outbox

    send(service, "tcp", down(switch), up(switch))
    alarm = the_alarm(service, switch, "CLEARED")
    with service.farsite.database.transaction() as connection:
        told = [one.kind for one in outbox.after(connection, 0, object_id=alarm["id"], limit=100)]
    assert told == ["alarm-raised", "alarm-cleared"]


def test_what_is_told_twice_is_one_alarm_also_when_it_is_over(service: Service, switch: str) -> None:
    """Senders have two addresses, relays repeat, and UDP brings things late: a repetition opens nothing."""
    now = dt.datetime.now(dt.UTC)
    began = down(switch, at=now.isoformat())
    ended = up(switch, at=(now + dt.timedelta(milliseconds=10)).isoformat())
    for protocol in PROTOCOLS:
        send(service, protocol, began)
        the_alarm(service, switch)
    send(service, "tcp", ended, began)
    the_alarm(service, switch, "CLEARED")
    send(service, "udp", began, down(f"{switch}-b"))
    the_alarm(service, f"{switch}-b")
    assert the_alarm(service, switch, "CLEARED")["raised_at"][:19] == now.isoformat()[:19]


def test_a_link_that_goes_down_again_is_down_again(service: Service, switch: str) -> None:
    """Also where the messages look the same, since the sender's clock is not told."""
    send(service, "tcp", down(switch), up(switch), down(switch))
    service.until(
        lambda: sorted(one["perceived_severity"] for one in alarms_of(service, switch)),
        lambda seen: seen == ["CLEARED", "MAJOR"],
    )


def test_each_network_tells_its_own_project(service: Service, switch: str) -> None:
    """A tenant's switches raise no alarm for others, nor end one."""
    send(service, "udp", down(switch), address="127.0.0.3")
    with service.http_as(service.token_of(Role.READER, "lab")) as lab:
        service.until(
            lambda: [one["managed_object_id"] for one in lab.get("/farsite/v1/alarms").json()],
            lambda seen: switch in seen,
        )
    assert alarms_of(service, switch) == []


# -- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_sender_that_is_not_listed_is_counted_and_not_heard(
    service: Service, switch: str, protocol: str
) -> None:
    """Anybody can send a datagram; who may raise alarms is said by the operator."""
    before = counted("sender")
    try:
        send(service, protocol, down(switch), address="127.0.0.2")
    except ConnectionError:
        assert protocol == "tcp", "a datagram is never refused"
    service.until(lambda: counted("sender"), lambda seen: seen == before + 1)
    send(service, protocol, down(f"{switch}-b"))
    the_alarm(service, f"{switch}-b")
    assert alarms_of(service, switch) == []


def test_without_the_certificate_that_is_asked_for_nobody_is_heard(service: Service, switch: str) -> None:
    """Over TLS the address proves nothing either way: the key does."""
    context = ssl.create_default_context(cafile=str(service.settings.data_dir / "service.crt"))
    context.check_hostname = False
    body = down(switch).encode()
    with socket.create_connection(("127.0.0.1", port_of(service, "tls")), 10) as plain:
        try:
            with context.wrap_socket(plain) as to:
                to.sendall(b"%d %s" % (len(body), body))
                # In TLS 1.3 the refusal comes after the client has finished.
                answer = to.recv(1)
        except (ssl.SSLError, ConnectionError):
            answer = b""
    assert answer == b"", "syslog never answers"
    send(service, "tls", down(f"{switch}-b"))
    the_alarm(service, f"{switch}-b")
    assert alarms_of(service, switch) == []


@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_a_sender_that_closes_at_once_has_told_all_that_it_sent(
    service: Service, switch: str, protocol: str
) -> None:
    """Senders of syslog read nothing: what we said to one and it has not read would have its system reset the
    connection, and the messages before that would be lost on our side."""
    for number in range(30):
        send(service, protocol, *(down(switch, f"Gi{card}/{number}") for card in range(3)))
    service.until(lambda: len(alarms_of(service, switch)), lambda seen: seen == 90)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_garbage_is_counted_and_the_next_message_is_heard(
    service: Service, switch: str, protocol: str
) -> None:
    """A device that went mad must not silence the others, nor itself when it is well again."""
    before = counted("form")
    rubbish = [b"\x00\xff" * 40, b"<999>x", b"<187>1 - - - - - [broken", b"GET / HTTP/1.1\r\n\r\n"]
    for one in rubbish:
        with connected(service, protocol) as to:
            to.sendall(one)
    service.until(lambda: counted("form"), lambda seen: seen >= before + len(rubbish))
    send(service, protocol, down(switch))
    the_alarm(service, switch)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_message_that_is_too_long_is_cut_and_still_tells(
    service: Service, switch: str, protocol: str
) -> None:
    """What matters stands at its beginning; the rest must not cost what it is."""
    before = counted("cut")
    send(service, protocol, f"{down(switch)} {'x' * 5 * MESSAGE_MAX}", down(f"{switch}-b"))
    alarm = the_alarm(service, switch)
    assert len(alarm["fault_details"][0]) <= 4000
    the_alarm(service, f"{switch}-b")
    assert counted("cut") == before + 1


def test_a_connection_that_breaks_in_a_message_costs_nobody_else_anything(
    service: Service, switch: str
) -> None:
    """A sender that dies, and one that begins a message and never ends it."""
    before = counted("form")
    with connected(service, "tcp") as hanging, connected(service, "tcp") as dying:
        hanging.sendall(b"500 <187>1 - ")
        dying.sendall(b"500 <187>1 - ")
        dying.shutdown(socket.SHUT_RDWR)
        service.until(lambda: counted("form"), lambda seen: seen == before + 1)
        send(service, "tcp", down(switch))
        the_alarm(service, switch)


def test_rules_are_read_anew_and_wrong_ones_leave_the_old_in_force(service: Service, switch: str) -> None:
    """A slip of the operator's must not make us deaf, and has to be told where alarms are looked at."""
    path = Path(service.settings.syslog_rules)

    def refusals() -> list[str]:
        page = alarms_of(service, service.farsite.settings.executor_id)
        found = [one for one in page if one["specific_problem"] == "rules-refused/syslog"]
        return [one["fault_details"][0] for one in found if one["cleared_at"] is None]

    try:
        path.write_text(RULES.replace("severity: MAJOR", "severity: LOUD"))
        (told,) = service.until(refusals, bool)
        assert "rules/0/severity" in told
        send(service, "udp", down(switch))
        the_alarm(service, switch)
        path.write_text(RULES.replace("severity: MAJOR", "severity: MINOR"))
        service.until(refusals, lambda seen: not seen)
        send(service, "udp", down(f"{switch}-b"))
        the_alarm(service, f"{switch}-b", "MINOR")
    finally:
        path.write_text(RULES)
