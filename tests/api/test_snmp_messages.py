"""What is read of traps of SNMP, and of the operator's rules for them."""

import random
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farsite.api.intake.rule_files import read
from farsite.api.intake.snmp import SNMP_RULES, SYS_UP_TIME, TRAP_OID, SnmpRules, Trap, told
from farsite.api.intake.syslog_rules import SYSLOG_RULES
from farsite.api.intake.told import Told
from farsite.api.listeners.snmp_engine import Heard, TrapEngine
from farsite.model.errors import Invalid
from snmp_senders import COLD_START, ENGINE, LINK_DOWN, LINK_UP, as_v2c, as_v3, interface, send

ARRIVED = datetime(2026, 1, 1, tzinfo=UTC)
UPS = "1.3.6.1.4.1.99999.1"

RULES = f"""
senders:
  - from: [192.0.2.0/24]
    site: turin
communities: [the-community]
users:
  - name: monitor
    auth: SHA-256
    auth_password: the-auth-word
    privacy: AES
    privacy_password: the-privacy-word
    engine_ids: ["0x{ENGINE}"]
  - name: open
    engine_ids: [{ENGINE}]
names:
  battery: {UPS}.1
  unit: {UPS}.2
rules:
  - name: battery
    trap: {UPS}.0.1
    where: {{battery: 3}}
    clear_where: {{battery: 2}}
    object: "{{unit}}"
    kind: ups
    problem: "battery/{{unit}}"
    location: "{{site}}/power/{{unit}}"
    type: ENVIRONMENTAL_ALARM
    cause: Power problem
    severity: CRITICAL
  - name: fan
    trap: {UPS}.0.2
    clear: {UPS}.0.3
    type: EQUIPMENT_ALARM
    cause: Cooling fan failure
    severity: MINOR
"""


def rules(text: str = RULES) -> SnmpRules:
    return read(SNMP_RULES, text, "the file")


def a_trap(oid: str, up_time: int = 4711, **variables: str) -> Trap:
    known = {"battery": f"{UPS}.1.0", "unit": f"{UPS}.2.0", "index": "1.3.6.1.2.1.2.2.1.1.7"}
    known |= {"admin": "1.3.6.1.2.1.2.2.1.7.7", "name": "1.3.6.1.2.1.1.5.0"}
    found = [(SYS_UP_TIME, str(up_time)), (TRAP_OID, oid)]
    return Trap(variables=(*found, *((known[name], value) for name, value in variables.items())))


def told_of(trap: Trap, at: datetime = ARRIVED, text: str = RULES) -> list[Told]:
    known = rules(text)
    return told(trap, arrived_at=at, address="192.0.2.1", sender=known.senders[0], rules=known)


# -- rules ------------------------------------------------------------------------------------------------


def test_one_trap_with_a_state_in_it_begins_and_ends_an_alarm() -> None:
    """Most makers have one trap per thing, and a variable that says how it is."""
    (began,) = told_of(a_trap(f"{UPS}.0.1", battery="3", unit="ups-2"))
    (ended,) = told_of(a_trap(f"{UPS}.0.1", battery="2", unit="ups-2"))
    assert told_of(a_trap(f"{UPS}.0.1", battery="1", unit="ups-2")) == []
    assert (began.object, began.kind, began.problem) == ("ups-2", "ups", "battery/ups-2")
    assert (began.location, began.severity) == ("turin/power/ups-2", "CRITICAL")
    assert (began.event_type, began.cause) == ("ENVIRONMENTAL_ALARM", "Power problem")
    assert (ended.object, ended.problem, ended.cause) == (began.object, began.problem, began.cause)
    assert (began.is_over, ended.is_over) == (False, True)
    assert began.details == (f"trap {UPS}.0.1", "battery.0 = 3", "unit.0 = ups-2")


def test_two_traps_begin_and_end_an_alarm_of_who_sent_them() -> None:
    """By the name that the sender gives itself, else by its address."""
    (began,) = told_of(a_trap(f"{UPS}.0.2"))
    (ended,) = told_of(a_trap(f"{UPS}.0.3"))
    (other,) = told_of(a_trap(f"{UPS}.0.2", name="pdu-3"))
    assert (began.object, began.location, began.problem) == ("192.0.2.1", "turin/192.0.2.1", "fan")
    assert (ended.object, ended.is_over) == ("192.0.2.1", True)
    assert other.object == "pdu-3"


