"""The underlay that joins the sites of a run directory: every site has a leg in it."""

import contextlib

from farsite.model.ids import VimId
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import holder, links, namespaces

_DEVICE = "wan0"
_MTU = 9000


def join(wan: holder.Held, own: links.Links, *, vim_id: VimId, address: str) -> None:
    """Give the site that we are in its leg in the underlay `wan`, with its address; repeating it is well."""
    if own.index(_DEVICE):
        return
    own.set_up(own.index("lo"))
    peer = paths.device_name("w", vim_id)
    index = own.add_veth(_DEVICE, peer=peer, peer_namespace=wan.network, mtu=_MTU)
    own.add_address(index, address)
    namespaces.inside(wan.network, lambda: _plug_in(peer))


def _plug_in(device: str) -> None:
    wan = links.Links()
    try:
        bridge = wan.index("wan")
        if not bridge:
            with contextlib.suppress(FileExistsError):
                wan.add_bridge("wan", mtu=_MTU)
            bridge = wan.index("wan")
        index = wan.index(device)
        wan.set_master(index, bridge)
        wan.make_silent(index)
        wan.set_up(index)
    finally:
        wan.close()
