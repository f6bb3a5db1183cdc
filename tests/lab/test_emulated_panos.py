"""The emulated PAN-OS runs what was committed and nothing else, and says so by job and code."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from lab.emulators import panos
from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Served
from lab.faults.certificates import Authority

RULES = f"{panos.VSYS}/rulebase/security/rules"
ADDRESS = f"{panos.VSYS}/address/entry[@name='web']"
RULE = "".join(
    f"<{name}><member>{value}</member></{name}>"
    for name, value in {
        "from": "trust",
        "to": "untrust",
        "source": "any",
        "destination": "web",
        "service": "any",
        "application": "any",
    }.items()
)


class Device:
    """A firewall and the hand that asks it."""

    def __init__(self, served: Served) -> None:
        made = served.emulator
        assert isinstance(made, panos.PanOs)
        self.emulator = made
        self.client = httpx2.Client(base_url=served.url, verify=False, timeout=10)

    def ask(self, **asked: str) -> str:
        return self.client.post("/api/", data={"key": self.emulator.key, **asked}).text

    def config(self, action: str, xpath: str, **more: str) -> str:
        return self.ask(type="config", action=action, xpath=xpath, **more)

    def commit(self) -> str:
        """The ended job."""
        told = self.ask(type="commit", cmd="<commit></commit>")
        job = re.search(r"<job>(\d+)</job>", told)
        if job is None:
            return told
        give_up_at = time.monotonic() + 5
        while True:
            seen = self.ask(type="op", cmd=f"<show><jobs><id>{job[1]}</id></jobs></show>")
            if "<status>FIN</status>" in seen:
                return seen
            assert time.monotonic() < give_up_at
            time.sleep(0.02)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with Served(panos.PanOs(minute_s=1.0), tls=Authority(tmp_path).server()) as served:
        made = Device(served)
        made.config("set", ADDRESS, element="<ip-netmask>192.0.2.80</ip-netmask>")
        yield made
        made.client.close()


def test_what_is_set_runs_when_it_is_committed(device: Device) -> None:
    """`get` shows the candidate, `show` what runs; an adapter that mixes them up plans wrongly."""
    assert "192.0.2.80" in device.config("get", ADDRESS)
    assert "No such node" in device.config("show", ADDRESS)
    assert "<result>OK</result>" in device.commit()
    assert "192.0.2.80" in device.config("show", ADDRESS)
    assert "There are no changes to commit" in device.commit()


def test_an_incomplete_rule_fails_at_the_commit(device: Device) -> None:
    """The answer to the commit is a success: only the job tells that nothing runs."""
    device.config("set", f"{RULES}/entry[@name='r']", element=RULE)
    ended = device.commit()
    assert "<result>FAIL</result>" in ended
    assert "r is missing 'action'" in ended.replace("&apos;", "'")
    assert "No such node" in device.config("show", ADDRESS)


def test_what_is_used_cannot_be_deleted_and_is_named(device: Device) -> None:
    """Code 10 with every reference, so that an adapter knows what to delete first."""
    device.config("set", f"{RULES}/entry[@name='r']", element=f"{RULE}<action>allow</action>")
    refused = device.config("delete", ADDRESS)
    assert 'code="10"' in refused
    assert "rulebase -&gt; security -&gt; rules -&gt; r -&gt; destination" in refused
    device.config("delete", f"{RULES}/entry[@name='r']")
    assert 'code="20"' in device.config("delete", ADDRESS)


def test_a_name_that_does_not_resolve_leaves_the_candidate_as_it_was(device: Device) -> None:
    """One refused call of several must not leave half an object."""
    before = device.config("get", panos.VSYS)
    wrong = RULE.replace("web", "nobody")
    assert 'code="12"' in device.config("set", f"{RULES}/entry[@name='r']", element=wrong)
    assert device.config("get", panos.VSYS) == before


def test_edit_replaces_and_set_adds(device: Device) -> None:
    """What the document does not have must go away: only edit does that."""
    group = f"{panos.VSYS}/address-group/entry[@name='g']"
    device.config("set", f"{panos.VSYS}/address/entry[@name='b']", element="<fqdn>b.example.com</fqdn>")
    device.config("set", group, element="<static><member>web</member></static>")
    device.config("set", group, element="<static><member>b</member></static>")
    assert device.config("get", group).count("<member>") == 2
    device.config("edit", group, element="<entry name='g'><static><member>b</member></static></entry>")
    assert device.config("get", group).count("<member>") == 1


def test_rules_are_moved(device: Device) -> None:
    """Order decides, and moving to where it stands already is refused with 14."""
    for name in ("a", "b", "c"):
        device.config("set", f"{RULES}/entry[@name='{name}']", element=f"{RULE}<action>allow</action>")
    device.config("move", f"{RULES}/entry[@name='c']", where="before", dst="a")
    assert re.findall(r'entry name="(\w)"', device.config("get", RULES)) == ["c", "a", "b"]
    assert 'code="14"' in device.config("move", f"{RULES}/entry[@name='c']", where="top")


def test_while_a_commit_runs_another_is_refused(device: Device) -> None:
    """Come again later, it says; nothing is wrong with the second."""
    device.emulator.orders.order(Fault.SLOW_COMMIT, seconds=0.4)
    device.ask(type="commit", cmd="<commit></commit>")
    assert 'code="13"' in device.ask(type="commit", cmd="<commit></commit>")


def test_a_candidate_is_taken_back(device: Device) -> None:
    """What was set and not committed can be dropped without touching what runs."""
    assert "yes" in device.ask(type="op", cmd="<check><pending-changes/></check>")
    device.ask(type="op", cmd="<revert><config/></revert>")
    assert "no" in device.ask(type="op", cmd="<check><pending-changes/></check>")
    assert 'code="7"' in device.config("get", ADDRESS)
