"""Messages of syslog, in the form of RFC 5424 and in what is sent under the name of RFC 3164.

RFC 3164 describes what was seen in the wild and promises nothing: of such a message only the priority is
sure. Its time has neither year nor zone, so it counts only where the operator says in which zone the sender's
clock is; else a message is as old as its arrival. Where no header can be read all of the rest is the text.

Source: RFC 5424, RFC 3164; RFC 5674 (alarms in structured data); RFC 6587 (framing over TCP).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from farsite.model.errors import Invalid

MESSAGE_MAX = 8192
"""Octets of a message that are read; what is longer is cut. Source: RFC 5425 section 4.3.1."""
FRAME_MAX = 1024 * 1024
"""Octets of a frame over TCP; nobody waits for the end of a longer one."""

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_PRIORITY = re.compile(r"<(\d{1,3})>")
_HEADER_5424 = re.compile(r"1 (\S{1,64}) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ")
_ELEMENT = re.compile(r'\[([^ =\]"]{1,32})((?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\.)*")*)\]', re.DOTALL)
_PARAMETER = re.compile(r' ([^ =\]"]{1,32})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\\]])')
_HEADER_3164 = re.compile(
    r"(?:([A-Z][a-z]{2}) ([ \d]?\d) (\d\d):(\d\d):(\d\d)|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,16}))"
    r" (?:(\S{0,254}[^\s:]) )?"
)
_TAG = re.compile(r"([^\s:\[\]]{1,48})(?:\[([^\]\s]{0,64})\])?: ?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a message says. Texts that it leaves out are empty."""

    facility: str
    severity: int
    """0 (emergency) to 7 (debug)."""
    at: datetime | None = None
    """When it was sent, by the sender's clock; None where that cannot be told."""
    is_exact: bool = False
    """Whether that time has parts of a second, so that no other message of the sender's has the same."""
    host: str = ""
    app: str = ""
    process: str = ""
    message_id: str = ""
    """MSGID of RFC 5424: the type of message, as the program calls it."""
    data: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Structured data: element, parameter, value."""
    text: str = ""


def read(body: bytes, *, arrived_at: datetime, zone: tzinfo | None = None) -> Message:
    """The message in a datagram or frame. `zone` is that of a sender whose times name none.

    Raises:
        Invalid: it does not begin with a priority, or its structured data have no end.
    """
    # What PostgreSQL cannot keep, nobody has to.
    text = body[:MESSAGE_MAX].decode(errors="replace").rstrip("\r\n\0").replace("\0", "\ufffd")
    priority = _PRIORITY.match(text)
    if priority is None or (number := int(priority[1])) >= 8 * len(FACILITIES):
        raise Invalid("A message of syslog begins with a priority of 0 to 191, as <13>.")
    facility, severity = FACILITIES[number // 8], number % 8
    rest = text[priority.end() :]
    header = _HEADER_5424.match(rest)
    if header is None:
        return _as_3164(rest, facility, severity, arrived_at, zone)
    time_text, host, app, process, message_id = ("" if one == "-" else one for one in header.groups())
    data, end = _structured(rest, header.end())
    at = _moment(time_text, zone)
    return Message(
        facility=facility,
        severity=severity,
        at=at,
        is_exact=at is not None and "." in time_text,
        host=host,
        app=app,
        process=process,
        message_id=message_id,
        data=data,
        text=rest[end:].removeprefix(" ").removeprefix("\ufeff"),
    )


def _structured(text: str, at: int) -> tuple[dict[str, dict[str, str]], int]:
    if text.startswith("-", at):
        return {}, at + 1
    data: dict[str, dict[str, str]] = {}
    begin = at
    while found := _ELEMENT.match(text, at):
        values = {one[1]: _ESCAPED.sub(r"\1", one[2]) for one in _PARAMETER.finditer(found[2])}
        data.setdefault(found[1], {}).update(values)
        at = found.end()
    if at == begin or text.startswith("[", at):
        raise Invalid('The structured data of a message are neither - nor [ID NAME="VALUE"].')
    return data, at


def _as_3164(text: str, facility: str, severity: int, arrived_at: datetime, zone: tzinfo | None) -> Message:
    at: datetime | None = None
    is_exact = False
    host = ""
    if header := _HEADER_3164.match(text):
        month, day, hour, minute, second, iso, found = header.groups()
        if iso:
            at = _moment(iso, zone)
            is_exact = at is not None and "." in iso
        elif zone is not None:
            clock = (int(day), int(hour), int(minute), int(second))
            at = _in_the_nearest_year(month, clock, arrived_at, zone)
        host = found or ""
        text = text[header.end() :]
    tag = _TAG.match(text)
    return Message(
        facility=facility,
        severity=severity,
        at=at,
        is_exact=is_exact,
        host=host,
        app=tag[1] if tag else "",
        process=(tag[2] or "") if tag else "",
        text=text[tag.end() :] if tag else text,
    )


def _moment(text: str, zone: tzinfo | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone) if zone is not None else None
        return None if found is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        # A time that nobody can read hides no fault: then it is the time of arrival.
        return None


def _in_the_nearest_year(
    month: str, clock: tuple[int, int, int, int], arrived_at: datetime, zone: tzinfo
) -> datetime | None:
    if month not in _MONTHS:
        return None
    found: list[datetime] = []
    for year in (arrived_at.year - 1, arrived_at.year, arrived_at.year + 1):
        try:
            found.append(datetime(year, _MONTHS.index(month) + 1, *clock, tzinfo=zone).astimezone(UTC))
        except (ValueError, OverflowError):
            continue
    return min(found, key=lambda one: abs(one - arrived_at), default=None)


class Frames:
    """The messages in a stream: with their number of octets in front, or each a line.

    How much comes at once makes no difference. Of a message that is too long the beginning is given and the
    rest thrown away as it comes, so no more than one message is kept.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._octets_to_skip = 0
        self._skips_line = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The messages that are complete now, each with whether it was cut.

        Raises:
            Invalid: neither a number nor a priority comes next, so nobody knows where a message begins.
        """
        self._kept += data
        while self._kept:
            if self._skip():
                continue
            if self._kept[0] in b"\r\n\0 ":
                del self._kept[0]
                continue
            found = self._counted() if chr(self._kept[0]).isdigit() else self._line()
            if found is None:
                return
            yield found

    def end(self) -> Iterator[tuple[bytes, bool]]:
        """The last line, which may lack its end.

        Raises:
            Invalid: the stream ended within a message that was counted.
        """
        if self._kept and not self._skips_line and not self._octets_to_skip:
            if not self._kept.startswith(b"<"):
                raise Invalid("The stream ended in the middle of a message.")
            yield bytes(self._kept), False
        self._kept.clear()

    def _skip(self) -> bool:
        """Throw away of what is kept what belongs to a message that was cut; whether there was any."""
        if self._octets_to_skip:
            thrown = min(self._octets_to_skip, len(self._kept))
            del self._kept[:thrown]
            self._octets_to_skip -= thrown
            return True
        if self._skips_line:
            line, end, _ = self._kept.partition(b"\n")
            del self._kept[: len(line) + len(end)]
            self._skips_line = not end
            return True
        return False

    def _counted(self) -> tuple[bytes, bool] | None:
        number, space, _ = self._kept[:9].partition(b" ")
        if not space:
            if len(self._kept) >= 9 or not number.isdigit():
                raise Invalid("A count of octets has no end.")
            return None
        if not number.isdigit() or not 0 < int(number) <= FRAME_MAX:
            raise Invalid(f"A frame has 1 to {FRAME_MAX} octets.")
        octets, begin = int(number), len(number) + 1
        taken = min(octets, MESSAGE_MAX)
        if len(self._kept) < begin + taken:
            return None
        body = bytes(self._kept[begin : begin + taken])
        del self._kept[: begin + taken]
        self._octets_to_skip = octets - taken
        return body, octets > taken

    def _line(self) -> tuple[bytes, bool] | None:
        if self._kept[0] != ord("<"):
            raise Invalid("A message begins with its number of octets or with its priority.")
        at = self._kept.find(b"\n", 0, MESSAGE_MAX + 1)
        if at < 0 and len(self._kept) <= MESSAGE_MAX:
            return None
        is_cut = at < 0
        end = MESSAGE_MAX if is_cut else at
        body = bytes(self._kept[:end])
        del self._kept[: end + (not is_cut)]
        self._skips_line = is_cut
        return body, is_cut
