"""The interfaces of a site as the kernel tells of them."""

import asyncio
import socket
from collections.abc import Callable

from farsite.vims.drivers.linux.agent import links
from farsite.vims.drivers.linux.agent.netlink import messages


class Devices:
    """Which interfaces there are and which are up. Made inside the site's network namespace, on a loop."""

    def __init__(self, own: links.Links, changed: Callable[[str, bool], None]) -> None:
        """`changed` is called with an interface that has come up (True) or gone down."""
        self._links = own
        self._changed = changed
        self._devices: dict[str, links.Link] = {}
        self._monitor = self._open_monitor()

    def _open_monitor(self) -> socket.socket:
        monitor = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        monitor.bind((0, links.RTMGRP_LINK))
        asyncio.get_running_loop().add_reader(monitor, self.catch_up)
        return monitor

    def catch_up(self) -> None:
        """Take what the kernel has told and nobody has read yet."""
        while True:
            try:
                data = self._monitor.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some were lost, so look at all
                self.read()
                continue
            for kind, _, _, payload in messages(data):
                # Bridges send messages of family AF_BRIDGE about their ports as well.
                if kind in (links.RTM_NEWLINK, links.RTM_DELLINK) and payload[0] != socket.AF_BRIDGE:
                    self._on_link(links.parse_link(payload), is_gone=kind == links.RTM_DELLINK)

    def read(self) -> None:
        """Look at all interfaces."""
        found = {link.name: link for link in self._links.all()}
        for name in self._devices.keys() - found.keys():
            self._on_link(self._devices[name], is_gone=True)
        for link in found.values():
            self._on_link(link, is_gone=False)

    def is_up(self, device: str) -> bool:
        """Whether an interface is there, switched on, and its other end is too."""
        link = self._devices.get(device)
        return link is not None and link.is_up and link.has_carrier

    def _on_link(self, link: links.Link, *, is_gone: bool) -> None:
        was_up = self.is_up(link.name)
        if is_gone:
            known = self._devices.get(link.name)
            if known is not None and known.index == link.index:
                del self._devices[link.name]
        else:
            self._devices[link.name] = link
        is_up = self.is_up(link.name)
        if is_up != was_up:
            self._changed(link.name, is_up)
