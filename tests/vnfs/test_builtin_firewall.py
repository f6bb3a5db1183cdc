"""A firewall of Farsite's own in a chain on Linux sites, configured like any vendor's, with packets."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from farsite.settings import Settings
from farsite.vims.drivers.linux.agent import trial
from service_bench import Service, running

pytestmark = [pytest.mark.linux, pytest.mark.slow]

OPEN = {"firewall": {"default_action": "accept"}}
NO_WEB = {
    "firewall": {
        "default_action": "accept",
        "rules": [{"name": "no-web", "action": "drop", "protocol": "tcp", "destination_ports": ["80"]}],
    }
}


class Chain:
    """A client and a server with the firewall between them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        for site in ("north", "south"):
            answer = service.native("POST", "/vims", json={"name": site, "type": "linux"})
            assert answer.status_code == 201, answer.text
        for sample in ("firewall", "inspector", "probe", "webserver"):
            service.onboard(sample)
        service.onboard("chain-demo", "nsds")
        made = service.native("POST", "/ns", json={"nsd": "chain-demo", "name": "chained"})
        assert made.status_code == 201, made.text
        self.done("/ns/chained/instantiate", {})
        shown = service.native("GET", "/ns/chained").json()
        self.vnfs = {one["profile"]: one["vnf_id"] for one in shown["vnfs"]}
        self.firewall = f"/vnfs/{self.vnfs['firewall']}"
        (vnfc,) = service.native("GET", self.firewall).json()["vnfcs"]
        self.management = {"adapter": "builtin", "access": {"vnfc": vnfc["id"]}, "confirm_within_s": 20}
        resources = service.native("GET", f"/vnfs/{self.vnfs['server']}").json()["resources"]
        found = [each for one in resources if one["kind"] == "LINKPORT" for each in one["addresses"]]
        self.server = next(one for one in found if "." in one).partition("/")[0]

    def done(self, path: str, body: object, state: str = "COMPLETED") -> Mapping[str, Any]:
        """Begin an operation and wait for that end."""
        answer = self.service.native("POST", path, json=body)
        assert answer.status_code == 202, answer.text
        ended = self.service.ended(answer.json()["id"])
        assert ended["state"] == state, ended["error"]
        return ended

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, self.firewall + path, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def passes(self) -> bool:
        """Whether a web request gets from the client through the firewall and back."""
        client = f"/vnfs/{self.vnfs['client']}"
        (vnfc,) = self.service.native("GET", client).json()["vnfcs"]
        order = {"target": self.server, "port": 80, "path": "/", "timeout_s": 2.0}
        answer = self.service.native("POST", f"{client}/vnfcs/{vnfc['id']}/management/fetch", json=order)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["ok"])

    def passes_soon(self) -> bool:
        ends = time.monotonic() + 20
        while not self.passes() and time.monotonic() < ends:
            time.sleep(0.2)
        return self.passes()


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = Settings(data_dir=directory, function_watch_period_s=3600, function_drift_period_s=3600)
    try:
        with running(settings) as service:
            yield Chain(service)
    finally:
        remove = [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(settings.run_dir)]
        subprocess.run(remove, check=True, capture_output=True, timeout=60)
        shutil.rmtree(directory, ignore_errors=True)


def test_rules_in_the_vocabulary_of_all_products_stop_and_let_packets(chain: Chain) -> None:
    """The diff is in the function's own words, and packets tell whether it was meant."""
    chain.ask("PUT", "/management", json=chain.management)
    assert chain.passes_soon()
    plan = chain.ask("POST", "/configuration/plan", json=NO_WEB)
    assert '+   "name": "no-web"' in plan["differences"][0]["diff"]
    assert chain.passes(), "a plan changed something"
    chain.done(f"{chain.firewall}/configure", {"document": NO_WEB})
    assert not chain.passes()
    told = {one["labels"].get("of"): one["value"] for one in chain.ask("GET", "/function/metrics")}
    assert told["no-web"] > 0
    assert all(one["is_well"] for one in chain.ask("GET", "/function/health"))
    chain.done(f"{chain.firewall}/configure", {"document": OPEN})
    assert chain.passes_soon()


def test_a_firewall_that_is_replaced_has_drifted_until_its_configuration_is_applied_anew(
    chain: Chain,
) -> None:
    """It comes from its descriptor, which knows of no rule that was made since."""
    chain.ask("PUT", "/management", json=chain.management)
    chain.done(f"{chain.firewall}/configure", {"document": NO_WEB})
    chain.done(f"{chain.firewall}/heal", {"cause": "to see what becomes of it"})
    assert chain.passes_soon()
    assert chain.ask("GET", "/configuration/drift")["has_drifted"]
    chain.done(f"{chain.firewall}/configure", {})
    assert not chain.passes()
    assert not chain.ask("GET", "/configuration/drift")["has_drifted"]


def test_what_the_function_finds_wrong_is_refused_in_its_words_and_what_ran_runs_on(chain: Chain) -> None:
    """Each fault with its place."""
    chain.ask("PUT", "/management", json=chain.management)
    chain.done(f"{chain.firewall}/configure", {"document": OPEN})
    wrong = {"native": {"document": '{"max_flows": 1}'}}
    ended = chain.done(f"{chain.firewall}/configure", {"document": wrong}, "ROLLED_BACK")
    assert "max_flows: 1 (expected" in str(ended["error"])
    assert chain.passes_soon()


def test_a_way_that_a_function_of_ours_has_not_is_refused_with_the_one_it_has(chain: Chain) -> None:
    """Keys that nobody asks for would look like a protection."""
    through = {**chain.management, "way": "broker", "broker": "edge"}
    refused = chain.ask("PUT", "/management", 400, json=through)["detail"]
    assert 'the broker "edge"' in refused
    assert "--adapter builtin --vnfc VNFC" in refused
    for access in ({"host": "192.0.2.1", "private_key": "secret:key"}, {}):
        body = {**chain.management, "access": access}
        assert "name the vnfc" in chain.ask("PUT", "/management", 400, json=body)["detail"]
    body = {**chain.management, "access": {**chain.management["access"], "password": "secret:key"}}
    assert "leave keys" in chain.ask("PUT", "/management", 400, json=body)["detail"]
