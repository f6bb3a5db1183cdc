"""What of the notifications on an OpenStack's message bus is a reason to look, in its services' words."""

import json
from pathlib import Path
from typing import Any

import pytest

from farsite.model.errors import VimFault
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.bus import addresses_of, notice_of

OURS, OTHERS = "0f3c2a9e1b7d4c6f8a5e9d0b1c2d3e4f", "9b8a7c6d5e4f30211203f4e5d6c7b8a9"


def said(event: str, payload: dict[str, Any], *, is_wrapped: bool = True) -> bytes:
    """As oslo.messaging sends it: since its version 2.0 in an envelope."""
    message = {
        "message_id": "3a1b",
        "publisher_id": "compute.turin-1",
        "event_type": event,
        "priority": "INFO",
        "payload": payload,
        "timestamp": "2026-01-31 12:00:00.000000",
    }
    if not is_wrapped:
        return json.dumps(message).encode()
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def versioned(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"nova_object.name": name, "nova_object.version": "1.8", "nova_object.data": data}


def of_server(event: str, project: str = OURS, **more: Any) -> bytes:
    return said(event, {"tenant_id": project, "instance_id": "i", **more})


def of_server_versioned(event: str, project: str = OURS, **more: Any) -> bytes:
    return said(event, versioned("InstanceActionPayload", {"tenant_id": project, "uuid": "i", **more}))


def updated(old: str, new: str) -> bytes:
    change = versioned("InstanceStateUpdatePayload", {"old_state": old, "state": new})
    return of_server_versioned("instance.update", state=new, state_update=change)


def connection(bus: object, **credentials: str) -> VimConnection:
    return VimConnection(
        vim_id=VimId("v"),
        name="turin",
        site="",
        settings={"message_bus": bus},
        credentials=credentials,
        run_dir=Path("/nonexistent"),
    )


@pytest.mark.parametrize(
    "body",
    [
        of_server("compute.instance.delete.end"),
        of_server("compute.instance.power_off.end"),
        of_server("compute.instance.live_migration.post.dest.end"),
        of_server("compute.instance.update", old_state="active", state="error"),
        of_server("compute.instance.update", old_state="active", state="stopped"),
        of_server_versioned("instance.delete.end"),
        of_server_versioned("instance.rebuild.error"),
        of_server_versioned("instance.evacuate.end"),
        updated("active", "stopped"),
        updated("building", "error"),
        updated("error", "active"),
    ],
)
def test_a_server_that_may_have_got_lost_or_moved_is_a_reason_to_look(body: bytes) -> None:
    """In either format, and whoever did it."""
    notice = notice_of(body, OURS)
    assert notice is not None
    assert notice.deployment == ""


@pytest.mark.parametrize(
    "body",
    [
        of_server("compute.instance.delete.start"),
        of_server("compute.instance.create.end"),
        of_server("compute.instance.exists"),
        of_server("compute.instance.update", old_state="building", state="building"),
        of_server("compute.instance.update", old_state="building", state="active"),
        of_server("compute.instance.update", old_state="active", state="active"),
        updated("building", "active"),
        updated("active", "active"),
        of_server_versioned("instance.create.end"),
        of_server_versioned("instance.volume_attach.end"),
        said("orchestration.stack.create.start", {"tenant_id": OURS, "stack_name": "vnf-1"}),
        said("identity.authenticate", {"tenant_id": OURS}),
    ],
)
def test_what_a_boot_says_a_dozen_times_is_none(body: bytes) -> None:
    """Looking after each would keep a cloud from the very boots that are waited for."""
    assert notice_of(body, OURS) is None


@pytest.mark.parametrize(
    "body",
    [
        of_server("compute.instance.delete.end", OTHERS),
        of_server_versioned("instance.delete.end", OTHERS),
        said("orchestration.stack.create.end", {"tenant_id": OTHERS, "stack_name": "vnf-1"}),
    ],
)
def test_what_others_do_on_the_same_cloud_is_none(body: bytes) -> None:
    """A bus is shared by all projects of a cloud."""
    assert notice_of(body, OURS) is None


@pytest.mark.parametrize("event", ["create.end", "create.error", "delete.end", "update.end"])
def test_a_stack_that_has_ended_names_its_deployment(event: str) -> None:
    """So that only who waits for that one looks."""
    body = said(f"orchestration.stack.{event}", {"tenant_id": OURS, "stack_name": "vnf-1"})
    notice = notice_of(body, OURS)
    assert notice is not None
    assert notice.deployment == "vnf-1"


def test_a_host_belongs_to_no_project() -> None:
    """What stands on it may be ours."""
    body = said("service.update", versioned("ServiceStatusPayload", {"host": "h1", "forced_down": True}))
    assert notice_of(body, OURS) is not None


def test_a_notification_without_an_envelope_is_read_as_well() -> None:
    """The driver `messaging`, without a 2, sends so."""
    body = said("compute.instance.delete.end", {"tenant_id": OURS}, is_wrapped=False)
    assert notice_of(body, OURS) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"oslo.message": 5}',
        b'{"oslo.message": "["}',
        b'{"event_type": 5, "payload": {}}',
        b'{"event_type": "compute.instance.delete.end", "payload": []}',
        b'{"event_type": "instance.update", "payload": {"nova_object.data": {"state_update": 3}}}',
    ],
)
def test_what_is_no_notification_is_left(body: bytes) -> None:
    """Anybody on the bus may publish anything."""
    assert notice_of(body, OURS) is None


def test_several_brokers_are_named_once_each() -> None:
    """With the ports and the virtual host that AMQP has by default."""
    who = {"message_bus_username": "u", "message_bus_password": "p"}
    found = addresses_of(connection("amqp://a/nova, amqps://b:5999/%2Fnova,amqp://a/nova", **who))
    assert [(one.host, one.port, one.virtual_host, one.is_tls) for one in found] == [
        ("a", 5672, "nova", False),
        ("b", 5999, "/nova", True),
    ]
    assert addresses_of(connection("")) == ()


@pytest.mark.parametrize(
    ("bus", "says"),
    [
        ("http://a/", 'message_bus "http://a/"'),
        ("a:5672", 'message_bus "a:5672"'),
        ("amqp://", 'message_bus "amqp://"'),
        ("amqp://a:port/", 'message_bus "amqp://a:port/"'),
        ("amqp://u:hidden@a/nova", 'message_bus "amqp://***@a/nova"'),
    ],
)
def test_what_is_no_address_of_a_broker_is_refused_without_telling_a_password(bus: str, says: str) -> None:
    """The error is shown and logged."""
    who = {"message_bus_username": "u", "message_bus_password": "p"}
    with pytest.raises(VimFault) as refused:
        addresses_of(connection(bus, **who))
    assert says in refused.value.detail
    assert "amqp://HOST:PORT/VHOST" in refused.value.detail
    assert "hidden" not in refused.value.detail


def test_a_broker_without_a_user_is_refused() -> None:
    """Before anybody waits for a login that cannot be."""
    with pytest.raises(VimFault, match="not both message_bus_username and message_bus_password"):
        addresses_of(connection("amqp://a/nova", message_bus_username="u"))
