"""A bump in the wire: every frame that comes in at one port leaves at the other, if the function lets it.

Raw packet sockets with the kernel's virtio header in front of each frame. The header says which checksum
is still to be computed and into which pieces a large frame is yet to be cut; handing it back with the
frame keeps both unchanged, so TCP between two namespaces passes with all offloads on. (A relay without it
needs offloads switched off at every port, or corrupts what it forwards.)

VLAN tags: the kernel takes the outer tag out of a received frame and tells it beside the data. A filter in
the kernel sends tagged frames to a socket of their own, where the tag is put back; untagged ones, the
common case, never pay for it.

Frames of one direction leave in the order in which they came; each readiness is served in a batch. (A veth
queues per CPU, so the kernel itself may let a sender overtake itself when it is moved to another CPU.)
"""

import array
import errno
import socket
import struct
import time
from collections.abc import Callable, Mapping

from farsite.functions.documents import Document, DocumentError, DocumentFault
from farsite.functions.frames import FRAME, VIRTIO_HEADER
from farsite.functions.vnfc import PortSpec, Situation, service_ports

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 1, 8, 15, 23
_PACKET_STATISTICS = 6
_PACKET_MR_PROMISC = 1
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_RTM_NEWLINK, _RTM_GETLINK, _NLM_F_REQUEST = 16, 18, 1
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6

_BUFFER_BYTES = 256 * 1024
"""A GSO frame has up to 64 KiB, more where an operator raised `gso_max_size`; longer ones are counted."""
_RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
_BATCH = 64
_RECHECK_S = 0.5

_auxdata = struct.Struct("=IIIHHHH")

# Classic BPF: load "is a VLAN tag present" (SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT), and keep the frame
# whole or drop it.
_LOAD_TAG_PRESENT = (0x30, 0, 0, 0xFFFFF000 + 48)
_ONLY_UNTAGGED = (_LOAD_TAG_PRESENT, (0x15, 0, 1, 0), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
_ONLY_TAGGED = (_LOAD_TAG_PRESENT, (0x15, 1, 0, 0), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))

Decide = Callable[[int, bytearray, int, float], bool]
"""`decide(side, buffer, end, now)`: whether the frame that came in at port `side` goes on. The frame stands
in the buffer from `frames.FRAME` to `end`."""


def choose_ports(ports: tuple[PortSpec, ...], document: Document, first: str, second: str) -> tuple[str, str]:
    """The two data ports, by the roles named in the document, else the first two that are not for management.

    Faults are recorded in the document.
    """
    known = tuple(port.name for port in service_ports(ports))
    default = (*known, "", "")[:2]
    chosen = tuple(
        document.text(role, default[index], one_of=known) if known else document.text(role, "")
        for index, role in enumerate((first, second))
    )
    if len(known) < 2:
        document.fault("", list(known), "two ports that are not for management")
    elif chosen[0] == chosen[1]:
        document.fault(document.at(second), chosen[1], f"another port than {first}")
    return chosen[0], chosen[1]


