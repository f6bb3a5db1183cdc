"""What an agent tells of its host, and of others as it sees them."""

from pathlib import Path

from farsite.vims.drivers.linux.agent import echo
from farsite.vims.drivers.linux.agent.site import Site


async def look(site: Site) -> dict[str, object]:
    """Health of the site, and whether the other ends of its tunnels answer on the underlay (`peers`)."""
    peers = site.peers()
    seen = await echo.answering(peers)
    return {
        **site.health(),
        "endpoint": site.endpoint,
        "namespace": _namespace(),
        "peers": {one: one in seen for one in sorted(peers)},
    }


async def sees(site: Site, addresses: list[str]) -> list[str]:
    """Which of these addresses on the underlay answer; the site's own says nothing."""
    return sorted(await echo.answering(set(addresses) - {site.endpoint}))


def _namespace() -> int:
    """The site's own: an agent lives in it."""
    return Path("/proc/self/ns/net").stat().st_ino
