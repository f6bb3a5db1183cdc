"""Reads messages of SNMP with PySNMP's engine, and looks at what that leaves to its users.

The engine is fed with datagrams and gives back what it would send, so sockets and waiting are ours; it takes
about a millisecond of one thread for a message. Two things it does not do for who receives: refuse a message
of a user that is less protected than the user is (its access control does, which only agents have), and
refuse one that was recorded and is sent again, since it takes each message's own word for the sender's clock.
Both are done here.

Source: RFC 3414 section 3.2 (timeliness: steps 7b), RFC 3412 section 4.2, RFC 3413 section 3.4.
"""

# PySNMP says of few of its functions which types they take.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.carrier.base import AbstractTransportDispatcher
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.proto import rfc3411
from pysnmp.proto.api import v1, v2c
from pysnmp.proto.proxy import rfc2576
from pysnmp.proto.rfc1902 import OctetString

from farsite.api.intake.snmp import Trap, User

log = structlog.get_logger()

MESSAGE_MAX = 8192
"""Octets; of a longer one nothing can be read. Senders keep to what one packet of Ethernet carries."""
_WINDOW_S = 150
_ENGINES_MAX = 10_000
_EPOCH_S = 1_577_836_800
"""2020: counted from there, the seconds at our start are a number of starts that only grows."""

