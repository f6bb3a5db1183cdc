"""What Nova and Heat say on their message bus: known before the next look, and missed by nobody when the bus
is away."""

import time
from collections.abc import Callable, Iterator

import pytest
from buses import alarm_of, body, broker_of, deleted_behind_our_back
from guests import Cloud, Guests, guests
from lab.openstack import bus
from laboratory import LabSite, OpenStackLaboratory
from tenancy import Project

from farsite import telemetry

LOOK_S = 45.0
"""So seldom is looked here that what is known much sooner was told."""
SOON_S = 15.0
SETTLED_S = 2.0
"""By then the last notification has come, if it comes."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Guests]:
    with guests(
        heartbeat_period_s=2.0,
        heartbeat_timeout_s=10.0,
        host_look_period_s=LOOK_S,
        inventory_period_s=LOOK_S,
        vim_poll_first_s=LOOK_S,
        vim_poll_max_s=LOOK_S,
    ) as found:
        yield found


@pytest.fixture
def broker(laboratory: OpenStackLaboratory, site1: LabSite) -> str:
    """Where the first site's services publish."""
    return broker_of(laboratory, site1)


def test_a_server_that_somebody_deletes_is_known_long_before_the_next_look(
    bench: Guests, name: str, project: Project, broker: str
) -> None:
    """And that its stack was done was not looked for either."""
    bench.register(name, body(project, broker))
    cloud = Cloud(project.admin, project.project_id)
    began = time.monotonic()
    vnf_id = bench.running(name)
    assert time.monotonic() - began < LOOK_S, "the end of the stack was looked for, not heard of"
    began = deleted_behind_our_back(cloud)
    bench.until(lambda: alarm_of(bench, vnf_id), bool)
    assert time.monotonic() - began < SOON_S
    bench.terminated(vnf_id)


def test_what_others_do_on_the_same_bus_causes_no_look(
    bench: Guests,
    name: str,
    project: Project,
    make_project: Callable[[LabSite], Project],
    site1: LabSite,
    broker: str,
) -> None:
    """A cloud of a thousand projects says something all the time."""
    bench.register(name, body(project, broker))
    heard = telemetry.REGISTRY.get_sample_value("farsite_vim_notices_total")
    admin = make_project(site1).admin
    image = admin.image.find_image("cirros", ignore_missing=False)
    flavour = min(admin.compute.flavors(), key=lambda one: one.ram)
    network = admin.network.find_network("mgmt", ignore_missing=False)
    server = admin.compute.create_server(
        name="of-others", image_id=image.id, flavor_id=flavour.id, networks=[{"uuid": network.id}]
    )
    admin.compute.wait_for_server(server, wait=120)
    admin.compute.delete_server(server)
    admin.compute.wait_for_delete(server, wait=120)
    time.sleep(SETTLED_S)
    assert telemetry.REGISTRY.get_sample_value("farsite_vim_notices_total") == heard


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"message_bus_password": "wrong"}, f'refuses user "{bus.USER}"'),
        ({"broker": "/nowhere"}, 'no access to virtual host "nowhere"'),
        ({"broker": "port"}, "nothing listens on port 1 of"),
    ],
)
def test_a_bus_that_cannot_be_heard_is_refused_at_registration(
    bench: Guests, name: str, project: Project, broker: str, change: dict[str, str], says: str
) -> None:
    """By what is wrong with it, and nothing is kept."""
    host = broker.removeprefix("amqp://").partition(":")[0]
    others = {"/nowhere": f"{broker.rpartition('/')[0]}/nowhere", "port": f"amqp://{host}:1/site1"}
    where = others.get(change.get("broker", ""), broker)
    who = {key: value for key, value in change.items() if key != "broker"}
    answer = bench.service.native("POST", "/vims", json={"name": name, **body(project, where, **who)})
    assert answer.status_code >= 400
    assert says in answer.json()["detail"]
