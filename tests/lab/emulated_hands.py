"""One small change by hand on each emulated product, for what all of them must do alike."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
from lab.emulators import f5, fortios, panos, vyos
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


FORTIOS_AT = f"{fortios.CMDB}firewall/address"
FORTIOS_WHO = {"Authorization": f"Bearer {fortios.DEFAULT_TOKEN}"}


def panos_asked(client: Client, **asked: str) -> httpx2.Response:
    key = panos.PanOs().key
    return client.post("/api/", data={"key": key, **asked})


def panos_ended(client: Client) -> httpx2.Response:
    """The jobs, once none is at work."""
    give_up_at = time.monotonic() + 10
    while True:
        jobs = panos_asked(client, type="op", cmd="<show><jobs><all/></jobs></show>")
        if "<status>ACT</status>" not in jobs.text:
            return jobs
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def panos_change(client: Client, name: str) -> httpx2.Response:
    xpath = f"{panos.VSYS}/address/entry[@name='{name}']"
    panos_asked(
        client, type="config", action="set", xpath=xpath, element="<ip-netmask>10.1.0.0/16</ip-netmask>"
    )
    answer = panos_asked(client, type="commit", cmd="<commit></commit>")
    job = re.search(r"<job>(\d+)</job>", answer.text)
    if job is None:
        return answer
    panos_ended(client)
    return panos_asked(client, type="op", cmd=f"<show><jobs><id>{job[1]}</id></jobs></show>")


def panos_stands(client: Client, name: str) -> bool:
    panos_ended(client)
    xpath = f"{panos.VSYS}/address/entry[@name='{name}']"
    return "No such node" not in panos_asked(client, type="config", action="show", xpath=xpath).text


HANDS = {
    "f5": Hand(
        change=lambda client, name: client.post(f5.DECLARE, json=f5_declared(name), auth=F5_WHO),
        stands=lambda client, name: client.get(f"{f5.DECLARE}/{name}", auth=F5_WHO).status_code == 200,
        save=lambda _: None,
        changed=lambda answer: answer.status_code == 200,
    ),
    "fortios": Hand(
        change=lambda client, name: client.post(
            FORTIOS_AT, json={"name": name, "subnet": "10.1.0.0/16"}, headers=FORTIOS_WHO
        ),
        stands=lambda client, name: (
            client.get(f"{FORTIOS_AT}/{name}", headers=FORTIOS_WHO).status_code == 200
        ),
        save=lambda _: None,
        changed=lambda answer: answer.status_code == 200,
    ),
    "panos": Hand(
        change=panos_change,
        stands=panos_stands,
        save=lambda _: None,
        changed=lambda answer: "<result>OK</result>" in answer.text,
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
