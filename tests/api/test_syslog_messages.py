"""What is read of messages of syslog, in the forms that there are, and of the operator's rules for them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.api.intake.rule_files import Rules, read
from farsite.api.intake.syslog import FRAME_MAX, MESSAGE_MAX, Frames, Message
from farsite.api.intake.syslog import read as message
from farsite.api.intake.syslog_rules import SYSLOG_RULES, SyslogRule, told
from farsite.api.intake.told import Told
from farsite.api.listeners.gate import Gate
from farsite.model.errors import Invalid

ARRIVED = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
ROME = ZoneInfo("Europe/Rome")

RULES = """
senders:
  - from: [192.0.2.0/24, "2001:db8::/32"]
    site: turin
    timezone: Europe/Rome
  - from: [198.51.100.7]
    project: lab
rules:
  - name: link-down
    match:
      facility: [local7]
      level: warning
      host: ["leaf-*"]
      app: [ifmgr]
      pattern: 'Interface (?P<port>\\S+) is down'
    clear: 'Interface (?P<port>\\S+) is up'
    object: "{host}"
    kind: switch
    problem: "link-down/{port}"
    location: "{site}/fabric/{host}/{port}"
    type: COMMUNICATIONS_ALARM
    cause: Link failure
    severity: MAJOR
  - name: fan
    match: {level: err, message_id: ["FAN*"]}
    type: EQUIPMENT_ALARM
    cause: Cooling fan failure
    object: "{data.unit@1.name}"
