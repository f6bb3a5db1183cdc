"""`openstack vnf package ...` and `openstack vnflcm ...`, unmodified, against simulated sites."""

import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farsite.functions.packaging import build_sample
from package_variants import another
from standard_client import Serving, StandardClient


def onboarded(client: StandardClient, archive: Path, *more: str) -> Mapping[str, Any]:
    """A package that the client created and uploaded, once it was read."""
    client = client.first
    created = client.json("vnf", "package", "create", *more)
    assert created["Onboarding State"] == "CREATED"
    said = client("vnf", "package", "upload", "--path", str(archive), created["ID"])
    assert "has been accepted" in said
    return client.until(
        lambda: client.json("vnf", "package", "show", created["ID"]),
        lambda seen: seen["Onboarding State"] in ("ONBOARDED", "ERROR"),
    )


def state_is(client: StandardClient, vnf_id: str, state: str) -> Mapping[str, Any]:
    return client.until(
        lambda: client.json("vnflcm", "show", vnf_id), lambda seen: seen["Instantiation State"] == state
    )


def latest(client: StandardClient, vnf_id: str, *states: str) -> Mapping[str, Any]:
    """The instance's latest occurrence, once it is in one of the states."""
    found = client.until(
        lambda: client.json("vnflcm", "op", "list", "--filter", f"(eq,vnfInstanceId,{vnf_id})")[0],
        lambda seen: seen["Operation State"] in states,
    )
    return client.json("vnflcm", "op", "show", found["ID"])


def test_packages_from_their_creation_to_their_deletion(
    client: StandardClient, served: Serving, tmp_path: Path
) -> None:
    """Every command that the client has for packages, with what it insists on: columns, statuses, types."""
    client = client.first
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(client, archive, "--user-data", "owner=me")
    assert package["Onboarding State"] == "ONBOARDED", package
    assert package["User Defined Data"] == {"owner": "me"}
    assert package["Software Images"]

    listed = client.json("vnf", "package", "list", "--filter", f"(eq,vnfdId,{package['VNFD ID']})")
    assert [one["Id"] for one in listed] == [package["ID"]]
    (whole,) = client.json(
        "vnf", "package", "list", "--all_fields", "--filter", f"(eq,vnfdId,{package['VNFD ID']})"
    )
    assert whole["Software Images"]
    few = client.json("vnf", "package", "list", "--fields", "softwareImages", "--exclude_default")
    assert all(one["Software Images"] for one in few if one["Id"] == package["ID"])
    assert client.json("vnf", "package", "list", "--exclude_fields", "checksum")

    copy = tmp_path / "copy.zip"
    client("vnf", "package", "download", "--file", str(copy), package["ID"])
    assert copy.read_bytes() == archive.read_bytes()
    described = tmp_path / "vnfd.zip"
    client("vnf", "package", "download", "--vnfd", "--type", "both", "--file", str(described), package["ID"])
    assert "TOSCA-Metadata/TOSCA.meta" in zipfile.ZipFile(described).namelist()
    artifact = tmp_path / "meta"
    meta = "TOSCA-Metadata/TOSCA.meta"
    client("vnf", "package", "artifact", "download", "--file", str(artifact), package["ID"], meta)
    assert artifact.read_bytes() == zipfile.ZipFile(archive).read(meta)

    assert "ENABLED" in client.refused("vnf", "package", "delete", package["ID"])
    update = ("vnf", "package", "update", "--operational-state", "DISABLED", "--user-data", "a=b")
    changed = client.json(*update, package["ID"])
    assert changed == {"Operational State": "DISABLED", "User Defined Data": {"a": "b"}}
    assert "deleted successfully" in client("vnf", "package", "delete", package["ID"])
    assert package["ID"] in client.refused("vnf", "package", "show", package["ID"])


def test_a_package_that_cannot_be_read_says_why(client: StandardClient, tmp_path: Path) -> None:
    """The reason is in the package, where the client can read it through the API; the state is ERROR."""
    archive = tmp_path / "package.zip"
    archive.write_bytes(b"nothing")
    assert onboarded(client, archive)["Onboarding State"] == "ERROR"


