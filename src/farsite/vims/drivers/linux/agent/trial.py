"""What this host allows, found by doing it once in a throw-away namespace.

A tier counts only when everything that chains need has worked: a bridge, a veth pair across namespaces, a
VXLAN tunnel and an nftables ingress chain that forwards by symmetric hash. `unshare` alone proves nothing: a
security module may grant the namespace and then deny its capabilities (Ubuntu 24.04).

`python -m farsite.vims.drivers.linux.agent.trial` prints the findings.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farsite.vims.drivers.linux.agent import links, namespaces, nft


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a tier works here; else what failed, in the kernel's words, and how to allow it."""

    tier: str
    works: bool
    reason: str = ""
    remedy: str = ""


_SYSCTLS = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("user/max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=15000"),
)


def choose() -> tuple[str, tuple[Finding, ...]]:
    """The highest tier that works (`root`, `rootless`, or empty) and what was found on the way."""
    findings: list[Finding] = []
    for tier in ("root", "rootless"):
        finding = attempt(tier)
        findings.append(finding)
        if finding.works:
            return tier, tuple(findings)
    return "", tuple(findings)


def refusal(findings: tuple[Finding, ...]) -> str:
    """What is missing and how to allow it, for an operator."""
    found = "; ".join(f"{each.tier}: {each.reason}" for each in findings)
    remedies = "; or ".join(dict.fromkeys(each.remedy for each in findings if each.remedy))
    return f"This host allows no Linux site. {found}. To allow it: {remedies or 'run as root'}."


def attempt(tier: str) -> Finding:
    """Try one tier in a child process, which takes everything with it when it ends."""
    if tier == "root" and os.geteuid() != 0:
        return Finding(tier=tier, works=False, reason="not root", remedy="run as root")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        stage = "nothing"
        try:
            os.close(reader)
            for stage, work in _stages(tier):  # noqa: B007  (the last stage is the one that failed)
                work()
            os.write(writer, b"works")
        except BaseException as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            os.write(writer, f"{stage}: {words}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    if answer == "works":
        return Finding(tier=tier, works=True)
    return Finding(tier=tier, works=False, reason=answer or "the trial died", remedy=_remedy(tier))


class _Stages:
    """The trial's steps, each of which needs what the one before has made."""

    def __init__(self) -> None:
        self.links: links.Links
        self.other = -1
        self.veth = 0

    def user(self) -> None:
        namespaces.new_user_namespace()

    def network(self) -> None:
        namespaces.unshare(namespaces.CLONE_NEWNET | namespaces.CLONE_NEWNS)
        self.other = namespaces.new_network_namespace()
        self.links = links.Links()

    def processes(self) -> None:
        namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC)

    def bridge(self) -> None:
        self.links.add_address(self.links.add_bridge("trial0"), "100.64.0.1/24")

    def pair(self) -> None:
        self.veth = self.links.add_veth("trial1", peer="eth0", peer_namespace=self.other)

    def tunnel(self) -> None:
        self.links.add_vxlan("trial2", vni=1, local="100.64.0.1")

    def steering(self) -> None:
        rule = nft.buckets_up_to(0, 2) + nft.count("c") + nft.forward(self.veth)
        table = nft.Table(
            name="trial", chains={"to": [rule]}, ingress={"trial1": [nft.goto("to")]}, counters={"c": (0, 0)}
        )
        nft.Nftables().replace(table)


def _stages(tier: str) -> list[tuple[str, Callable[[], None]]]:
    stages = _Stages()
    own_user = [("user namespace", stages.user)] if tier == "rootless" else []
    return [
        *own_user,
        ("network namespace", stages.network),
        ("process namespace", stages.processes),
        ("bridge", stages.bridge),
        ("veth pair across namespaces", stages.pair),
        ("VXLAN tunnel", stages.tunnel),
        ("nftables ingress forwarding by symmetric hash", stages.steering),
    ]


def _remedy(tier: str) -> str:
    if tier == "root":
        return "give this root the capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN"
    found: list[str] = []
    for name, forbidding, remedy in _SYSCTLS:
        try:
            if Path("/proc/sys", name).read_text().strip() == forbidding:
                found.append(remedy)
        except OSError:
            continue
    return (
        " and ".join(found)
        or "allow unprivileged user namespaces, or load the modules veth, vxlan, nf_tables"
    )


if __name__ == "__main__":
    chosen, found = choose()
    document = {
        "tier": chosen,
        "findings": [
            {"tier": f.tier, "works": f.works, "reason": f.reason, "remedy": f.remedy} for f in found
        ],
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if chosen else 1)