"""


def rules(text: str = RULES) -> Rules[SyslogRule]:
    return read(SYSLOG_RULES, text, "the file")


def told_of(text: str, address: str = "192.0.2.1") -> Told | None:
    """What a message means by the rules above."""
    known = rules()
    sender = known.sender_of(address)
    assert sender is not None
    found = message(text.encode(), arrived_at=ARRIVED, zone=sender.timezone)
    return told(found, arrived_at=ARRIVED, address=address, sender=sender, rules=known)


def test_a_message_after_rfc_5424_is_read_in_all_its_parts() -> None:
    """The example of the RFC, and what its grammar allows beyond it."""
    found = message(
        b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 "
        b'[exampleSDID@32473 iut="3" eventSource="a \\"b\\" \\\\ \\]"][second@1] '
        b"\xef\xbb\xbfAn application event",
        arrived_at=ARRIVED,
    )
    assert found == Message(
        facility="local4",
        severity=5,
        at=datetime(2003, 10, 11, 22, 14, 15, 3000, UTC),
        is_exact=True,
        host="mymachine.example.com",
        app="evntslog",
        process="8710",
        message_id="ID47",
        data={"exampleSDID@32473": {"iut": "3", "eventSource": 'a "b" \\ ]'}, "second@1": {}},
        text="An application event",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The clock of Rome is an hour ahead, and the message of before midnight is of the year before.
        (
            "<34>Dec 31 23:59:58 mymachine su[7]: 'su root' failed",
            (
                "auth",
                2,
                datetime(2025, 12, 31, 22, 59, 58, tzinfo=UTC),
                "mymachine",
                "su",
                "'su root' failed",
            ),
        ),
        # Without a host; and as rsyslog forwards it.
        (
            "<6>Jan  1 01:00:00 kernel: e1000 down",
            ("kern", 6, datetime(2026, 1, 1, tzinfo=UTC), "", "kernel", "e1000 down"),
        ),
        (
            "<30>2026-01-01T01:00:00.5+02:00 h systemd: x",
            ("daemon", 6, datetime(2025, 12, 31, 23, 0, 0, 500_000, UTC), "h", "systemd", "x"),
        ),
        # Neither time nor host that anybody could read.
        (
            "<189>%LINK-3-UPDOWN Interface Gi0/1",
            ("local7", 5, None, "", "", "%LINK-3-UPDOWN Interface Gi0/1"),
        ),
        ("<13>Foo 31 23:59:58 h a: b", ("user", 5, None, "h", "a", "b")),
        ("<0>", ("kern", 0, None, "", "", "")),
    ],
)
def test_messages_after_rfc_3164_are_read_as_far_as_they_go(text: str, expected: object) -> None:
    """That RFC describes what was seen in the wild; the text is there in any case."""
    found = message(text.encode(), arrived_at=ARRIVED, zone=ROME)
    assert (found.facility, found.severity, found.at, found.host, found.app, found.text) == expected


def test_without_a_zone_a_time_that_names_none_is_not_believed() -> None:
    """An alarm of an hour ago, or of in an hour, would be put in the wrong order."""
    assert message(b"<34>Dec 31 23:59:58 h su: x", arrived_at=ARRIVED).at is None
    assert message(b"<34>1 2025-12-31T23:59:58 h su - - - x", arrived_at=ARRIVED).at is None


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<>x", b"<192>x", b"<1234>x", b"\xff\xfe", b"<13>1 - - - - - [x"]
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    """It is counted by who calls, and nothing is made of it."""
    with pytest.raises(Invalid):
        message(body, arrived_at=ARRIVED)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"<13>", b"<13>1 ", b"<13>1 - - - - - [", b"<34>Jan  1 "])
)
def test_whatever_is_sent_is_a_message_or_refused(body: bytes, begin: bytes) -> None:
    """Nothing that a stranger sends may break the reading; no text holds what a database cannot keep."""
    try:
        found = message(begin + body, arrived_at=ARRIVED, zone=ROME)
    except Invalid:
        return
    assert "\0" not in found.text + found.host + found.app + found.process + found.message_id
    told(found, arrived_at=ARRIVED, address="192.0.2.1", sender=rules().senders[0], rules=rules())


# -- streams ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.booleans()), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_messages_of_a_stream_are_the_same_however_it_is_cut_into_pieces(
    sent: list[tuple[bytes, bool]], pieces: list[int]
) -> None:
    """Counted ones and lines, mixed; TCP keeps no boundaries."""
    stream, expected = bytearray(), list[bytes]()
    for text, is_counted in sent:
        body = b"<13>" + text if is_counted else b"<13>" + text.replace(b"\n", b".")
        stream += b"%d %s" % (len(body), body) if is_counted else body + b"\n"
        expected.append(body)
    frames, found, at, turn = Frames(), list[bytes](), 0, 0
    while at < len(stream):
        size = pieces[turn % len(pieces)]
        found += [body for body, _ in frames.feed(bytes(stream[at : at + size]))]
        at, turn = at + size, turn + 1
    found += [body for body, _ in frames.end()]
    assert found == expected


@pytest.mark.parametrize("is_counted", [True, False])
def test_of_a_message_that_is_too_long_the_beginning_is_read_and_the_next_is_whole(is_counted: bool) -> None:
    """A trace of a megabyte in one line must not cost what comes after it, nor the memory."""
    body = b"<13>" + b"x" * (3 * MESSAGE_MAX)
    stream = b"%d %s" % (len(body), body) if is_counted else body + b"\n"
    frames = Frames()
    found = [one for at in range(0, len(stream), 1000) for one in frames.feed(stream[at : at + 1000])]
    found += frames.feed(b"<13>next\n")
    assert found == [(body[:MESSAGE_MAX], True), (b"<13>next", False)]


@pytest.mark.parametrize(
    "stream",
    [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02", b"12345678901 <", b"0 <13>x", b"%d <" % (FRAME_MAX + 1)],
)
def test_a_stream_of_which_nobody_knows_where_a_message_begins_is_given_up(stream: bytes) -> None:
    """What would be read after that is anything but what was sent."""
    with pytest.raises(Invalid):
        list(Frames().feed(stream))


# -- rules ------------------------------------------------------------------------------------------------


def test_a_rule_makes_an_alarm_of_a_message_and_its_end_of_another() -> None:
    """The same object and problem, or it would never end; ends are rarely as bad as what they end."""
    began = told_of("<188>Jan  1 01:00:00 leaf-7 ifmgr[3]: Interface Gi0/1 is down")
    ended = told_of("<190>Jan  1 01:00:10 leaf-7 ifmgr[3]: Interface Gi0/1 is up")
    assert began is not None
    assert ended is not None
    assert (began.object, began.problem, began.cause) == ("leaf-7", "link-down/Gi0/1", "Link failure")
    assert (ended.object, ended.problem, ended.cause) == (began.object, began.problem, began.cause)
    assert (began.kind, began.location) == ("switch", "turin/fabric/leaf-7/Gi0/1")
    assert (began.severity, began.event_type) == ("MAJOR", "COMMUNICATIONS_ALARM")
    assert (began.is_over, ended.is_over) == (False, True)
    assert began.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert began.labels["rule"] == "link-down"


@pytest.mark.parametrize(
    "text",
    [
        "<189>Jan  1 01:00:00 leaf-7 ifmgr: Interface Gi0/1 is down",  # not bad enough
        "<28>Jan  1 01:00:00 leaf-7 ifmgr: Interface Gi0/1 is down",  # another facility
        "<188>Jan  1 01:00:00 spine-7 ifmgr: Interface Gi0/1 is down",
        "<188>Jan  1 01:00:00 leaf-7 other: Interface Gi0/1 is down",
        "<188>Jan  1 01:00:00 leaf-7 ifmgr: Interface Gi0/1 is fine",
    ],
)
def test_a_message_that_fits_no_rule_is_no_fault(text: str) -> None:
    """Nearly all of what syslog carries is none."""
    assert told_of(text) is None


def test_names_may_come_from_structured_data_and_severity_from_the_message() -> None:
    """RFC 5674 says which severity of syslog is which of X.733."""
    found = told_of('<10>1 2026-01-01T00:00:00Z h - - FAN-3 [unit@1 name="tray-2"] fan stands')
    assert found is not None
    assert (found.object, found.severity, found.problem) == ("tray-2", "MAJOR", "fan")
    assert found.details == ("fan stands",)


def test_an_alarm_in_structured_data_needs_no_rule() -> None:
    """RFC 5674: it says itself what it is of, why and how bad."""
    text = (
        '<161>1 2026-01-01T00:00:00Z h lineCard - - [alarm resource="su-8" probableCause="powerProblem" '
        'perceivedSeverity="{}" eventType="equipmentAlarm"] text'
    )
    found, ended = told_of(text.format("critical")), told_of(text.format("cleared"))
    assert found is not None
    assert ended is not None
    assert (found.object, found.cause, found.severity) == ("su-8", "powerProblem", "CRITICAL")
    assert (found.location, found.event_type) == ("turin/h/su-8", "EQUIPMENT_ALARM")
    assert ended.is_over
    assert (ended.object, ended.problem, ended.event_type) == (found.object, found.problem, found.event_type)
    assert told_of(text.format("rather bad")) is None


def test_the_same_message_is_known_again_only_where_no_other_looks_like_it() -> None:
    """A repetition after the end opens nothing. A link that went down twice within a second did so twice."""
    exact = "<188>1 2026-01-01T00:00:00.25Z leaf-7 ifmgr - - - Interface Gi0/1 is down"
    rough = exact.replace(".25", "")
    one, other = told_of(exact), told_of(exact.replace(".25", ".26"))
    assert one is not None
    assert other is not None
    assert one.episode
    assert one == told_of(exact)
    assert one.episode != other.episode
    assert (second := told_of(rough)) is not None
    assert second.episode == ""


def test_senders_are_known_by_their_network_and_each_has_its_project() -> None:
    """Also those of IPv4 that come to a socket of IPv6."""
    known = rules()
    for address, expected in (
        ("192.0.2.9", ("default", "turin")),
        ("::ffff:192.0.2.9", ("default", "turin")),
        ("2001:db8::1", ("default", "turin")),
        ("198.51.100.7", ("lab", "")),
        ("198.51.100.8", None),
        ("nonsense", None),
    ):
        found = known.sender_of(address)
        assert (found and (found.project, found.site)) == expected, address


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("senders:", "sender:", "senders"),
        ("192.0.2.0/24", "192.0.2.1/24", "senders/0/from/0"),
        ("Europe/Rome", "Rome", "Rome"),
        ("[local7]", "[local9]", "local9"),
        ("level: warning", "level: bad", "level"),
        ("cause: Link failure", "", "cause"),
        ("type: COMMUNICATIONS_ALARM", "type: LINK", "rules/0/type"),
        ("is down'", "is (down'", "pattern"),
        ("is down'", "is (?=down)'", "RE2"),
        ("{site}/fabric", "{rack}/fabric", "{rack}"),
        ("clear: 'Interface (?P<port>\\S+)", "clear: 'Interface (\\S+)", "never end"),
        ("name: fan", "name: link-down", "two rules"),
        ("rules:", "rules: {", "not YAML"),
        ("kind: switch", "kid: switch", "kid"),
    ],
)
def test_what_is_wrong_with_a_file_of_rules_is_named_by_its_place(old: str, new: str, named: str) -> None:
    """The operator reads it at the start of the service, and has nothing else to go by."""
    assert old in RULES
    with pytest.raises(Invalid) as refusal:
        rules(RULES.replace(old, new, 1))
    assert named in refusal.value.detail


def test_no_text_makes_a_pattern_slow() -> None:
    """With an engine that goes back, this message takes longer than the universe has lasted."""
    known = rules(RULES.replace("Interface (?P<port>\\S+) is down", "(?P<port>(a|a)*)(b|c)$"))
    found = message(b"<188>Jan  1 01:00:00 leaf-7 ifmgr: " + b"a" * 8000, arrived_at=ARRIVED)
    said = told(found, arrived_at=ARRIVED, address="192.0.2.1", sender=known.senders[0], rules=known)
    assert said is None


# -- who may send how much --------------------------------------------------------------------------------


def test_each_sender_has_a_rate_of_its_own_and_memory_of_them_is_bounded() -> None:
    """One that is loud must not be heard in place of all others, and forged addresses must cost nothing."""
    now = [0.0]
    known = rules()
    gate = Gate(rate=10.0, monotonic_s=lambda: now[0], rules=lambda: known)
    loud, other = gate.visitor("192.0.2.1"), gate.visitor("192.0.2.2")
    assert [gate.wait_s(loud) == 0 for _ in range(21)] == [*(True for _ in range(20)), False]
    assert gate.wait_s(other) == 0
    assert 0 < gate.wait_s(loud) <= 0.1
    now[0] = 1.0
    assert sum(gate.wait_s(loud) == 0 for _ in range(30)) == 10
    for number in range(20_000):
        gate.visitor(f"10.0.{number // 256}.{number % 256}")
    assert len(gate._visitors) <= 10_000


def test_who_is_shut_out_is_not_let_in_any_more() -> None:
    """The operator took the network out of the file; what was remembered of it goes too."""
    known = [rules()]
    gate = Gate(rate=10.0, monotonic_s=lambda: 0.0, rules=lambda: known[0])
    assert gate.visitor("198.51.100.7").sender is not None
    known[0] = rules(RULES.replace("198.51.100.7", "198.51.100.8"))
    assert gate.visitor("198.51.100.7").sender is None
