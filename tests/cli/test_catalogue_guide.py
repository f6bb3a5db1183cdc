"""The catalogue as operators and programs use it: the guide typed as printed, and what the API answers."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from command_bench import CommandLine

import guide_pages
from farsite.model.access import Role
from service_bench import Service, assert_is_problem

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide" / "catalogue.md").read_text()


def test_the_guide_does_what_it_says_from_the_first_line_to_the_last(
    service: Service, farsite: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader types it in this order, in a directory of his own."""
    monkeypatch.chdir(tmp_path)
    block = re.search(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "catalogue.yaml").write_text(block[1])
    steps = guide_pages.read_page("catalogue.md")
    assert len(steps) > 15
    for step in steps:
        words = shlex.split(step.command)
        if words[0] == "farsite":
            done = farsite(*words[1:])
            code, said = done.code, done.err + done.out
        else:
            ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
            code, said = ran.returncode, ran.stdout
        assert code == step.exit_code, f"{step.place}: {step.command}\n{said}"
        assert not step.printed or guide_pages.is_as_printed(step.printed, said), f"{step.place}:\n{said}"


def test_entries_are_filtered_and_paged_like_every_list(service: Service) -> None:
    """By ETSI's filter language, on every attribute that is shown."""
    entries = "/farsite/v1/catalogue/entries"
    found = service.http.get(
        entries, params={"filter": "(eq,kind,adapter);(eq,tags,firewall)", "page_size": 2}
    )
    assert found.status_code == 200
    names = [one["name"] for one in found.json()]
    while "next" in found.links:
        found = service.http.get(found.links["next"]["url"])
        names += [one["name"] for one in found.json()]
    assert names == ["builtin", "fortios", "linux", "panos", "vyos"]
    both = service.http.get(
        entries, params={"text": "FIREWALL iproute2", "filter": "(eq,kind,adapter)"}
    ).json()
    assert [one["name"] for one in both] == ["linux"]
    assert service.http.get(entries, params={"text": "firewall nonsense"}).json() == []
    refused = service.http.get(entries, params={"filter": "(eq,colour,red)"})
    assert "colour" in assert_is_problem(refused, 400)["detail"]
    assert_is_problem(service.http.get(f"{entries}/adapter:nothing"), 404)


def test_what_is_shown_of_an_adapter_counts_for_what_is_there_alone(service: Service) -> None:
    """Evidence of another digest is listed apart, and the listing says that it does not count."""
    path = "/catalogue/entries/adapter:bird"
    came = service.native("GET", path).json()
    told = {"suite": "field test", "level": "certified", "digest": "0" * 64}
    shown = service.native("POST", f"{path}/evidence", json=told).json()
    assert (shown["certification"], shown["evidence"]) == (came["certification"], came["evidence"])
    assert len(shown["stale"]) == len(came["stale"]) + 1
    shown = service.native("POST", f"{path}/evidence", json={**told, "digest": shown["digest"]}).json()
    assert shown["certification"] == "certified" != came["certification"]
    assert shown["evidence"][0]["stated_by"] == "first"
    assert_is_problem(service.native("POST", f"{path}/evidence", json={**told, "level": "none"}), 422)
    assert_is_problem(service.native("POST", f"{path}/evidence", json={**told, "digest": "abc"}), 422)


def test_only_an_administrator_certifies_imports_and_trusts(service: Service) -> None:
    """Whoever may do these decides what everybody runs."""
    operator = service.http_as(service.token_of(Role.OPERATOR))
    told = {"suite": "s", "level": "certified", "digest": "0" * 64}
    path = "/farsite/v1/catalogue"
    for answer in (
        operator.post(f"{path}/entries/adapter:bird/evidence", json=told),
        operator.put(f"{path}/bundle", content=b"x"),
        operator.post(f"{path}/keys", json={"name": "mine"}),
        operator.put(f"{path}/keys/mine", json={"public_key": "ed25519:"}),
        operator.delete(f"{path}/keys/acme"),
    ):
        assert_is_problem(answer, 403)
    reader = service.http_as(service.token_of(Role.READER))
    assert reader.get(f"{path}/entries").status_code == 200
    assert_is_problem(reader.post(f"{path}/bundle", json={"entries": ["adapter:bird"]}), 403)


