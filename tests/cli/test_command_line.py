"""What operators type, what they see, and what their scripts get."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from command_bench import CommandLine

from farsite.cli.app import NOUNS, app
from farsite.client.connection import in_path
from farsite.functions.packaging import sample_names
from service_bench import Service

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module", autouse=True)
def _furnished(service: Service) -> None:
    service.register("north")
    for sample in ("firewall", "inspector", "probe", "webserver"):
        service.onboard(sample)
    service.onboard("chain-demo", "nsds")


def test_an_operator_takes_a_vnf_through_its_life(farsite: CommandLine) -> None:
    """The everyday path, names throughout, with progress on stderr and the result on stdout."""
    created = farsite("vnf", "create", "Farsite web server", "--name", "web")
    assert created.code == 0
    assert "farsite vnf instantiate web" in created.err
    started = farsite("vnf", "instantiate", "web", "--vim", "north", "--wait")
    assert started.code == 0, started.err
    assert "COMPLETED" in started.out
    assert "Wait for the VIM" in started.err
    shown = farsite("vnf", "show", "web")
    assert "INSTANTIATED" in shown.out
    assert "alive" in shown.out
    assert "web" in farsite("vnf", "list", "--vim", "north").out
    healed = farsite("vnf", "heal", "web")
    assert healed.code == 0
    operation = healed.out.strip()
    assert farsite("op", "wait", operation).code == 0
    assert farsite("op", "show", operation).code == 0
    assert "is done" in farsite("op", "why", operation).out
    assert operation in farsite("op", "list").out
    assert farsite("op", "placement", operation).code == 1, "healing places nothing"
    assert farsite("vnf", "terminate", "web", "--wait", "-o", "json").code == 0
    assert farsite("vnf", "delete", "web").code == 0
    assert farsite("vnf", "show", "web").code == 1


def test_a_service_is_built_shown_and_counted(farsite: CommandLine, service: Service) -> None:
    """The NS noun end to end."""
    service.register("south")
    assert farsite("ns", "create", "chain-demo", "--name", "shop").code == 0
    built = farsite("ns", "instantiate", "shop", "--vim", "client=south", "--wait")
    assert built.code == 0, built.err + built.out
    shown = farsite("ns", "show", "shop").out
    assert "shop-client-1 (client) on south" in shown
    assert "2-inspector" in farsite("ns", "counters", "shop").out
    assert farsite("ns", "terminate", "shop", "--wait").code == 0
    assert farsite("ns", "delete", "shop").code == 0


def test_an_operation_that_rests_exits_4_and_prints_what_to_type(
    farsite: CommandLine, service: Service
) -> None:
    """A script stops for an operator; the operator copies the command."""
    service.register("broken")
    fault = {"kind": "fail_deployment", "settings": {"reason": "No valid host was found."}}
    service.native("POST", "/vims/broken/faults", json=fault)
    farsite("vnf", "create", "Farsite web server", "--name", "doomed")
    resting = farsite("vnf", "instantiate", "doomed", "--vim", "broken", "--wait")
    assert resting.code == 4
    assert "No valid host was found." in resting.out
    operation = resting.err.split("farsite op retry ")[1].split()[0]
    assert farsite("op", "show", operation).code == 4
    assert farsite("op", "why", operation).code == 4
    assert "FAILED_TEMP" in farsite("op", "list", "--state", "failed_temp").out
    rolled_back = farsite("op", "rollback", operation, "--wait")
    assert rolled_back.code == 3
    assert "ROLLED_BACK" in rolled_back.out


@pytest.mark.slow
def test_an_operation_that_still_runs_exits_2(farsite: CommandLine, service: Service) -> None:
    """Pending is neither success nor failure."""
    service.register("slow", deploy_delay_s=3.0)
    farsite("vnf", "create", "Farsite web server", "--name", "patient")
    late = farsite("vnf", "instantiate", "patient", "--vim", "slow", "--wait", "--timeout", "0.5")
    assert late.code == 2
    operation = late.err.split("farsite op why ")[1].split(".")[0]
    assert farsite("op", "show", operation).code == 2
    assert farsite("op", "why", operation).code == 2
    assert farsite("op", "wait", operation).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["vnf", "scale"],
        ["vnf", "nonsense"],
        ["nonsense"],
        ["vim", "register"],
        ["vim", "list", "--no-such-option"],
        ["vnf", "scale", "x", "--aspect", "a", "--steps", "many"],
        ["vim", "list", "-o", "xml"],
        ["vim", "list", "--filter", "nonsense"],
        ["vnf", "instantiate", "x", "--link", "nonsense"],
        ["package", "onboard", "/no/such/file"],
        ["op", "show", "no-such-operation"],
        ["vim", "register", "x", "--type", "vmx"],
    ],
)
def test_wrong_usage_and_refusals_exit_1_with_words_and_no_trace(
    farsite: CommandLine, arguments: list[str]
) -> None:
    """A typing error is not a crash."""
    outcome = farsite(*arguments)
    assert outcome.code == 1
    assert outcome.out + outcome.err
    assert "Traceback" not in outcome.out + outcome.err


def test_every_list_speaks_json_and_yaml(farsite: CommandLine) -> None:
    """Programs read the API's own words, whatever the noun."""
    for noun in ("vim", "package", "nsd", "vnf", "ns", "op", "alarm", "token"):
        assert farsite(noun, "list").code == 0
        as_json = json.loads(farsite(noun, "list", "-o", "json").out)
        as_yaml = yaml.safe_load(farsite(noun, "list", "-o", "yaml").out)
        assert isinstance(as_json, list)
        assert [set(one) for one in as_json] == [set(one) for one in as_yaml]


