"""Listens to traps and informs of SNMP (v1, v2c and v3 over UDP), where a setting says so.

Whoever sends an inform is answered when what it told is recorded, and not before: it sends it again until it
is. A trap is answered by nobody.
"""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import structlog

from farsite.api.intake.rule_files import RuleFile
from farsite.api.intake.snmp import SNMP_RULES, SnmpRules, told
from farsite.api.listeners.datagrams import DatagramSocket
from farsite.api.listeners.gate import Gate
from farsite.api.listeners.recorder import Received, Recorder, Statement, count
from farsite.api.listeners.snmp_engine import MESSAGE_MAX, Heard, TrapEngine
from farsite.assurance.intake import Intake
from farsite.model.clock import Clock
from farsite.model.errors import Invalid
from farsite.settings import Settings
from farsite.store.database import Database

log = structlog.get_logger()


class SnmpReader:
    """Reads traps by the operator's rules, with the users and communities that the same file names."""

    format = "snmp"

    def __init__(self, path: str, node_name: str) -> None:
        """Raises:
        Invalid: the file of rules cannot be read, or by too many.
        """
        self._node_name = node_name
        self._file = RuleFile[SnmpRules](path, SNMP_RULES, "FARSITE_SNMP_RULES", is_secret=True)
        self._wrong = ""
        self._use(self._file.read())

    def _use(self, rules: SnmpRules) -> None:
        self._engine = TrapEngine(rules.communities, rules.users, self._node_name)
        self.rules = rules

    def read(self, batch: Sequence[Received]) -> list[Statement]:
        found: list[Statement] = []
        outcomes: Counter[str] = Counter()
        for one in batch:
            heard = self._engine.hear(one.body, cast("tuple[str, int]", one.peer)[:2])
            if heard.trap is None:
                outcomes[heard.refused] += 1
                _answer(one, heard)
                continue
            try:
                said = told(
                    heard.trap, arrived_at=one.at, address=one.address, sender=one.sender, rules=self.rules
                )
            except Exception:
                # Of what anybody may send, one that we did not think of must not cost the others.
                log.exception("snmp.not_read")
                outcomes["failed"] += 1
                continue
            outcomes["alarm" if said else "no_fault"] += 1
            if not said:
                _answer(one, heard)
            # Its sender is answered when the last of what it told is recorded.
            found += [Statement(one, each, heard.answer if each is said[-1] else None) for each in said]
        for outcome, number in outcomes.items():
            count(self.format, outcome, number)
        return found

    def look_again(self) -> str:
        if self._file.has_changed():
            try:
                self._use(self._file.read())
                self._wrong = ""
                log.info("snmp.rules_read", rules=len(self.rules.rules))
            except Invalid as fault:
                self._wrong = fault.detail
                log.error("snmp.rules_refused", reason=fault.detail)
        return self._wrong


def _answer(received: Received, heard: Heard) -> None:
    if heard.answer is not None and received.answer is not None:
        received.answer(heard.answer)


class SnmpListener:
    """The socket of SNMP and what is behind it; none where no setting names one."""

    def __init__(self, settings: Settings, database: Database, intake: Intake, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._clock = clock
        self._recorder: Recorder | None = None
        self._datagrams: DatagramSocket | None = None

    @property
    def port(self) -> int | None:
        """The port that is listened on, also one that the system chose; None: none is."""
        return None if self._datagrams is None else self._datagrams.port

    def open(self) -> None:
        """Read the rules and take the port; nothing is received yet.

        Raises:
            Invalid: the rules or the address cannot be used; says which setting it is.
        """
        settings = self._settings
        if not settings.snmp_traps:
            return
        if not settings.snmp_rules:
            raise Invalid(
                "FARSITE_SNMP_RULES is missing: the file that says who is listened to and what is a fault."
            )
        reader = SnmpReader(settings.snmp_rules, settings.node_name)
        recorder = Recorder(settings, self._database, self._intake, self._clock, reader)
        gate = Gate(rate=settings.snmp_rate, monotonic_s=self._clock.monotonic_s, rules=lambda: reader.rules)
        self._datagrams = DatagramSocket(
            settings.snmp_traps, "FARSITE_SNMP_TRAPS", gate, recorder, most_bytes=MESSAGE_MAX
        )
        self._recorder = recorder

    def start(self) -> None:
        """Receive from now on."""
        if self._recorder is not None and self._datagrams is not None:
            self._recorder.start()
            self._datagrams.start()
            log.info("snmp.listening", udp=self._datagrams.port)

    async def stop(self) -> None:
        """Receive nothing more and record what was received."""
        if self._recorder is not None and self._datagrams is not None:
            self._datagrams.close()
            await self._recorder.stop()
