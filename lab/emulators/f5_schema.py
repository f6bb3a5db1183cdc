"""What the emulated AS3 takes: the classes of a declaration, what each needs, and which names must resolve.

A part of AS3's schema, written from its reference by class and its examples. A class that is not here is
taken with any properties, so an adapter is never refused for what this file leaves out.

Source: docs/ of F5Networks/f5-appsvcs-extension (openapi.yaml 3.56.0, declarations/, refguide/).
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "dict[str, object]"

NAME = re.compile(r"[A-Za-z][0-9A-Za-z_.-]*")
RESERVED = frozenset(
    {
        "class",
        "schemaVersion",
        "id",
        "label",
        "remark",
        "updateMode",
        "controls",
        "scratch",
        "constants",
        "target",
        "$schema",
    }
)
OF_TENANT = frozenset(
    {
        "class",
        "label",
        "remark",
        "enable",
        "defaultRouteDomain",
        "useCommonRouteDomainTenant",
        "constants",
        "controls",
        "optimisticLockKey",
        "verifiers",
    }
)
OF_APPLICATION = frozenset(
    {
        "class",
        "label",
        "remark",
        "template",
        "enable",
        "schemaOverlay",
        "constants",
        "controls",
        "schemaVersion",
        "$schema",
        "id",
    }
)

_EVERY = frozenset({"class", "label", "remark"})
_VIRTUAL = _EVERY | frozenset(
    {
        "virtualAddresses",
        "virtualPort",
        "pool",
        "snat",
        "enable",
        "iRules",
        "persistenceMethods",
        "profileTCP",
        "profileUDP",
        "profileHTTP",
        "profileL4",
        "maxConnections",
        "mirroring",
        "policyEndpoint",
        "layer4",
        "allowVlans",
        "rejectVlans",
        "translateServerAddress",
        "translateServerPort",
        "addressStatus",
        "lastHop",
        "rateLimit",
        "allowNetworks",
        "shareAddresses",
        "sourceAddress",
        "serverTLS",
        "clientTLS",
        "redirect80",
        "profileMultiplex",
        "securityLogProfiles",
        "policyFirewallEnforced",
        "policyFirewallStaged",
        "policyWAF",
        "nat64Enabled",
        "clonePools",
        "ipProtocol",
        "fallbackPersistenceMethod",
        "profileHTTPCompression",
        "profileHTTPAcceleration",
        "profileHTTP2",
        "profileStatistics",
        "profileAnalytics",
        "statsProfile",
        "adminState",
        "virtualType",
        "forwardingType",
        "metadata",
        "serviceDownImmediateAction",
        "httpMrfRoutingEnabled",
        "profileTrafficLog",
        "policyNAT",
        "profileBotDefense",
        "hostname",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """What one class of a declaration needs and may have; `takes` None is anything."""

    needs: tuple[str, ...] = ()
    takes: frozenset[str] | None = None
    points: tuple[str, ...] = field(default=())
    """Properties that name another object: `pool`, `{"use": "pool"}`, a list of either."""


CLASSES: Mapping[str, Class] = {
    **{
        name: Class(
            needs=("virtualAddresses", *more),
            takes=_VIRTUAL,
            points=(
                "pool",
                "serverTLS",
                "clientTLS",
                "iRules",
                "policyEndpoint",
                "profileHTTP",
                "profileTCP",
                "snat",
            ),
        )
        for name, more in {
            "Service_HTTP": (),
            "Service_HTTPS": ("serverTLS",),
            "Service_TCP": ("virtualPort",),
            "Service_UDP": ("virtualPort",),
            "Service_L4": ("virtualPort",),
            "Service_SCTP": ("virtualPort",),
            "Service_Generic": ("virtualPort",),
            "Service_Forwarding": ("forwardingType",),
        }.items()
    },
    "Pool": Class(
        takes=_EVERY
        | frozenset(
            {
                "members",
                "monitors",
                "minimumMonitors",
                "loadBalancingMode",
                "minimumMembersActive",
                "reselectTries",
                "serviceDownAction",
                "slowRampTime",
                "allowNATEnabled",
                "allowSNATEnabled",
                "metadata",
                "ipTosToClient",
                "ipTosToServer",
            }
        ),
        points=("monitors",),
    ),
    "Monitor": Class(needs=("monitorType",)),
    "TLS_Server": Class(needs=("certificates",)),
    "TLS_Client": Class(),
    "Certificate": Class(needs=("certificate",)),
    "iRule": Class(needs=("iRule",)),
    "Service_Address": Class(needs=("virtualAddress",)),
    "SNAT_Pool": Class(needs=("snatAddresses",)),
    "NAT_Policy": Class(needs=("rules",)),
    "Firewall_Policy": Class(needs=("rules",)),
    "Firewall_Rule_List": Class(),
    "Endpoint_Policy": Class(),
    "Data_Group": Class(needs=("keyDataType",)),
}
MEMBER = frozenset(
    {
        "servicePort",
        "serverAddresses",
        "servers",
        "addressDiscovery",
        "adminState",
        "connectionLimit",
        "rateLimit",
        "dynamicRatio",
        "ratio",
        "priorityGroup",
        "monitors",
        "shareNodes",
        "enable",
        "remark",
        "routeDomain",
        "hostname",
        "addressFamily",
        "autoPopulate",
        "queryInterval",
        "downInterval",
        "bigip",
        "fqdnPrefix",
        "minimumMonitors",
        "metadata",
    }
)
MODES = frozenset(
    {
        "round-robin",
        "dynamic-ratio-member",
        "dynamic-ratio-node",
        "fastest-app-response",
        "fastest-node",
        "least-connections-member",
        "least-connections-node",
        "least-sessions",
        "observed-member",
        "observed-node",
        "predictive-member",
        "predictive-node",
        "ratio-least-connections-member",
        "ratio-least-connections-node",
        "ratio-member",
        "ratio-node",
        "ratio-session",
        "weighted-least-connections-member",
        "weighted-least-connections-node",
    }
)
BUILT_IN = frozenset(
    {
        "http",
        "https",
        "tcp",
        "udp",
        "icmp",
        "tcp-half-open",
        "http2",
        "http-head",
        "https-head",
        "inband",
        "self",
        "auto",
        "none",
        "basic",
        "normal",
        "lan",
        "wan",
        "mobile",
    }
)
"""Names that mean something of BIG-IP's own where an object could be named."""