def test_every_command_explains_itself(farsite: CommandLine) -> None:
    """Help is the first documentation that is read: every command has a sentence and every noun its verbs."""
    assert all(noun in farsite("--help").out for noun in (*NOUNS, "doctor", "serve"))
    for noun in NOUNS:
        assert farsite(noun, "--help").code == 0
        for verb in app[noun]:
            if not verb.startswith("-"):
                told = farsite(noun, verb, "--help").out
                assert len(told.splitlines()[2].strip()) > 10, (noun, verb)


def test_packages_are_written_onboarded_shown_and_refused(farsite: CommandLine, tmp_path: Path) -> None:
    """From the built-in samples to a catalogue, an archive or a directory alike."""
    written = farsite("package", "samples", str(tmp_path / "samples")).out.split()
    assert len(written) == len(sample_names())
    assert farsite("package", "delete", "Farsite firewall").code == 0
    assert farsite("package", "onboard", str(tmp_path / "samples" / "firewall.zip")).code == 0
    shown = farsite("package", "show", "Farsite firewall").out
    assert "ONBOARDED" in shown
    assert "VNFC(s)" in shown
    assert farsite("package", "disable", "Farsite firewall").code == 0
    assert farsite("vnf", "create", "Farsite firewall").code == 1
    assert farsite("package", "enable", "Farsite firewall").code == 0
    (tmp_path / "empty").mkdir()
    refused = farsite("package", "onboard", str(tmp_path / "empty"))
    assert refused.code == 1
    assert "refused" in refused.err
    assert "ERROR" not in farsite("package", "list").out, "a refused package leaves nothing behind"
    assert "path path" in farsite("nsd", "show", "chain-demo").out


