"""What tests do with the standard client again and again, and how they wait for what it started."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from standard_client import StandardClient

BOUND_S = 240.0
ENDED = ("COMPLETED", "FAILED_TEMP", "ROLLED_BACK", "FAILED")


def until(client: StandardClient, path: str, is_so: Callable[[Any], bool]) -> Any:
    """What the service says at a path, once it is as wanted."""
    give_up_at = time.monotonic() + BOUND_S
    while True:
        answer = client.http.get(path, headers={"Version": "2.0.0"} if path.startswith("/vnflcm") else {})
        assert answer.status_code == 200, answer.text
        if is_so(seen := answer.json()):
            return seen
        assert time.monotonic() < give_up_at, f"never came about; last seen: {seen}"
        time.sleep(0.1)


def onboarded(client: StandardClient, archive: Path, *more: str) -> Mapping[str, Any]:
    """A package that the client created and uploaded, once it was read, as the client shows it."""
    client = client.first
    created = client.json("vnf", "package", "create", *more)
    assert created["Onboarding State"] == "CREATED"
    said = client("vnf", "package", "upload", "--path", str(archive), created["ID"])
    assert "has been accepted" in said
    path = f"/vnfpkgm/v1/vnf_packages/{created['ID']}"
    until(client, path, lambda seen: seen["onboardingState"] in ("ONBOARDED", "ERROR"))
    return client.json("vnf", "package", "show", created["ID"])


def latest(client: StandardClient, vnf_id: str, *states: str) -> Mapping[str, Any]:
    """The instance's latest occurrence, once it is in one of the states (any end), as the client shows it."""
    path = f"/vnflcm/v2/vnf_lcm_op_occs?filter=(eq,vnfInstanceId,{vnf_id})"
    seen = until(client, path, lambda found: found[0]["operationState"] in (states or ENDED))
    return client.json("vnflcm", "op", "show", seen[0]["id"])


def completed(client: StandardClient, vnf_id: str, operation: str) -> Mapping[str, Any]:
    """The instance's latest occurrence, which must be this operation and end well."""
    found = latest(client, vnf_id)
    assert (found["Operation"], found["Operation State"]) == (operation, "COMPLETED"), found
    return found


def connection(client: StandardClient, vim: str) -> object:
    """`vimConnectionInfo` in the form of the client's API version."""
    named = {"vimId": vim, "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3"}
    return [{"id": "a", **named}] if client.api_version == "1" else {"a": named}


def life(client: StandardClient, vnfd_id: str, request: Mapping[str, object], aspect: str) -> None:
    """A VNF from its creation to its deletion: instantiate, scale, heal one VNFC, update, terminate."""
    created = client.json("vnflcm", "create", vnfd_id, "--name", "walk", "--description", "d")
    assert created["Instantiation State"] == "NOT_INSTANTIATED"
    vnf_id = created["ID"]
    said = client("vnflcm", "instantiate", vnf_id, client.file("instantiate.json", request))
    assert "has been accepted" in said
    first = completed(client, vnf_id, "INSTANTIATE")
    assert first["Operation Parameters"]["flavourId"] == request["flavourId"]
    (listed,) = [one for one in client.json("vnflcm", "list") if one["ID"] == vnf_id]
    assert listed["Instantiation State"] == "INSTANTIATED"
    info = client.json("vnflcm", "show", vnf_id)["Instantiated Vnf Info"]
    before = _computes(info)
    assert {one["aspectId"] for one in info["scaleStatus"]} == {aspect}

    scale = ("vnflcm", "scale", "--aspect-id", aspect, "--number-of-steps", "1")
    assert "has been accepted" in client(*scale, "--type", "SCALE_OUT", vnf_id)
    completed(client, vnf_id, "SCALE")
    grown = _computes(client.json("vnflcm", "show", vnf_id)["Instantiated Vnf Info"])
    assert len(grown) > len(before)
    victim = min(before)
    heal = ("vnflcm", "heal", "--cause", "tired", "--vnfc-instance", victim, "--", vnf_id)
    assert "has been accepted" in client(*heal)
    completed(client, vnf_id, "HEAL")
    assert "has been accepted" in client(*scale, "--type", "SCALE_IN", vnf_id)
    completed(client, vnf_id, "SCALE")
    patch = client.file("update.json", {"vnfInstanceName": "renamed", "metadata": {"k": "v"}})
    assert "Update vnf" in client("vnflcm", "update", "--I", patch, vnf_id)
    shown = client.json("vnflcm", "show", vnf_id)
    assert shown["VNF Instance Name"] == "renamed"
    after = _computes(shown["Instantiated Vnf Info"])
    assert set(after) == set(before)
    assert [key for key in after if after[key] != before[key]] == [victim]
    operations = client.json("vnflcm", "op", "list", "--filter", f"(eq,vnfInstanceId,{vnf_id})")
    assert [one["Operation"] for one in operations] == [
        "MODIFY_INFO", "SCALE", "HEAL", "SCALE", "INSTANTIATE"
    ]  # fmt: skip

    assert "INSTANTIATED" in client.run("vnflcm", "delete", vnf_id).stderr
    ended = client("vnflcm", "terminate", "--termination-type", "GRACEFUL", "--D", vnf_id)
    assert "is deleted successfully" in ended
    assert vnf_id in client.refused("vnflcm", "show", vnf_id)


def _computes(info: Mapping[str, Any]) -> dict[str, str]:
    """VNFC -> what runs it on the VIM."""
    found = {one["id"]: one["computeResource"]["resourceId"] for one in info["vnfcResourceInfo"]}
    assert found
    return found