def objects(inner: Mapping[str, object], but: frozenset[str]) -> Iterator[tuple[str, Json]]:
    """The members that are objects of their own, with their names."""
    for name, one in inner.items():
        if name not in but and isinstance(one, dict):
            yield name, one


def tenants(declaration: Mapping[str, object]) -> Iterator[tuple[str, Json]]:
    """The tenants of a declaration."""
    yield from objects(declaration, RESERVED)


def errors(declaration: Mapping[str, object]) -> list[str]:
    """Every fault of a declaration in AS3's words; empty where it is right."""
    found: list[str] = []
    if declaration.get("class") != "ADC":
        found.append("/class: should be equal to constant")
    version = declaration.get("schemaVersion")
    if not isinstance(version, str):
        found.append(": should have required property 'schemaVersion'")
    elif not re.fullmatch(r"3\.\d+\.\d+", version):
        found.append("/schemaVersion: should be equal to one of the allowed values")
    for name, tenant in tenants(declaration):
        if not NAME.fullmatch(name):
            found.append(f': should match pattern "{NAME.pattern}"')
        if tenant.get("class") != "Tenant":
            found.append(
                f"/{name}: should have required property 'class'"
                if "class" not in tenant
                else f"/{name}/class: should be equal to constant"
            )
            continue
        for application, inner in objects(tenant, OF_TENANT):
            found += _application(declaration, name, application, inner)
        found += [
            f"/{name}: should NOT have additional properties"
            for key, one in tenant.items()
            if key not in OF_TENANT and not isinstance(one, dict)
        ]
    return found