def test_vims_are_registered_changed_and_looked_into(farsite: CommandLine, tmp_path: Path) -> None:
    """Settings by option and file; what the VIM holds and told."""
    file = tmp_path / "settings.yaml"
    file.write_text("world: memory\nseed: 3\n")
    made = farsite(
        "vim", "register", "desk", "--type", "simulated", "--site", "turin", "--set", "deploy_delay_s=0.1",
        "--settings-file", str(file), "--credential", "user=me", "-o", "json",
    )  # fmt: skip
    assert json.loads(made.out)["settings"] == {"world": "memory", "seed": 3, "deploy_delay_s": 0.1}
    assert "me" not in json.loads(made.out).get("credentials", "")
    changed = farsite("vim", "update", "desk", "--set", "seed=4", "--default", "-o", "json")
    assert json.loads(changed.out)["settings"]["seed"] == 4
    assert farsite("vim", "update", "desk", "--no-default").code == 0
    assert "turin" in farsite("vim", "show", "desk").out
    assert farsite("vim", "resources", "desk").code == 0
    assert farsite("vim", "events", "desk").code == 0
    assert farsite("vim", "delete", "desk").code == 0


def test_tokens_open_and_close_the_door(farsite: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may look and nothing else; a revoked token may nothing."""
    token = farsite("token", "create", "night-shift", "--role", "reader").out.strip()
    with monkeypatch.context() as patch:
        patch.setenv("FARSITE_TOKEN", token)
        assert farsite("vim", "list").code == 0
        refused = farsite("vim", "delete", "north")
        assert refused.code == 1
        assert "needs the role admin" in refused.err
    assert farsite("token", "revoke", "night-shift").code == 0
    monkeypatch.setenv("FARSITE_TOKEN", token)
    assert farsite("vim", "list").code == 1


def test_without_a_service_one_is_told_how_to_start_it(
    farsite: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing a newcomer meets."""
    monkeypatch.setenv("FARSITE_URL", "http://127.0.0.1:9")
    outcome = farsite("vim", "list")
    assert outcome.code == 1
    assert "farsite serve" in outcome.err


def test_doctor_looks_at_this_host_with_and_without_a_service(
    farsite: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is missing is named with what it would enable; nothing is left behind."""
    monkeypatch.setenv("FARSITE_DATA_DIR", str(tmp_path))
    found = {one["what"]: one for one in json.loads(farsite("doctor", "-o", "json").out)}
    assert {"Python", "VIM type linux", "VIM type simulated", "database", "free disk", "service"} <= set(
        found
    )
    assert found["service"]["is_good"]
    monkeypatch.setenv("FARSITE_URL", "http://127.0.0.1:9")
    told = farsite("doctor")
    assert told.code == 0
    assert "What would help" in told.out
    assert list(tmp_path.iterdir()) == []


def test_a_watcher_of_all_operations_sees_them_pass(farsite: CommandLine, service: Service) -> None:
    """The stream of everything, as `op watch` without an id prints it."""
    seen: list[str] = []
    is_listening = threading.Event()

    def listen() -> None:
        for change in service.client.changes("0"):
            is_listening.set()
            seen.append(change["state"])
            if change["type"] == "TERMINATE" and change["state"] == "COMPLETED":
                return

    vnf_id = service.instantiated(vim="north")
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert is_listening.wait(30)
    gone = service.native("POST", f"/vnfs/{vnf_id}/terminate").json()
    service.ended(gone["id"])
    listener.join(30)
    assert not listener.is_alive()
    assert "COMPLETED" in seen


_PROBE = """
import sys
from farsite.cli.app import main
sys.argv = ["farsite", "vim", "list"]
main()
heavy = {"fastapi", "sqlalchemy", "starlette", "dbos", "uvicorn", "pyroute2"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_client_command_loads_none_of_the_service(service: Service) -> None:
    """The command line starts quickly because it is a client and nothing more."""
    environment = {**os.environ, "FARSITE_URL": service.url, "FARSITE_TOKEN": service.token}
    run = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_name_that_is_no_text_is_asked_for_as_it_was_typed() -> None:
    """Terminals hand over bytes; the service says that nobody is called so."""
    assert in_path("l\udcff") == "l%FF"
    assert in_path("a/b ü") == "a%2Fb%20%C3%BC"