_AUTH: Mapping[str | None, Any] = {
    None: config.USM_AUTH_NONE,
    "MD5": config.USM_AUTH_HMAC96_MD5,
    "SHA": config.USM_AUTH_HMAC96_SHA,
    "SHA-224": config.USM_AUTH_HMAC128_SHA224,
    "SHA-256": config.USM_AUTH_HMAC192_SHA256,
    "SHA-384": config.USM_AUTH_HMAC256_SHA384,
    "SHA-512": config.USM_AUTH_HMAC384_SHA512,
}
_PRIVACY: Mapping[str | None, Any] = {
    None: config.USM_PRIV_NONE,
    "DES": config.USM_PRIV_CBC56_DES,
    "AES": config.USM_PRIV_CFB128_AES,
    "AES-192": config.USM_PRIV_CFB192_AES,
    "AES-256": config.USM_PRIV_CFB256_AES,
}
_REFUSALS = (
    ("__SNMPv2-MIB", "snmpInASNParseErrs", "form"),
    ("__SNMPv2-MIB", "snmpInBadVersions", "version"),
    ("__SNMPv2-MIB", "snmpInBadCommunityNames", "community"),
    ("__SNMPv2-MIB", "snmpInBadCommunityUses", "community"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsUnknownEngineIDs", "discovery"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsUnknownUserNames", "user"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsWrongDigests", "security"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsDecryptionErrors", "security"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsUnsupportedSecLevels", "security"),
    ("__SNMP-USER-BASED-SM-MIB", "usmStatsNotInTimeWindows", "window"),
)
"""What the engine counts of what it refuses, and what we call it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a message: a trap, or why not; and what its sender is answered, if anything."""

    trap: Trap | None = None
    refused: str = ""
    answer: bytes | None = None


class _Outbox(AbstractTransportDispatcher):
    """Keeps what the engine would send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send_message(self, outgoingMessage: Any, *_where: Any) -> None:  # noqa: N803  (their spelling)
        self.sent.append(bytes(outgoingMessage))


class TrapEngine:
    """One engine for one thread; `node_name` makes its id, which senders of informs remember."""

    def __init__(self, communities: Sequence[str], users: Sequence[User], node_name: str) -> None:
        self._levels = {one.name: one.level for one in users}
        digest = hashlib.blake2b(node_name.encode(), digest_size=8).digest()
        # PySNMP's own enterprise, and then octets as the administrator has chosen (RFC 3411).
        self._id = bytes.fromhex("80004fb805") + digest
        self._clocks: dict[bytes, tuple[int, int]] = {}
        self._engine = engine = SnmpEngine()
        builder = engine.get_mib_builder()
        own_id, boots = cast("tuple[Any, Any]", builder.import_symbols(
            "__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots"
        ))  # fmt: skip
        # Not given to its constructor, which would keep a file for it in the directory of temporary files.
        own_id.syntax = own_id.syntax.clone(self._id)
        engine.snmpEngineID = own_id.syntax
        boots.syntax = boots.syntax.clone(int(time.time()) - _EPOCH_S)
        self._outbox = _Outbox()
        engine.register_transport_dispatcher(self._outbox)
        for number, community in enumerate(communities):
            config.add_v1_system(engine, f"c{number}", community)
        for user in users:
            _add(engine, user)
        engine.message_dispatcher.register_context_engine_id(
            b"",
            (v1.TrapPDU.tagSet, v2c.SNMPv2TrapPDU.tagSet, v2c.InformRequestPDU.tagSet),
            self._process,
        )
        engine.observer.register_observer(self._note_clock, "rfc3414.processIncomingMsg")
        self._counters: list[tuple[Any, str]] = [
            (cast("tuple[Any]", builder.import_symbols(module, name))[0], outcome)
            for module, name, outcome in _REFUSALS
        ]
        self._heard: Trap | None = None
        self._why = ""
        self._clock: tuple[bytes, int, int] = (b"", 0, 0)

    def hear(self, body: bytes, peer: tuple[str, int]) -> Heard:
        """What a datagram is."""
        before = [int(counter.syntax) for counter, _ in self._counters]
        self._heard, self._why = None, ""
        self._outbox.sent.clear()
        # By these it forgets in time what it keeps of messages.
        self._outbox.handle_timer_tick(time.time())
        try:
            self._engine.message_dispatcher.receive_message(
                self._engine, udp.SNMP_UDP_DOMAIN, udp.UdpTransportAddress(peer), body
            )
        except Exception as error:
            # What it does not expect comes out of the engine as it broke there.
            log.debug("snmp.not_read", reason=f"{type(error).__name__}: {error}"[:200])
            self._why = self._why or "form"
        answer = self._outbox.sent[-1] if self._outbox.sent else None
        if self._heard is not None:
            return Heard(trap=self._heard, answer=answer)
        counted = (
            outcome
            for (counter, outcome), was in zip(self._counters, before, strict=True)
            if int(counter.syntax) != was
        )
        return Heard(refused=self._why or next(counted, "form"), answer=answer)

    def _note_clock(self, _engine: Any, _point: Any, variables: Mapping[str, Any], _context: Any) -> None:
        self._clock = (
            bytes(variables["securityEngineId"]),
            int(variables["snmpEngineBoots"]),
            int(variables["snmpEngineTime"]),
        )

    def _process(
        self,
        engine: SnmpEngine,
        model: Any,
        security_model: Any,
        security_name: Any,
        security_level: Any,
        context_engine_id: Any,
        context_name: Any,
        version: Any,
        pdu: Any,
        most_bytes: Any,
        state: Any,
    ) -> None:
        """A message that the engine has let in, at the interface that RFC 3413 gives to applications."""
        is_v3 = int(model) == 3
        user = str(security_name) if is_v3 else ""
        if is_v3 and int(security_level) < self._levels.get(user, 4):
            self._why = "security"
            return
        is_inform = pdu.tagSet in rfc3411.CONFIRMED_CLASS_PDUS
        if is_v3 and not is_inform and int(security_level) > 1 and not self._is_timely():
            self._why = "window"
            return
        if int(model) == 0:
            pdu = rfc2576.v1_to_v2(pdu)
        variables = cast("Sequence[tuple[Any, Any]]", v2c.apiPDU.get_varbinds(pdu))
        self._heard = Trap(
            variables=tuple((str(oid), _text(value)) for oid, value in variables),
            user=user,
            is_inform=is_inform,
        )
        if is_inform:
            answer = v2c.apiPDU.get_response(pdu)
            v2c.apiPDU.set_error_status(answer, "noError")
            v2c.apiPDU.set_error_index(answer, 0)
            v2c.apiPDU.set_varbinds(answer, variables)
            engine.message_dispatcher.return_response_pdu(
                engine, model, security_model, security_name, security_level, context_engine_id,
                context_name, version, answer, most_bytes, state, {},
            )  # fmt: skip

    def _is_timely(self) -> bool:
        """Whether the sender's clock has not gone back since its last message that was genuine."""
        engine_id, boots, seconds = self._clock
        known = self._clocks.get(engine_id)
        if known is not None and (boots < known[0] or (boots == known[0] and seconds < known[1] - _WINDOW_S)):
            return False
        if known is None and len(self._clocks) >= _ENGINES_MAX:
            self._clocks.pop(next(iter(self._clocks)))
        self._clocks[engine_id] = max(known or (0, 0), (boots, seconds))
        return True


def _add(engine: SnmpEngine, user: User) -> None:
    """Make a user known as one of ours and of each of its engines."""
    auth, privacy = _AUTH[user.auth], _PRIVACY[user.privacy]
    # Made of the password once: that takes a million octets of hashing, and each engine's key a few.
    auth_key = privacy_key = None
    if user.auth_password is not None:
        auth_key = config.AUTH_SERVICES[auth].hash_passphrase(OctetString(user.auth_password))
    if user.privacy_password is not None:
        password = OctetString(user.privacy_password)
        privacy_key = config.PRIV_SERVICES[privacy].hash_passphrase(auth, password)
    for engine_id in (None, *user.engine_ids):
        config.add_v3_user(
            engine,
            user.name,
            auth,
            auth_key,
            privacy,
            privacy_key,
            securityEngineId=None
            if engine_id is None
            else OctetString(hexValue=engine_id.removeprefix("0x")),
            authKeyType=config.USM_KEY_TYPE_MASTER,
            privKeyType=config.USM_KEY_TYPE_MASTER,
        )


def _text(value: Any) -> str:
    """A value as people write it: numbers and OIDs as they are, octets as text where they are one."""
    if isinstance(value, OctetString):
        try:
            text = bytes(cast("Any", value)).decode()
        except UnicodeDecodeError:
            text = ""
        octets = bytes(cast("Any", value))
        is_text = all(one.isprintable() or one in "\t\r\n" for one in text) and (text or not octets)
        return text if is_text else f"0x{octets.hex()}"
    pretty = cast("Callable[[], str]", value.prettyPrint)
    return pretty().replace("\0", "\ufffd")
