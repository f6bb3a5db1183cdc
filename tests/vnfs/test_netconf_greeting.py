"""What answers at the port of a NETCONF device and is none, or is too busy to be one."""

import socket

import pytest

from farsite.vnfs.transports.netconf_session import ENDED, NetconfSession


@pytest.mark.parametrize("said", [b"", b"<hello"])
def test_a_device_that_does_not_finish_its_greeting_is_silent(said: bytes) -> None:
    """A busy device would else stop an operation as an error of ours, which nobody tries again."""
    ours, device = socket.socketpair()
    session = NetconfSession(ours)
    with device:
        device.sendall(said)
        with pytest.raises(ENDED, match="timed out"):
            session.greet(0.2)
        session.close()