def test_a_link_is_down_until_it_is_up_unless_somebody_shut_it() -> None:
    """Every switch tells this, and nobody should have to write a rule for it."""
    (began,) = told_of(a_trap(LINK_DOWN, index="7", admin="1"))
    (ended,) = told_of(a_trap(LINK_UP, index="7", admin="1"))
    assert (began.problem, began.severity, began.cause) == ("link-down/7", "MAJOR", "Link failure")
    assert (ended.problem, ended.is_over) == ("link-down/7", True)
    assert told_of(a_trap(LINK_DOWN, index="7", admin="2")) == []
    assert told_of(a_trap(LINK_DOWN, index="7", admin="1"), text=f"standard: false\n{RULES}") == []


def test_a_restart_is_told_and_stands_for_nothing_that_lasts() -> None:
    """Nobody would ever end such an alarm: a device tells that it has begun, and never that it goes on."""
    began, ended = told_of(a_trap(COLD_START))
    assert (began.name, began.is_over, ended.is_over) == ("restarted", False, True)
    assert (began.object, began.problem, began.at) == (ended.object, ended.problem, ended.at)


def test_a_trap_is_known_again_and_no_other_is_taken_for_it() -> None:
    """Told to two processes it is one; the same after the next start of the device is another."""
    (one,) = told_of(a_trap(LINK_DOWN, index="7"))
    (again,) = told_of(a_trap(LINK_DOWN, index="7"), ARRIVED + timedelta(milliseconds=40))
    (later,) = told_of(a_trap(LINK_DOWN, 4712, index="7"), ARRIVED + timedelta(milliseconds=10))
    (after_restart,) = told_of(a_trap(LINK_DOWN, index="7"), ARRIVED + timedelta(hours=1))
    assert one.episode
    assert one.episode == again.episode
    assert len({one.episode, later.episode, after_restart.episode}) == 3


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("communities: [the-community]", "communities: the-community", "communities"),
        ("auth_password: the-auth-word", "auth_password: short", "auth_password"),
        ("    auth_password: the-auth-word\n", "", "auth and auth_password"),
        ("auth: SHA-256", "auth: SHA-1", "users/0/auth"),
        (f'["0x{ENGINE}"]', '["0x12"]', "engine_ids"),
        ("name: open", "name: monitor", "two users"),
        (f"battery: {UPS}.1", "battery: battery", "no OID"),
        ("where: {battery: 3}", "where: {charge: 3}", "charge has no OID"),
        ('problem: "battery/{unit}"', 'problem: "battery/{line}"', "{line}"),
        ("    severity: MINOR\n", "", "severity"),
        (f"trap: {UPS}.0.2", "trap: linkDown", "rules/1/trap"),
    ],
)
def test_what_is_wrong_with_a_file_of_rules_is_named_and_no_password_with_it(
    old: str, new: str, named: str
) -> None:
    """What is wrong is written into logs and alarms, where no password belongs."""
    assert old in RULES
    with pytest.raises(Invalid) as refusal:
        rules(RULES.replace(old, new, 1))
    assert named in refusal.value.detail
    for secret in ("the-auth-word", "the-privacy-word", "short"):
        assert secret not in refusal.value.detail


def test_the_rules_in_the_guide_are_rules() -> None:
    """They are what operators begin with."""
    guide = Path(__file__).parents[2] / "docs" / "guide" / "alarms.md"
    blocks = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
    syslog, snmp = (one for one in blocks if one.startswith("senders:"))
    assert [one.name for one in read(SYSLOG_RULES, syslog, "the guide").rules] == ["link-down"]
    assert [one.name for one in read(SNMP_RULES, snmp, "the guide").rules] == ["battery"]


# -- messages ---------------------------------------------------------------------------------------------


class Receiver:
    """A socket, and the engine that reads what comes there."""

    def __init__(self, found: socket.socket) -> None:
        self._socket = found
        self.port = found.getsockname()[1]
        known = rules()
        self.engine = TrapEngine(known.communities, known.users, "a node")

    def caught(self, how: list[str], trap: str = LINK_DOWN) -> tuple[bytes, tuple[str, int]]:
        send(self.port, how, trap, interface(3))
        return self._socket.recvfrom(65_535)

    def heard(self, how: list[str]) -> Heard:
        return self.engine.hear(*self.caught(how))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(10)
        yield Receiver(found)


