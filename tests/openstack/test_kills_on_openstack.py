"""SIGKILL of the orchestrator at the steps of its verbs, on a real OpenStack: every operation ends by itself,
and what the VIM then lists is what the record names, once."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from guests import IMAGE, NETWORK, Cloud
from tenancy import Project

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import guest_lives
from fault_lab import Kill, settings_of
from fault_processes import KILLED, life
from guest_lives import WITHIN_S

from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf
from farsite.lifecycle.verbs import VERBS
from farsite.model.ids import new_id
from farsite.model.vnf import ExternalLink
from farsite.settings import Settings

FAULTS = Path(__file__).parents[1] / "faults"
KILLS_OF_THE_FULL_RUN = 50
INSTANTIATE = InstantiateVnf(
    vim=guest_lives.VIM, external_links=(ExternalLink(cp="net", network_id=NETWORK),)
)
ROUND = (
    ("instantiate_vnf", INSTANTIATE, 1),
    ("scale_vnf", ScaleVnf(type=ScaleType.SCALE_OUT, aspect_id="servers"), 2),
    ("heal_vnf", HealVnf(), 2),
    ("scale_vnf", ScaleVnf(type=ScaleType.SCALE_IN, aspect_id="servers"), 1),
    ("terminate_vnf", TerminateVnf(), 0),
)
"""Verb, what is asked, and how many servers stand when it is done."""


class Mortal:
    """A guest whose orchestrator lives many lives."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self._settings = settings
        self.cloud = Cloud(project.admin, project.project_id)
        account = project.account
        self._vnf_id = str(
            life(
                settings,
                guest_lives.furnish,
                account.auth_url,
                account.region,
                account.credentials,
                IMAGE,
                within_s=WITHIN_S,
            )
        )

    def killed_at(self, points: list[tuple[str, str]], verb: str, parameters: object) -> int:
        """One operation whose orchestrator is killed at each of these points, and its end; how many kills."""
        operation_id = new_id()
        kills = [Kill(operation_id=operation_id, step=step, when=when) for step, when in points]
        for kill in (*kills, None):
            ended = life(
                self._settings,
                guest_lives.run,
                verb,
                parameters,
                self._vnf_id,
                operation_id,
                kill=kill,
                kind="on OpenStack",
                within_s=WITHIN_S,
            )
            assert ended == (KILLED if kill else "COMPLETED"), (verb, kill, ended)
        return len(kills)

    def stands(self, servers: int) -> None:
        """The VIM holds so many servers with a port each in one stack, and the record names exactly these."""
        assert [one.name for one in self.cloud.stacks()] == [f"vnf-{self._vnf_id}"] * bool(servers)
        assert len(self.cloud.servers()) == len(self.cloud.ports()) == servers, self.cloud.left()
        named = life(self._settings, guest_lives.recorded, self._vnf_id, within_s=WITHIN_S)
        assert named == self.cloud.servers().keys() | self.cloud.ports().keys()


@pytest.fixture
def mortal(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortal]:
    """A guest that is not deployed yet, of an orchestrator that is about to die often."""
    # The fork server looks for the modules of the tests where we do.
    here = str(Path(__file__).parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, str(FAULTS), *filter(None, paths)]))
    data_dir = Path(tempfile.mkdtemp(prefix="fsk-", dir="/tmp"))
    settings = settings_of(
        data_dir, f"sqlite:///{data_dir / 'farsite.db'}", heartbeat_timeout_s=30.0, vim_poll_first_s=0.1,
        heartbeat_period_s=2.0,
    )  # fmt: skip
    yield Mortal(settings, project)
    shutil.rmtree(data_dir, ignore_errors=True)


def _points(verb: str, *when: str) -> list[tuple[str, str]]:
    return list(product((step.name for step in VERBS[verb].steps), when))


def test_an_instantiation_that_is_killed_after_every_step_ends_with_one_stack(mortal: Mortal) -> None:
    """What was done and not written down is found again on the VIM, and not made a second time."""
    mortal.killed_at(_points("instantiate_vnf", "after"), "instantiate_vnf", INSTANTIATE)
    mortal.stands(1)
    mortal.killed_at([("remove", "after")], "terminate_vnf", TerminateVnf())
    mortal.stands(0)


@pytest.mark.slow
def test_fifty_kills_over_all_verbs_leave_nothing_and_double_nothing(mortal: Mortal) -> None:
    """The promise of the design on a real cloud: before and after every step of a life from first to last."""
    kills = 0
    while kills < KILLS_OF_THE_FULL_RUN:
        for verb, parameters, servers in ROUND:
            kills += mortal.killed_at(_points(verb, "before", "after"), verb, parameters)
            mortal.stands(servers)