def test_a_vnf_from_its_creation_to_its_deletion(
    client: StandardClient, served: Serving, tmp_path: Path
) -> None:
    """Create, instantiate, scale, heal one VNFC, update, terminate, delete, and the occurrences of it all."""
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(client, archive)
    assert package["Onboarding State"] == "ONBOARDED", package
    created = client.json(
        "vnflcm", "create", package["VNFD ID"], "--name", f"walk-{client.api_version}", "--description", "d"
    )
    assert created["Instantiation State"] == "NOT_INSTANTIATED"
    vnf_id = created["ID"]
    assert vnf_id in {one["ID"] for one in client.json("vnflcm", "list")}

    named = {"vimId": "sim", "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3"}
    request = {
        "flavourId": "default",
        "vimConnectionInfo": [{"id": "a", **named}] if client.api_version == "1" else {"a": named},
    }
    said = client("vnflcm", "instantiate", vnf_id, client.file("instantiate.json", request))
    assert "has been accepted" in said
    running = state_is(client, vnf_id, "INSTANTIATED")
    vnfcs = running["Instantiated Vnf Info"]["vnfcResourceInfo"]
    assert vnfcs
    first = latest(client, vnf_id, "COMPLETED")
    assert first["Operation"] == "INSTANTIATE"
    assert first["Operation Parameters"]["flavourId"] == "default"

    (aspect, *_) = running["Instantiated Vnf Info"]["scaleStatus"]
    for kind in ("SCALE_OUT", "SCALE_IN"):
        scale = ("vnflcm", "scale", "--type", kind, "--aspect-id", aspect["aspectId"])
        assert "has been accepted" in client(*scale, "--number-of-steps", "1", vnf_id)
        assert latest(client, vnf_id, "COMPLETED")["Operation"] == "SCALE"
    heal = ("vnflcm", "heal", "--cause", "tired", "--vnfc-instance", vnfcs[0]["id"], "--", vnf_id)
    assert "has been accepted" in client(*heal)
    assert latest(client, vnf_id, "COMPLETED")["Operation"] == "HEAL"
    patch = client.file("update.json", {"vnfInstanceName": "renamed", "metadata": {"k": "v"}})
    assert "Update vnf" in client("vnflcm", "update", "--I", patch, vnf_id)
    assert client.json("vnflcm", "show", vnf_id)["VNF Instance Name"] == "renamed"

    assert "409" in client.refused("vnflcm", "delete", vnf_id) or "INSTANTIATED" in client.refused(
        "vnflcm", "delete", vnf_id
    )
    ended = client("vnflcm", "terminate", "--termination-type", "GRACEFUL", "--D", vnf_id)
    assert "is deleted successfully" in ended
    assert vnf_id in client.refused("vnflcm", "show", vnf_id)


def test_what_rests_is_retried_rolled_back_or_failed(
    client: StandardClient, served: Serving, tmp_path: Path
) -> None:
    """The three ways out of FAILED_TEMP, and the error that the client shows until one is taken."""
    name = f"faulty-{client.api_version}"
    body = {"name": name, "type": "simulated", "settings": {"world": "memory"}}
    assert served.native("POST", "/vims", json=body).status_code == 201
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(client, archive)
    request = client.file("request.json", {"flavourId": "default", "additionalParams": {"vim": name}})
    fault = {"kind": "fail_deployment", "settings": {"reason": "no valid host was found"}}
    for control, state in (("retry", "COMPLETED"), ("rollback", "ROLLED_BACK"), ("fail", "FAILED")):
        assert served.native("POST", f"/vims/{name}/faults", json=fault).status_code == 204
        created = client.json("vnflcm", "create", package["VNFD ID"], "--I", request)
        resting = latest(client, created["ID"], "FAILED_TEMP")
        assert "no valid host was found" in resting["Error"]["detail"]
        served.native("DELETE", f"/vims/{name}/faults")
        if control == "fail":
            assert client.json("vnflcm", "op", "fail", resting["ID"])["ID"] == resting["ID"]
        else:
            assert "has been accepted" in client("vnflcm", "op", control, resting["ID"])
        assert latest(client, created["ID"], state)["ID"] == resting["ID"]


def test_versions_and_mistakes_are_told_in_words(client: StandardClient) -> None:
    """What goes wrong reaches the user as the problem's own text, not as a traceback of the client."""
    told = client.json("vnflcm", "versions")
    assert {"1.3.0", "2.0.0"} <= {one["version"] for one in told["apiVersions"]}
    one = client.json("vnflcm", "versions", "--major-version", f"{client.api_version}")
    assert one["uriPrefix"].endswith(f"v{client.api_version}")
    absent = str(uuid.uuid4())
    assert absent in client.refused("vnflcm", "show", absent)
    assert absent in client.refused("vnflcm", "op", "show", absent)
    assert "No onboarded VNF package" in client.refused("vnflcm", "create", absent) or "No VNF package" in (
        client.refused("vnflcm", "create", absent)
    )


def test_a_running_occurrence_is_cancelled(served: Serving, program: Path, tmp_path: Path) -> None:
    """A cancel is offered in version 1 only; the client prints that it was accepted and then stumbles over
    its own missing table, so only what it did counts."""
    body = {"name": "slow", "type": "simulated", "settings": {"world": "memory", "deploy_delay_s": 60}}
    assert served.native("POST", "/vims", json=body).status_code == 201
    client = StandardClient(program=program, options=served.admin_token, home=tmp_path)
    archive = tmp_path / "package.zip"
    archive.write_bytes(build_sample("webserver"))
    package = onboarded(client, archive)
    request = client.file("request.json", {"flavourId": "default", "additionalParams": {"vim": "slow"}})
    created = client.json("vnflcm", "create", package["VNFD ID"], "--I", request)
    running = latest(client, created["ID"], "PROCESSING")
    outcome = client.run("vnflcm", "op", "cancel", "--cancel-mode", "FORCEFUL", running["ID"])
    assert "has been accepted" in outcome.stdout
    assert latest(client, created["ID"], "FAILED_TEMP")["ID"] == running["ID"]