class Relay:
    """Two ports and the frames between them."""

    def __init__(self, situation: Situation, names: tuple[str, str], decide: Decide) -> None:
        """Open both ports and begin to forward.

        Raises:
            DocumentError: a port is not there, or raw sockets are not allowed.
        """
        self.names = names
        self._reactor = reactor = situation.reactor
        self._addressed = {port.name for port in situation.ports if port.addresses}
        self._decide = decide
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._ports: list[_Port | None] = [None, None]
        self.received = [[0, 0], [0, 0]]
        """Frames and bytes taken in, per side."""
        self.forwarded = [[0, 0], [0, 0]]
        """Frames and bytes handed on, by the side they came in at."""
        self.unreadable = 0
        self.send_failed = 0
        self.missed = [0, 0]
        """Frames the kernel had to throw away because we were too slow, per side."""
        self._next_check = reactor.after(_RECHECK_S, self._recheck)
        for side in (0, 1):
            try:
                self._open(side)
            except OSError as error:
                self.close()
                expected = "an interface in this namespace, and the right to open raw sockets"
                raise DocumentError([DocumentFault(f"ports.{names[side]}", str(error), expected)]) from error

    def close(self) -> None:
        """Stop forwarding."""
        self._next_check.cancel()
        for side in (0, 1):
            self._close(side)

    def passes_packets(self) -> bool:
        """Whether both ports are open, up and connected to something."""
        return all(port is not None and port.is_up() for port in self._ports)

    def counters(self, first: str, second: str) -> Mapping[str, object]:
        """Frames and bytes per direction, named after the roles of the two ports."""
        self._read_missed()
        directions = (f"{first}_to_{second}", f"{second}_to_{first}")
        return {
            **{
                direction: {
                    "received_packets": self.received[side][0],
                    "received_bytes": self.received[side][1],
                    "forwarded_packets": self.forwarded[side][0],
                    "forwarded_bytes": self.forwarded[side][1],
                    "missed_packets": self.missed[side],
                }
                for side, direction in enumerate(directions)
            },
            "unreadable": self.unreadable,
            "send_failed": self.send_failed,
        }

    def _open(self, side: int) -> None:
        port = _Port(self.names[side])
        self._ports[side] = port
        if port.name not in self._addressed:
            _silence(port.name)
        self._reactor.watch(port.untagged.fileno(), lambda _events: self._drain(side))
        self._reactor.watch(port.tagged.fileno(), lambda _events: self._drain_tagged(side))

    def _close(self, side: int) -> None:
        port = self._ports[side]
        if port is not None:
            self._ports[side] = None
            self._reactor.forget(port.untagged.fileno())
            self._reactor.forget(port.tagged.fileno())
            port.close()

    def _recheck(self) -> None:
        """Open a port again that was taken away and came back under the same name."""
        for side in (0, 1):
            port = self._ports[side]
            if port is not None and port.is_current():
                continue
            self._close(side)
            try:
                self._open(side)
            except OSError:
                # Not back yet; health says so, and the next check tries again.
                continue
        self._next_check = self._reactor.after(_RECHECK_S, self._recheck)

    def _drain(self, side: int) -> None:
        """Forward a batch of frames. This is the hot path: names are local, nothing is built per frame."""
        port, out = self._ports[side], self._ports[1 - side]
        if port is None:
            return
        buffer, view, decide = self._buffer, self._view, self._decide
        receive = port.untagged.recv_into
        send = _send_nowhere if out is None else out.untagged.send
        now = time.monotonic()
        received, received_bytes, forwarded, forwarded_bytes = 0, 0, 0, 0
        for _ in range(_BATCH):
            try:
                end = receive(buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            except OSError as error:
                if self._note_receive_error(error):
                    break
                continue
            received += 1
            received_bytes += end - VIRTIO_HEADER
            if end > _BUFFER_BYTES:
                self.unreadable += 1
                continue
            if not decide(side, buffer, end, now):
                continue
            try:
                send(view[:end])
            except OSError:
                # No buffers, the port is down, or the frame does not fit: a wire loses it, and so do we.
                self.send_failed += 1
                continue
            forwarded += 1
            forwarded_bytes += end - VIRTIO_HEADER
        self._count(side, received, received_bytes, forwarded, forwarded_bytes)

    def _drain_tagged(self, side: int) -> None:
        """Forward a batch of VLAN-tagged frames, each with its tag put back in place."""
        port, out = self._ports[side], self._ports[1 - side]
        if port is None:
            return
        now = time.monotonic()
        for _ in range(_BATCH):
            try:
                # Leave room for the tag before the frame: the two addresses move forward into it.
                end, control, flags, _address = port.tagged.recvmsg_into([self._view[4:]], 64)
            except BlockingIOError:
                return
            except OSError as error:
                if self._note_receive_error(error):
                    return
                continue
            end += 4
            if flags & socket.MSG_TRUNC or not control:
                self.unreadable += 1
                continue
            self._put_tag_back(control[0][2])
            is_wanted = self._decide(side, self._buffer, end, now)
            is_sent = False
            if is_wanted and out is not None:
                try:
                    out.untagged.send(self._view[:end])
                    is_sent = True
                except OSError:
                    self.send_failed += 1
            length = end - VIRTIO_HEADER
            self._count(side, 1, length, int(is_sent), length if is_sent else 0)

    def _put_tag_back(self, auxdata: bytes) -> None:
        status, _, _, _, _, tci, tpid = _auxdata.unpack_from(auxdata)
        if not status & _TP_STATUS_VLAN_TPID_VALID:
            tpid = 0x8100
        buffer = self._buffer
        header = bytearray(buffer[4 : 4 + VIRTIO_HEADER])
        # A checksum start counts from the beginning of the frame, which has grown by the tag.
        flags, gso_type, header_length, gso_size, start, offset = struct.unpack("=BBHHHH", header)
        header_length += 4 if header_length else 0
        start += 4 if flags & 1 else 0
        addresses = bytes(buffer[4 + FRAME : 4 + FRAME + 12])
        buffer[0:VIRTIO_HEADER] = struct.pack(
            "=BBHHHH", flags, gso_type, header_length, gso_size, start, offset
        )
        buffer[FRAME : FRAME + 12] = addresses
        buffer[FRAME + 12 : FRAME + 16] = struct.pack("!HH", tpid, tci)

    def _count(
        self, side: int, received: int, received_bytes: int, forwarded: int, forwarded_bytes: int
    ) -> None:
        counts = self.received[side]
        counts[0] += received
        counts[1] += received_bytes
        counts = self.forwarded[side]
        counts[0] += forwarded
        counts[1] += forwarded_bytes

    def _note_receive_error(self, error: OSError) -> bool:
        """Whether to stop reading for now. A frame the kernel cannot describe is lost, not the next one."""
        if error.errno in (errno.EINVAL, errno.EINTR, errno.ENOBUFS):
            self.unreadable += 1
            return False
        # ENETDOWN is told once when the port goes down; the socket works on when it comes up again.
        return True

    def _read_missed(self) -> None:
        for side in (0, 1):
            port = self._ports[side]
            if port is not None:
                self.missed[side] += port.take_missed()


def _silence(name: str) -> None:
    """Keep the kernel from speaking on a port of a wire: neighbour discovery, router solicitations."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:  # noqa: PTH123
            file.write("1")
    except OSError:
        # Not ours to write here; a little noise does no harm.
        return


def _send_nowhere(_frame: memoryview) -> int:
    raise OSError(errno.ENETDOWN, "the other port is away")


class _Port:
    """The packet sockets of one interface."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.index = socket.if_nametoindex(name)
        self.untagged = _packet_socket(self.index, _ONLY_UNTAGGED)
        try:
            self.tagged = _packet_socket(self.index, _ONLY_TAGGED)
            self.tagged.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        except OSError:
            self.untagged.close()
            raise

    def is_current(self) -> bool:
        """Whether the interface of this name is still the one the sockets are bound to."""
        try:
            return socket.if_nametoindex(self.name) == self.index
        except OSError:
            return False

    def is_up(self) -> bool:
        """Whether the interface is up and the other end of its wire is too.

        Asked by netlink: the flags of the older ioctl follow the carrier up to a second late.
        """
        ask = struct.pack("=IHHIIBxHiII", 32, _RTM_GETLINK, _NLM_F_REQUEST, 1, 0, 0, 0, self.index, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
            netlink.send(ask)
            answer = netlink.recv(64 * 1024)
        kind: int = struct.unpack_from("=4xH", answer)[0]
        if kind != _RTM_NEWLINK:
            return False
        flags: int = struct.unpack_from("=I", answer, 16 + 8)[0]
        return bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)

    def take_missed(self) -> int:
        """Frames missed since the last call."""
        missed = 0
        for part in (self.untagged, self.tagged):
            dropped: int = struct.unpack("II", part.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
            missed += dropped
        return missed

    def close(self) -> None:
        self.untagged.close()
        self.tagged.close()


def _packet_socket(index: int, program: tuple[tuple[int, int, int, int], ...]) -> socket.socket:
    # Protocol 0 receives nothing until bind: no frame slips in before the filter stands.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        instructions = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in program))
        opened.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(program), instructions.buffer_info()[0]),
        )
        opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.setsockopt(
            _SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
        )
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except OSError:
            # Not ours to force; ask for what the host allows.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        name = socket.if_indextoname(index)
        opened.bind((name, _ETH_P_ALL))
    except OSError:
        opened.close()
        raise
    return opened
