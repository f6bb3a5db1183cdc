"""One small change by hand on each emulated product, for what all of them must do alike."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx2
from lab.emulators import f5, vyos
from lab.emulators.f5_documents import USER

Client = httpx2.Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """How a change called `name` is made, whether it stands, and how it is made to outlive a restart."""

    change: Callable[[Client, str], httpx2.Response]
    stands: Callable[[Client, str], bool]
    save: Callable[[Client], object]
    changed: Callable[[httpx2.Response], bool]


def vyos_said(client: Client, path: str, content: object) -> httpx2.Response:
    return client.post(path, json={"key": vyos.DEFAULT_KEY, **(content if isinstance(content, dict) else {})})


def vyos_path(name: str) -> list[str]:
    return ["interfaces", "dummy", name, "description", "by hand"]


F5_WHO = (USER, f5.DEFAULT_PASSWORD)


def f5_declared(name: str) -> dict[str, object]:
    pool = {"class": "Pool", "members": [{"servicePort": 80, "serverAddresses": ["192.0.2.1"]}]}
    return {
        "class": "ADC",
        "schemaVersion": "3.0.0",
        name: {"class": "Tenant", "app": {"class": "Application", "pool": pool}},
    }


HANDS = {
    "f5": Hand(
        change=lambda client, name: client.post(f5.DECLARE, json=f5_declared(name), auth=F5_WHO),
        stands=lambda client, name: client.get(f"{f5.DECLARE}/{name}", auth=F5_WHO).status_code == 200,
        save=lambda _: None,
        changed=lambda answer: answer.status_code == 200,
    ),
    "vyos": Hand(
        change=lambda client, name: vyos_said(
            client, "/configure", {"commands": [{"op": "set", "path": vyos_path(name)}]}
        ),
        stands=lambda client, name: vyos_said(
            client, "/retrieve", {"op": "exists", "path": vyos_path(name)[:-1]}
        ).json()["data"],
        save=lambda client: vyos_said(client, "/config-file", {"op": "save"}),
        changed=lambda answer: answer.json()["success"],
    ),
}
