"""The documents of the emulated BIG-IP: its errors, tokens and tasks, and how a patch is applied."""

import copy
from collections.abc import Mapping

from lab.emulators.f5_schema import OF_APPLICATION, OF_TENANT, Json, objects
from lab.emulators.server import Answer, as_json

USER = "admin"
TOKENS = "/mgmt/shared/authz/tokens"
ONBOARDING = "/mgmt/shared/declarative-onboarding"


def problem(code: int, message: str) -> Answer:
    """An error of the REST framework below AS3."""
    return as_json(
        {"code": code, "message": message, "restOperationId": 1, "kind": ":resterrorresponse"}, status=code
    )


def token_described(token: str, timeout_s: int) -> Json:
    """A token as the device shows it."""
    return {
        "token": token,
        "name": token,
        "userName": USER,
        "authProviderName": "tmos",
        "user": {"link": f"https://localhost/mgmt/shared/authz/users/{USER}"},
        "timeout": timeout_s,
        "partition": "[All]",
        "kind": "shared:authz:tokens:authtokenitemstate",
        "selfLink": f"https://localhost{TOKENS}/{token}",
    }


def onboarding_task(
    task_id: str, code: int, status: str, message: str, declaration: Mapping[str, object]
) -> Json:
    """A task of Declarative Onboarding."""
    return {
        "id": task_id,
        "selfLink": f"https://localhost{ONBOARDING}/task/{task_id}",
        "result": {"class": "Result", "code": code, "status": status, "message": message},
        "declaration": dict(declaration),
    }


def listening(tenant: str, inner: Json) -> list[tuple[tuple[str, int, str], str]]:
    """Where the virtual servers of a tenant listen (address, port, protocol), each with its path."""
    places: list[tuple[tuple[str, int, str], str]] = []
    for application, one in objects(inner, OF_TENANT):
        for name, service in objects(one, OF_APPLICATION):
            kind = str(service.get("class"))
            if not kind.startswith("Service_") or kind in ("Service_Address", "Service_Forwarding"):
                continue
            port = service.get("virtualPort", 443 if kind == "Service_HTTPS" else 80)
            protocol = "udp" if kind == "Service_UDP" else "tcp"
            addresses = service.get("virtualAddresses")
            path = f"/{tenant}/{application}/{name}"
            places += [
                ((address, int(str(port)), protocol), path)
                for address in (addresses if isinstance(addresses, list) else [])
                if isinstance(address, str)
            ]
    return places


def of_class(shown: Json, wanted: str) -> Json:
    """Only the objects of a class, where they are."""
    kept: Json = {}
    for key, one in shown.items():
        if isinstance(one, dict):
            if one.get("class") == wanted:
                kept[key] = one
            elif inner := of_class(one, wanted):
                kept[key] = inner
    return kept


def patched(document: Json, step: Json) -> None:
    """Apply one step of RFC 6902 to a document; AS3 has no `test`."""
    words = [one.replace("~1", "/").replace("~0", "~") for one in str(step["path"]).split("/")[1:]]
    if words and words[0] == "ADC":
        words = words[1:]
    place: object = document
    for word in words[:-1]:
        place = _below(place, word)
    last, op = words[-1], step["op"]
    if op in ("move", "copy"):
        source = [one for one in str(step["from"]).split("/")[1:] if one != "ADC"]
        value: object = document
        for word in source:
            value = _below(value, word)
        if op == "move":
            patched(document, {"op": "remove", "path": "/" + "/".join(source)})
        patched(document, {"op": "add", "path": step["path"], "value": copy.deepcopy(value)})
    elif op in ("add", "replace"):
        if isinstance(place, list):
            at = len(place) if last == "-" else int(last)
            place[at : at + (op == "replace")] = [step["value"]]
        else:
            inner = _inner(place)
            if op == "replace" and last not in inner:
                raise KeyError(step["path"])
            inner[last] = step["value"]
    elif op == "remove":
        if isinstance(place, list):
            del place[int(last)]
        else:
            del _inner(place)[last]
    else:
        raise ValueError(f"operation {op} is not supported")


def _inner(place: object) -> Json:
    if not isinstance(place, dict):
        raise ValueError("path does not exist")
    return place


def _below(place: object, word: str) -> object:
    if isinstance(place, list):
        every: list[object] = place
        return every[int(word)]
    return _inner(place)[word]