def test_what_is_no_bundle_is_refused_and_what_stopped_coming_leaves_nothing(service: Service) -> None:
    """By its type, by its first bytes, and by its end."""
    send = {"content": b"PK\x03\x04 this is no bundle", "headers": {"Content-Type": "application/zip"}}
    assert_is_problem(service.native("PUT", "/catalogue/bundle", **send), 422)
    send["headers"] = {"Content-Type": "application/x-tar"}
    assert "no bundle" in assert_is_problem(service.native("PUT", "/catalogue/bundle", **send), 400)["detail"]
    assert not list((service.settings.data_dir / "catalogue").glob("incoming-*"))


@pytest.fixture(scope="module", autouse=True)
def _furnished(service: Service) -> None:
    service.onboard("probe")


def test_a_rule_that_no_longer_holds_stops_an_instantiation_and_says_what_to_do(
    service: Service, farsite: CommandLine, tmp_path: Path
) -> None:
    """What was there at onboarding may be gone or disabled since."""
    service.register("north")
    assert farsite("package", "samples", str(tmp_path)).code == 0
    folder = tmp_path / "inspector"
    subprocess.run(
        ["python3", "-m", "zipfile", "-e", str(tmp_path / "inspector.zip"), str(folder)], check=True
    )
    (folder / "Files").mkdir()
    rules = 'requires: ["package Farsite traffic probe >=1", "feature teleportation"]\n'
    (folder / "Files" / "catalogue.yaml").write_text(rules)
    assert farsite("package", "onboard", str(folder)).code == 0
    assert farsite("package", "disable", "Farsite traffic probe").code == 0
    assert farsite("vnf", "create", "Farsite inspector", "--name", "ids").code == 0
    refused = farsite("vnf", "instantiate", "ids", "--vim", "north")
    assert refused.code == 1
    assert 'requires "package Farsite traffic probe >=1"' in refused.err
    assert "Farsite traffic probe 1.0 is DISABLED" in refused.err
    (command,) = re.findall(r"Enable it: farsite (package enable \S+)\.", refused.err)
    assert "rules unmet" in farsite("catalogue", "search", "inspector").out
    assert farsite(*command.split()).code == 0
    # The features of a VIM are placement's to judge, which says which it lacks.
    resting = farsite("vnf", "instantiate", "ids", "--vim", "north", "--wait")
    assert resting.code == 3
    assert "does not offer teleportation" in resting.out


def test_an_adapter_whose_rules_do_not_hold_is_not_taken_for_a_function(service: Service) -> None:
    """One that somebody put into the directory was never onboarded; it is asked when it is used."""
    folder = service.settings.data_dir / "adapters" / "needy"
    folder.mkdir(parents=True)
    shipped = ROOT / "src" / "farsite" / "vnfs" / "adapters" / "haproxy"
    told = (shipped / "adapter.yaml").read_text().replace("name: haproxy\n", "name: needy\n", 1)
    (folder / "adapter.yaml").write_text(told + 'requires: ["package Appliance >=5"]\n')
    (folder / "haproxy.cfg.j2").write_bytes((shipped / "haproxy.cfg.j2").read_bytes())
    vnf = service.create_vnf(package="Farsite traffic probe")
    access = {"host": "192.0.2.1", "user": "root", "host_keys": ["ssh-ed25519 AAAA"], "password": "secret:pw"}
    refused = service.native("PUT", f"/vnfs/{vnf}/management", json={"adapter": "needy", "access": access})
    detail = assert_is_problem(refused, 409)["detail"]
    assert detail.startswith("needy 1.0 cannot be used: It requires")
    assert 'there is no package "Appliance"' in detail
    (shown,) = service.client.catalogue("needy")
    assert shown["unmet"]