@pytest.mark.parametrize("how", [as_v2c(), as_v3(), ["-v1", "-c", "the-community"]], ids=["2c", "3", "1"])
def test_a_trap_of_each_version_is_read_as_the_same(receiver: Receiver, how: list[str]) -> None:
    """Old devices speak version 1, whose traps have another form."""
    if how[0] == "-v1":
        # Enterprise, agent, generic and specific number, time: in the places of time and trap.
        agent, numbers = "192.0.2.77", ["2", "0", "4711"]
        send(receiver.port, how, agent, [*numbers, *interface(3)], up_time="1.3.6.1.4.1.8072")
        heard = receiver.engine.hear(*receiver._socket.recvfrom(65_535))
    else:
        heard = receiver.heard(how)
    assert heard.trap is not None
    assert heard.trap.oid == LINK_DOWN
    assert heard.trap.value("1.3.6.1.2.1.2.2.1.1") == "3"
    assert heard.trap.user == ("monitor" if how[0] == "-v3" else "")


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        (as_v2c("another"), "community"),
        (as_v3("somebody"), "user"),
        (as_v3(engine="80001f8880c0ffee0002"), "user"),
        (as_v3(secrets=("authPriv", "SHA-256", "another-word", "AES", "the-privacy-word")), "security"),
        (as_v3(secrets=("authPriv", "SHA-256", "the-auth-word", "AES", "another-word")), "security"),
        # PySNMP lets these in: the user is known, and how well a message is protected says the message.
        (as_v3(secrets=("authNoPriv", "SHA-256", "the-auth-word", "", "")), "security"),
        (as_v3(secrets=("noAuthNoPriv", "", "", "", "")), "security"),
    ],
    ids=["community", "user", "engine", "auth key", "privacy key", "no privacy", "no auth"],
)
def test_a_message_that_is_not_genuine_is_refused(receiver: Receiver, how: list[str], refused: str) -> None:
    """A forged end hides a fault, and a forged beginning has us heal what is well."""
    heard = receiver.heard(how)
    assert (heard.trap, heard.refused, heard.answer) == (None, refused, None)
    assert receiver.heard(as_v3()).trap is not None


def test_a_user_without_protection_is_let_in_where_the_operator_says_so(receiver: Receiver) -> None:
    """Some devices can do no better."""
    heard = receiver.heard(as_v3("open", ("noAuthNoPriv", "", "", "", "")))
    assert heard.trap is not None
    assert heard.trap.user == "open"


def test_a_message_that_was_recorded_is_not_heard_again_later(receiver: Receiver) -> None:
    """Who kept yesterday's linkUp could end the alarm of today's linkDown; PySNMP takes each message's word
    for the time."""
    before_a_restart = receiver.caught(as_v3(boots="7,100000"))
    old = receiver.caught(as_v3(boots="8,1000"))
    assert receiver.engine.hear(*before_a_restart).trap is not None
    assert receiver.engine.hear(*old).trap is not None
    assert receiver.heard(as_v3(boots="8,2000")).trap is not None
    for one in (old, before_a_restart):
        assert receiver.engine.hear(*one) == Heard(refused="window")
    # Within its window a message may have been overtaken.
    assert receiver.heard(as_v3(boots="8,1900")).trap is not None


def test_whatever_is_sent_is_heard_or_refused_and_nothing_of_it_is_kept(receiver: Receiver) -> None:
    """Bits turned, ends cut off, and no SNMP at all; afterwards all is as before."""
    chance = random.Random(7)
    genuine = [receiver.caught(how)[0] for how in (as_v2c(), as_v3())]
    rubbish = [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"x" * 2000, b"\x30\x80" * 1000, b"\xff" * 64]
    for _ in range(200):
        body = bytearray(chance.choice(genuine))
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        rubbish.append(bytes(body[: chance.randrange(len(body)) + 1]))
    for body in rubbish:
        heard = receiver.engine.hear(body, ("192.0.2.1", 1))
        assert (heard.trap is None) == bool(heard.refused)
    assert receiver.heard(as_v2c()).trap is not None
    assert receiver.heard(as_v3()).trap is not None
