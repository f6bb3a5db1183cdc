"""A name server on a host of a test's network: dnsmasq, and what befalls questions on their way to it.

It can be silent, slow, and say what is wrong; what the answers look like is dnsmasq's.
"""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from cuts import Lan

_INSIDE_PORT = 5353
_LARGEST = 4096
_ANSWERS_WITHIN_S = 10.0


class NameServer:
    """Port 53 of a host. `delay_s` and `is_silent` may be set at any time."""

    def __init__(self, lan: Lan, host: str) -> None:
        self._lan, self._host = lan, host
        self._program: subprocess.Popen[bytes] | None = None
        self._threads = ThreadPoolExecutor(32)
        self.delay_s = 0.0
        self.is_silent = False
        self.asked = 0
        """Questions so far."""
        self._socket = lan.at(host, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((lan.addresses[host], 53))
        lan.at(host, threading.Thread(target=self._serve, name="name-server").start)

    def says(self, addresses: Mapping[str, str]) -> None:
        """From now on these names have these addresses, and no other name is known."""
        self._end_program()
        known = [f"--host-record={name},{address},0" for name, address in addresses.items()]
        self._program = subprocess.Popen(
            [
                *self._lan.within(self._host),
                *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
                *("--pid-file=", "--user=root", "--listen-address=127.0.0.1", "--bind-interfaces"),
                *(f"--port={_INSIDE_PORT}", "--local=/#/", *known),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.monotonic() + _ANSWERS_WITHIN_S
        while self._lan.at(self._host, _ask, b"\0\0\1\0\0\1\0\0\0\0\0\0\0\0\1\0\1") is None:
            assert time.monotonic() < give_up_at, "dnsmasq does not answer"

    def close(self) -> None:
        self._end_program()
        # Who waits for a question gets none any more.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._threads.shutdown()

    def _end_program(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.wait()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while True:
                question, sender = self._socket.recvfrom(_LARGEST)
                if not question:
                    return
                self.asked += 1
                # A thread that is begun here is on the same host.
                self._threads.submit(self._pass_on, question, sender)

    def _pass_on(self, question: bytes, sender: tuple[str, int]) -> None:
        time.sleep(self.delay_s)
        if self.is_silent:
            return
        answer = _ask(question)
        if answer is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(answer, sender)


def _ask(question: bytes) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1.0)
        asking.connect(("127.0.0.1", _INSIDE_PORT))
        try:
            asking.send(question)
            return asking.recv(_LARGEST)
        except OSError:
            time.sleep(0.05)
            return None


@contextmanager
def name_server(lan: Lan, host: str) -> Iterator[NameServer]:
    """A name server on that host that knows no name yet; gone at the end."""
    made = NameServer(lan, host)
    try:
        yield made
    finally:
        made.close()
