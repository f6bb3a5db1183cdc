"""A network namespace for each site, so that it can be cut off by a rule of the kernel.

All namespaces of a laboratory hang on one bridge, with the database and the bus on the bridge's own address.
A site that is cut off still reaches those two, which belong to its inside: what is cut is what an
orchestrator, or another site, would use. Without `reject` packets vanish, open connections too; with it they
are answered.
"""

import subprocess

from lab.openstack.layout import LaboratoryFault, Layout, Site

UPLINK = "up0"
TABLE = "inet farsite_cut"


def prepare(layout: Layout) -> None:
    """Make the bridge and the namespaces, where they are not there yet.

    Raises:
        LaboratoryFault: this machine or account may not.
    """
    bridge = layout.name
    if not _is_there("link", bridge):
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{layout.host}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
    for site in layout.sites:
        namespace = site.namespace
        assert namespace
        if _is_there("netns", namespace):
            continue
        outer = f"{bridge}s{site.number}"
        _ip("netns", "add", namespace)
        _ip("link", "add", outer, "type", "veth", "peer", "name", UPLINK, "netns", namespace)
        _ip("link", "set", outer, "master", bridge, "up")
        _ip("-netns", namespace, "address", "add", f"{site.address}/24", "dev", UPLINK)
        _ip("-netns", namespace, "link", "set", "lo", "up")
        _ip("-netns", namespace, "link", "set", UPLINK, "up")


def remove(layout: Layout) -> None:
    """Remove namespaces and bridge; what is not there is removed already."""
    for site in layout.sites:
        if site.namespace and _is_there("netns", site.namespace):
            # The bridge's end is gone with its peer.
            _ip("netns", "delete", site.namespace)
    if layout.isolated and _is_there("link", layout.name):
        _ip("link", "delete", layout.name)


def cut(layout: Layout, site: Site, *, reject: bool = False) -> None:
    """Cut the site off; `reject` answers with resets, else nothing comes back. Twice is as good as once."""
    ports = f"{{ {layout.database_port}, {layout.bus_port} }}"
    verdict = "reject with tcp reset" if reject else "drop"
    other = "reject" if reject else "drop"
    mend(site)
    _nft(
        site,
        f"""
        table {TABLE} {{
            chain inbound {{
                type filter hook input priority 0
                iifname != "{UPLINK}" accept
                ip saddr {layout.host} tcp sport {ports} accept
                meta l4proto tcp {verdict}
                {other}
            }}
            chain outbound {{
                type filter hook output priority 0
                oifname != "{UPLINK}" accept
                ip daddr {layout.host} tcp dport {ports} accept
                {"tcp flags & rst == rst accept" if reject else ""}
                meta l4proto tcp {verdict}
                {other}
            }}
        }}
        """,
    )


def mend(site: Site) -> None:
    """Let the site be reached again; one that was not cut off stays as it is."""
    # Made first, because deleting what is not there is an error.
    _nft(site, f"table {TABLE} {{}}\ndelete table {TABLE}\n")


def is_cut(site: Site) -> bool:
    if site.namespace is None:
        return False
    listed = subprocess.run(
        ["nsenter", f"--net=/run/netns/{site.namespace}", "nft", "list", "table", *TABLE.split()],
        capture_output=True,
        check=False,
    )
    return listed.returncode == 0


def _nft(site: Site, rules: str) -> None:
    if site.namespace is None:
        raise LaboratoryFault(f"{site.name} has no namespace of its own; bring it up with --isolated")
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{site.namespace}", "nft", "--file", "-"],
        input=rules,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LaboratoryFault(f"nft refused: {done.stderr.strip()}")


def _is_there(kind: str, name: str) -> bool:
    if kind == "netns":
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
        return name in {line.split()[0] for line in listed.stdout.splitlines() if line}
    shown = subprocess.run(["ip", "link", "show", name], capture_output=True, check=False)
    return shown.returncode == 0


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaboratoryFault(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
