"""What a document means as an AS3 application.

Names get a prefix for what they are, since AS3 has one space of names per application.

Source: F5 BIG-IP AS3 schema reference 3.44 (Application, Service_TCP, Service_HTTP, Pool, Pool_Member,
Monitor, TCP_Profile), clouddocs.f5.com; F5Networks/f5-appsvcs-extension, docs/declarations.
"""

import math
from collections.abc import Mapping
from typing import Any

from farsite.model.configuration import (
    Balance,
    HealthCheck,
    LoadBalancer,
    Pool,
    PoolMember,
    ServiceProtocol,
    VirtualServer,
)
from farsite.model.errors import NotSupported
from farsite.vnfs.dictionary import plain

_MOST_RATIO = 100
_FIRST, _BACKUP = 2, 1
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - AS3's word for any address, nothing listens here


def objects(document: LoadBalancer) -> dict[str, Any]:
    """The members of the application, by name."""
    pools = {pool.name: pool for pool in document.pools}
    made: dict[str, Any] = {}
    for server in document.virtual_servers:
        made[f"tcp_{server.name}"] = {"class": "TCP_Profile", "idleTimeout": math.ceil(server.idle_timeout_s)}
        made[f"vs_{server.name}"] = _service(server, pools[server.pool])
    for pool in document.pools:
        made[f"pool_{pool.name}"] = _pool(pool)
        if pool.check is not None:
            made[f"monitor_{pool.name}"] = _monitor(pool.check)
    return made


def _service(server: VirtualServer, pool: Pool) -> Mapping[str, Any]:
    is_http = server.protocol is ServiceProtocol.HTTP
    return {
        "class": "Service_HTTP" if is_http else "Service_TCP",
        "virtualAddresses": [plain(server.address) if server.address else _EVERYWHERE],
        "virtualPort": server.port,
        "pool": f"pool_{server.pool}",
        "profileTCP": {"use": f"tcp_{server.name}"},
        # AS3's own choice is to keep a client at its member, by address or by cookie.
        "persistenceMethods": ["source-address"] if pool.balance is Balance.SOURCE_HASH else [],
    }


def _pool(pool: Pool) -> Mapping[str, Any]:
    has_backup = any(one.is_backup for one in pool.members)
    made: dict[str, Any] = {
        "class": "Pool",
        "loadBalancingMode": _mode(pool),
        "members": [_member(one, in_groups=has_backup) for one in pool.members],
    }
    if has_backup:
        made["minimumMembersActive"] = 1
    if pool.check is not None:
        made["monitors"] = [{"use": f"monitor_{pool.name}"}]
    return made


def _mode(pool: Pool) -> str:
    has_weights = any(one.weight != 1 for one in pool.members)
    if pool.balance is Balance.LEAST_CONNECTIONS:
        return "ratio-least-connections-member" if has_weights else "least-connections-member"
    return "ratio-member" if has_weights else "round-robin"


def _member(member: PoolMember, *, in_groups: bool) -> Mapping[str, Any]:
    if not 1 <= member.weight <= _MOST_RATIO:
        raise NotSupported(
            f'load_balancer: the member "{member.name}" has the weight {member.weight}; BIG-IP takes 1 to '
            f"{_MOST_RATIO}. State is_enabled: false for a member that shall get nothing."
        )
    made: dict[str, Any] = {
        "remark": member.name,
        "serverAddresses": [plain(member.address)],
        "servicePort": member.port,
        "ratio": member.weight,
        "adminState": "enable" if member.is_enabled else "disable",
    }
    if in_groups:
        made["priorityGroup"] = _BACKUP if member.is_backup else _FIRST
    return made


def _monitor(check: HealthCheck) -> Mapping[str, Any]:
    interval_s = max(1, math.ceil(check.interval_s))
    made: dict[str, Any] = {
        "class": "Monitor",
        "monitorType": "http" if check.path else "tcp",
        "interval": interval_s,
        # One second more than the checks that may fail: F5's own rule for its defaults (5 and 16).
        "timeout": check.fall * interval_s + 1,
        "timeUntilUp": (check.rise - 1) * interval_s,
    }
    if check.path:
        made["send"] = f"GET {check.path} HTTP/1.0\r\n\r\n"
        made["receive"] = "HTTP/1\\.[01] [23]"
    return made
