"""A process that has no file descriptor left while it works, and gets some again; one that has no memory."""

import threading

import httpx2
import pytest

from cluster_bench import Cluster, until
from scarce_bench import BOUND_S, Load, alone, names_of, read, tales
from scarcity import descriptors, little_memory
from vims_openstack.small_cloud import small_cloud, whole_cloud

PERSON = {"username": "nfv_user", "password": "s3cret-word", "project_name": "nfv"}
SILENT_S = 12.0
"""Longer than a VIM may be silent before it counts as lost."""


def state_of(made: Cluster, vim: str) -> str:
    return read(made, f"/vims/{vim}")["state"]


@pytest.mark.slow
def test_a_process_without_file_descriptors_loses_nothing_and_goes_on_when_it_has_some() -> None:
    """It can neither take a connection nor open one: that is its own trouble, and no VIM's."""
    with (
        alone() as made,
        small_cloud(whole_cloud(lambda: cloud.url), keeps_connections=False) as cloud,
    ):
        process = made.start("a").ready()
        # A new connection would have to wait, as those that are looked at do.
        made.keep_connections()
        north = made.register("north", deploy_delay_s=3.0)
        body = {"name": "turin", "type": "openstack", "auth_url": cloud.url, "credentials": PERSON}
        made.done("POST", "/vims", json=body)
        until(lambda: state_of(made, "turin") == "ACTIVE", "the cloud is watched", BOUND_S)
        vnfd_id = made.onboard()
        begun = made.instantiate(made.vnfs(vnfd_id, 4), "north")
        answers: list[httpx2.Response] = []

        def ask() -> None:
            url = f"{process.url}/farsite/v1/vnfs"
            headers = {"Authorization": f"Bearer {made.token}"}
            with httpx2.Client(headers=headers, timeout=BOUND_S, trust_env=False) as http:
                answers.append(http.post(url, json={"package": vnfd_id, "name": f"waits-{len(answers)}"}))

        with descriptors(process.pid, left=0):
            late = [threading.Thread(target=ask, daemon=True) for _ in range(5)]
            for thread in late:
                thread.start()
            until(lambda: tales(made, "resources-low/files") == ["raised"], "the shortage is told", BOUND_S)
            asked = len(cloud.asked)
            pause(made, SILENT_S)
            assert len(cloud.asked) == asked, "nobody could be asked"
            assert answers == [], "who comes new waits"
            assert state_of(made, "turin") == "ACTIVE"
        for thread in late:
            thread.join(BOUND_S)
        assert [one.status_code for one in answers] == [201] * 5
        until(lambda: len(cloud.asked) > asked + 3, "the cloud is asked again", BOUND_S)
        until(lambda: tales(made, "resources-low/files") == ["cleared", "raised"], "its end is told", BOUND_S)
        made.all_completed(begun, BOUND_S)
        assert made.doubled(north) == []
        assert tales(made, "vim-unreachable") == []
        assert process.is_running
        assert process.readiness()[0] == 200


def pause(made: Cluster, seconds: float) -> None:
    """Let time pass, asking over the connection that is there."""
    over = threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    until(lambda: made.ask("GET", "/vims").status_code == 200 and over.is_set(), "time passes", BOUND_S)


@pytest.mark.slow
def test_a_process_without_memory_keeps_what_it_accepted_and_starts_clean() -> None:
    """Whether it bears the shortage or dies of it, nothing is half done afterwards."""
    with alone() as made:
        process = made.start("a").ready()
        north = made.register("north", deploy_delay_s=2.0)
        vnfd_id = made.onboard()
        begun = made.instantiate(made.vnfs(vnfd_id, 4), "north")
        with Load(made, vnfd_id, threads=8) as load:
            until(lambda: len(load.named(201)) > 20, "VNFs are created", BOUND_S)
            with little_memory(process.pid, more_mib=1):
                until(lambda: not process.is_running or bool(load.named(0, 500, 503)), "it shows", BOUND_S)
            process.kill()
        again = made.start("a").ready()
        assert "Traceback" not in again.log()
        made.all_completed(begun, BOUND_S)
        known = names_of(made)
        assert len(known) == len(set(known))
        assert load.named(201) <= set(known)
        assert made.doubled(north) == []
