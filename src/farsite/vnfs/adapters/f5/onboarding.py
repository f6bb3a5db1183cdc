"""Device-level settings of BIG-IP by Declarative Onboarding (DO): host name, DNS, NTP and time zone.

DO holds one declaration for the whole device, and gives back to what it was before its first one whatever
a later declaration leaves out. So what it holds is fetched, only the words of a document are laid over
it, and the whole is sent again: other people's parts go along unchanged.

Sources: F5Networks/f5-declarative-onboarding, docs/http-methods.rst (commit 1d7c560) and schema reference
1.x (classes Device, System, DNS, NTP; result with code, status, message, errors); its answers to `async:
true` are 202 with status RUNNING until the task ends.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from farsite.model.configuration import System
from farsite.model.errors import NotSupported

PATH = "/mgmt/shared/declarative-onboarding"

Json = Mapping[str, Any]


def text(held: Json) -> str:
    """What a DO declaration says of the words that documents have."""
    common = cast(Json, held.get("Common") or {})
    said: dict[str, Any] = {}
    for one in common.values():
        if not isinstance(one, dict):
            continue
        member = cast(Json, one)
        match member.get("class"):
            case "System" if member.get("hostname"):
                said["hostname"] = member["hostname"]
            case "DNS":
                said["nameServers"] = member.get("nameServers") or []
                said["search"] = member.get("search") or []
            case "NTP":
                said["ntpServers"] = member.get("servers") or []
                said["timezone"] = member.get("timezone") or ""
            case _:
                pass
    if common.get("hostname"):
        said["hostname"] = common["hostname"]
    said = {name: value for name, value in said.items() if value}
    return f"{json.dumps(said, indent=2, sort_keys=True)}\n" if said else ""


def wanted(document: System, running: str) -> str:
    """The same words, of a document; what it leaves empty stays as it runs.

    Raises:
        NotSupported: the document speaks of what DO's common classes have not.
    """
    for name in ("syslog_servers", "banner"):
        if getattr(document, name):
            raise NotSupported(
                f"system.{name}: not set on BIG-IP by this adapter, which sets names, DNS and NTP."
            )
    if document.host_name and not document.domain and "." not in document.host_name:
        raise NotSupported("system.host_name: BIG-IP wants a full name. State the domain beside it.")
    full = document.host_name if "." in document.host_name else f"{document.host_name}.{document.domain}"
    said = {
        "hostname": full if document.host_name else "",
        "nameServers": list(document.dns_servers),
        "search": [document.domain] if document.domain else [],
        "ntpServers": list(document.ntp_servers),
        "timezone": document.time_zone,
    }
    stays: Json = cast(Json, json.loads(running)) if running else {}
    told = {**stays, **{name: value for name, value in said.items() if value}}
    return f"{json.dumps(told, indent=2, sort_keys=True)}\n" if told else ""


def laid_over(held: Json, words: str) -> dict[str, Any]:
    """The declaration that DO holds, with these words in place of its own."""
    said: Json = cast(Json, json.loads(words)) if words else {}
    common: dict[str, Any] = dict(cast(Json, held.get("Common") or {"class": "Tenant"}))
    for name in [key for key, one in common.items() if isinstance(one, dict) and _is_worded(cast(Json, one))]:
        member = cast(Json, common.pop(name))
        kept = {key: value for key, value in member.items() if key not in _WORDED}
        if set(kept) - {"class"}:
            common[name] = kept
    common.pop("hostname", None)
    if said.get("hostname"):
        common["hostname"] = said["hostname"]
    if said.get("nameServers") or said.get("search"):
        common["farsiteDns"] = _without_empty(
            {"class": "DNS", "nameServers": said.get("nameServers"), "search": said.get("search")}
        )
    if said.get("ntpServers") or said.get("timezone"):
        common["farsiteNtp"] = _without_empty(
            {"class": "NTP", "servers": said.get("ntpServers"), "timezone": said.get("timezone")}
        )
    return {"class": "Device", "schemaVersion": "1.0.0", "async": True, "label": "Farsite", "Common": common}


_WORDED = frozenset({"nameServers", "search", "servers", "timezone", "hostname"})


def _is_worded(member: Json) -> bool:
    return member.get("class") in ("DNS", "NTP") or (member.get("class") == "System" and "hostname" in member)


def _without_empty(content: Json) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value}
