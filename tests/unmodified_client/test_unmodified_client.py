"""`openstack vnf package ...` and `openstack vnflcm ...`, unmodified, against simulated sites."""

import uuid
import zipfile
from pathlib import Path

from client_walk import connection, latest, life, onboarded
from package_variants import another
from standard_client import Serving, StandardClient


def test_packages_from_their_creation_to_their_deletion(first: StandardClient, tmp_path: Path) -> None:
    """Every command that the client has for packages, with what it insists on: columns, statuses, types."""
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(first, archive, "--user-data", "owner=me")
    assert package["Onboarding State"] == "ONBOARDED", package
    assert package["User Defined Data"] == {"owner": "me"}
    assert package["Software Images"]

    listed = first.json("vnf", "package", "list", "--filter", f"(eq,vnfdId,{package['VNFD ID']})")
    assert [one["Id"] for one in listed] == [package["ID"]]
    whole = first.json("vnf", "package", "list", "--all_fields")
    assert all(one["Software Images"] for one in whole if one["Id"] == package["ID"])
    few = first.json("vnf", "package", "list", "--fields", "softwareImages", "--exclude_default")
    assert all(one["Software Images"] for one in few if one["Id"] == package["ID"])
    assert first.json("vnf", "package", "list", "--exclude_fields", "checksum")

    copy = tmp_path / "copy.zip"
    first("vnf", "package", "download", "--file", str(copy), package["ID"])
    assert copy.read_bytes() == archive.read_bytes()
    described = tmp_path / "vnfd.zip"
    first("vnf", "package", "download", "--vnfd", "--type", "both", "--file", str(described), package["ID"])
    assert "TOSCA-Metadata/TOSCA.meta" in zipfile.ZipFile(described).namelist()
    artifact = tmp_path / "meta"
    meta = "TOSCA-Metadata/TOSCA.meta"
    first("vnf", "package", "artifact", "download", "--file", str(artifact), package["ID"], meta)
    assert artifact.read_bytes() == zipfile.ZipFile(archive).read(meta)

    assert "ENABLED" in first.refused("vnf", "package", "delete", package["ID"])
    update = ("vnf", "package", "update", "--operational-state", "DISABLED", "--user-data", "a=b")
    changed = first.json(*update, package["ID"])
    assert changed == {"Operational State": "DISABLED", "User Defined Data": {"a": "b"}}
    assert "deleted successfully" in first("vnf", "package", "delete", package["ID"])
    assert package["ID"] in first.refused("vnf", "package", "show", package["ID"])


def test_a_package_that_cannot_be_read_says_so(first: StandardClient, tmp_path: Path) -> None:
    """ERROR and not silently CREATED again; the reason is in onboardingFailureDetails."""
    archive = tmp_path / "package.zip"
    archive.write_bytes(b"nothing")
    assert onboarded(first, archive)["Onboarding State"] == "ERROR"


def test_a_vnf_from_its_creation_to_its_deletion(client: StandardClient, tmp_path: Path) -> None:
    """Create, instantiate, scale, heal one VNFC, update, terminate, delete, and the occurrences of it all."""
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(client, archive)
    assert package["Onboarding State"] == "ONBOARDED", package
    request = {"flavourId": "default", "vimConnectionInfo": connection(client, "sim")}
    life(client, package["VNFD ID"], request, "servers")


def test_connectivity_and_package_of_a_running_vnf_are_changed(
    client: StandardClient, served: Serving, tmp_path: Path
) -> None:
    """`change-ext-conn` in both versions, `change-vnfpkg` in version 2, which alone has it."""
    name = f"connected-{client.api_version}"
    served.register(name, provider_networks=["net-*"])
    old, new = str(uuid.uuid4()), str(uuid.uuid4())
    for vnfd_id in (old, new):
        archive = tmp_path / f"{vnfd_id}.zip"
        archive.write_bytes(another("webserver", vnfd_id))
        onboarded(client, archive)

    def link(network: str) -> object:
        return [{"id": "out", "resourceId": network, "extCps": [{"cpdId": "data"}]}]

    request = {
        "flavourId": "default",
        "extVirtualLinks": link("net-one"),
        "vimConnectionInfo": connection(client, name),
    }
    created = client.json("vnflcm", "create", old, "--I", client.file("instantiate.json", request))
    assert latest(client, created["ID"])["Operation State"] == "COMPLETED"
    change = client.file("change.json", {"extVirtualLinks": link("net-two")})
    assert "has been accepted" in client("vnflcm", "change-ext-conn", created["ID"], change)
    changed = latest(client, created["ID"])
    assert (changed["Operation"], changed["Operation State"]) == ("CHANGE_EXT_CONN", "COMPLETED"), changed
    info = client.json("vnflcm", "show", created["ID"])["Instantiated Vnf Info"]
    assert info["extVirtualLinkInfo"][0]["resourceHandle"]["resourceId"] == "net-two"
    package = client.file("package.json", {"vnfdId": new})
    if client.api_version == "1":
        assert client.run("vnflcm", "change-vnfpkg", created["ID"], package).returncode != 0
        return
    assert "has been accepted" in client("vnflcm", "change-vnfpkg", created["ID"], package)
    changed = latest(client, created["ID"])
    assert (changed["Operation"], changed["Operation State"]) == ("CHANGE_VNFPKG", "COMPLETED"), changed
    assert client.json("vnflcm", "show", created["ID"])["VNFD ID"] == new


def test_what_rests_is_retried_rolled_back_or_failed(
    client: StandardClient, served: Serving, tmp_path: Path
) -> None:
    """The three ways out of FAILED_TEMP, and the error that the client shows until one is taken."""
    name = f"faulty-{client.api_version}"
    served.register(name)
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


def test_a_running_occurrence_is_cancelled(first: StandardClient, served: Serving, tmp_path: Path) -> None:
    """A cancel is offered in version 1 only; the client prints that it was accepted and then stumbles over
    its own missing table, so only what it did counts."""
    served.register("slow", deploy_delay_s=60)
    archive = tmp_path / "package.zip"
    archive.write_bytes(another("webserver", str(uuid.uuid4())))
    package = onboarded(first, archive)
    request = first.file("request.json", {"flavourId": "default", "additionalParams": {"vim": "slow"}})
    created = first.json("vnflcm", "create", package["VNFD ID"], "--I", request)
    running = latest(first, created["ID"], "PROCESSING")
    outcome = first.run("vnflcm", "op", "cancel", "--cancel-mode", "FORCEFUL", running["ID"])
    assert "has been accepted" in outcome.stdout
    assert latest(first, created["ID"], "FAILED_TEMP")["ID"] == running["ID"]


def test_versions_and_mistakes_are_told_in_words(client: StandardClient) -> None:
    """What goes wrong reaches the user as the problem's own text, not as a traceback of the client."""
    told = client.json("vnflcm", "versions")
    assert {"1.3.0", "2.0.0"} <= {one["version"] for one in told["apiVersions"]}
    absent = str(uuid.uuid4())
    assert absent in client.refused("vnflcm", "show", absent)
    assert absent in client.refused("vnflcm", "op", "show", absent)
    assert "No VNF package" in client.refused("vnflcm", "create", absent)
