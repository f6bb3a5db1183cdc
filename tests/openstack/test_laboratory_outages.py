"""Outages of the real services, by signal and by rule of the kernel, and that they end."""

import time
from collections.abc import Callable

import pytest
from keystoneauth1.exceptions import ConnectFailure, ConnectTimeout
from lab.openstack.raising import Laboratory
from laboratory import LabSite
from openstack import exceptions

SOON_S = 60.0
SHORT_S = 2.0
GONE = (ConnectFailure, ConnectTimeout, exceptions.SDKException)


def eventually(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "not within a minute"
        time.sleep(0.1)


def test_a_killed_service_refuses_and_comes_back(breakable: Laboratory, site1: LabSite) -> None:
    """What a crash of a service looks like, and that the laboratory is whole for the next test."""
    cloud = site1.nfv.connect()
    assert cloud.image.get("/images").status_code == 200
    breakable.processes.kill("site1-glance")
    with pytest.raises(GONE):
        cloud.image.get("/images", connect_retries=0)
    breakable.processes.start("site1-glance")
    assert cloud.image.get("/images").status_code == 200


def test_a_frozen_service_accepts_and_says_nothing(breakable: Laboratory, site1: LabSite) -> None:
    """The outage that costs most: nothing is refused, so only a limit of time ends it."""
    cloud = site1.nfv.connect()
    assert cloud.compute.get("/servers").status_code == 200
    breakable.processes.freeze("site1-nova-api")
    assert breakable.processes.is_frozen("site1-nova-api")
    with pytest.raises(GONE):
        cloud.compute.get("/servers", timeout=SHORT_S, connect_retries=0)
    breakable.processes.thaw("site1-nova-api")
    assert cloud.compute.get("/servers").status_code == 200


def test_a_site_that_is_cut_off_is_silent_and_works_on_inside(
    breakable: Laboratory, site1: LabSite, site2: LabSite
) -> None:
    """A partition: the site is well, we do not hear of it, and another site is not touched."""
    if not breakable.layout.isolated:
        pytest.skip("the sites have no network namespaces of their own (up --isolated)")
    cloud, other = site1.nfv.connect(), site2.nfv.connect()
    assert cloud.network.get("/networks").status_code == 200
    breakable.cut("site1")
    with pytest.raises(GONE):
        cloud.network.get("/networks", timeout=SHORT_S, connect_retries=0)
    assert other.network.get("/networks").status_code == 200
    breakable.cut("site1", reject=True)
    with pytest.raises(ConnectFailure):
        cloud.network.get("/networks", timeout=SHORT_S, connect_retries=0)
    breakable.mend("site1")
    # Its services reached their database and their bus all the time.
    assert cloud.network.get("/networks").status_code == 200
    assert all(agent.state == "up" for agent in site1.admin.connect().compute.services())


def test_a_compute_host_is_seen_down_and_up_again(breakable: Laboratory, site1: LabSite) -> None:
    """Healing starts from what Nova says of its hosts, and guests must outlive the agent."""
    admin = site1.admin.connect()

    def state() -> str:
        (host,) = (one for one in admin.compute.services() if one.host == "site1-cmp2")
        return host.state

    breakable.processes.kill("site1-compute2")
    eventually(lambda: state() == "down")
    breakable.processes.start("site1-compute2")
    eventually(lambda: state() == "up")