def _application(declaration: Mapping[str, object], tenant: str, name: str, inner: Json) -> list[str]:
    at = f"/{tenant}/{name}"
    if "class" not in inner:
        return [f"{at}: should have required property 'class'"]
    if inner["class"] != "Application":
        return [f"{at}/class: should be equal to constant"]
    found: list[str] = []
    for item, one in objects(inner, OF_APPLICATION):
        found += _item(f"{at}/{item}", one)
        known = CLASSES.get(str(one.get("class")))
        for key in known.points if known else ():
            found += _pointers(declaration, tenant, name, f"{at}/{item}/{key}", one.get(key))
    return found


def _item(at: str, one: Json) -> list[str]:
    if "class" not in one:
        return [f"{at}: should have required property 'class'"]
    name = str(one["class"])
    known = CLASSES.get(name)
    if known is None:
        return (
            []
            if re.fullmatch(r"[A-Za-z0-9_]+", name)
            else [f"{at}/class: should be equal to one of the allowed values"]
        )
    found = [f"{at}: should have required property '{need}'" for need in known.needs if need not in one]
    if known.takes is not None:
        found += [f"{at}: should NOT have additional properties" for key in one if key not in known.takes]
    found += _values(at, one)
    if name == "Pool":
        members = one.get("members", [])
        for number, member in enumerate(members if isinstance(members, list) else []):
            found += _member(f"{at}/members/{number}", member)
    return found


def _values(at: str, one: Json) -> list[str]:
    found: list[str] = []
    if "virtualPort" in one:
        found += _port(f"{at}/virtualPort", one["virtualPort"])
    addresses = one.get("virtualAddresses", [])
    if not isinstance(addresses, list):
        found.append(f"{at}/virtualAddresses: should be array")
    else:
        for number, address in enumerate(addresses):
            # A pair is an address and what may come to it; an object points to a Service_Address.
            first = address[0] if isinstance(address, list) and address else address
            if isinstance(first, str) and not _is_address(first):
                found.append(f'{at}/virtualAddresses/{number}: should match format "f5ip"')
    mode = one.get("loadBalancingMode")
    if mode is not None and mode not in MODES:
        found.append(f"{at}/loadBalancingMode: should be equal to one of the allowed values")
    return found


def _member(at: str, member: object) -> list[str]:
    if not isinstance(member, dict):
        return [f"{at}: should be object"]
    found = (
        [f"{at}: should have required property 'servicePort'"]
        if "servicePort" not in member
        else _port(f"{at}/servicePort", member["servicePort"])
    )
    found += [f"{at}: should NOT have additional properties" for key in member if key not in MEMBER]
    for number, address in enumerate(member.get("serverAddresses", [])):
        if not _is_address(str(address)):
            found.append(f'{at}/serverAddresses/{number}: should match format "f5ip"')
    return found


def _port(at: str, value: object) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{at}: should be integer"]
    if value < 0:
        return [f"{at}: should be >= 0"]
    return [f"{at}: should be <= 65535"] if value > 65535 else []


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_interface(re.sub(r"%\d+", "", value))
    except ValueError:
        return False
    return True


def _pointers(
    declaration: Mapping[str, object], tenant: str, application: str, at: str, value: object
) -> list[str]:
    if isinstance(value, list):
        return [said for one in value for said in _pointers(declaration, tenant, application, at, one)]
    name = value.get("use") if isinstance(value, dict) else value
    if not isinstance(name, str) or name in BUILT_IN:
        return []
    if _resolves(declaration, tenant, application, name):
        return []
    leaf = name.rsplit("/", 1)[-1]
    return [f"{at}: contains path to non-existent object {leaf}"]


def _resolves(declaration: Mapping[str, object], tenant: str, application: str, name: str) -> bool:
    words = name.strip("/").split("/") if "/" in name else [tenant, application, name]
    place: object = declaration
    for word in words:
        if not isinstance(place, dict) or word not in place:
            return False
        place = place[word]
    return True
