"""Licences of products that are managed over HTTPS, as their emulators tell them, here and by a broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from bench_emulated import SECRET, Emulated, emulated_f5, emulated_fortios, emulated_panos, served
from bench_parts import SHIPPED

from farsite.model.configuration import Verb
from farsite.model.errors import Invalid, NotSupported, VnfFault
from farsite.model.licence import Licence, LicenceState
from farsite.vnfs.adapter import Adapter, ErrorCode
from farsite.vnfs.broker.jobs import (
    VERSION,
    Job,
    JobAccess,
    JobVerb,
    answer_from_json,
    answer_to_json,
    since,
)
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.dictionary import FILE, read
from farsite.vnfs.licences import licences
from farsite.vnfs.registry import Adapters
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.transports.https import known_by
from farsite.vnfs.transports.kept_sessions import KeptSessions


async def told(adapter: Adapter) -> dict[str, Licence]:
    return {one.name: one for one in await licences(adapter).licences()}


async def figures_of(adapter: Adapter) -> dict[str, float]:
    return {one.name + one.labels.get("licence", ""): one.value for one in await adapter.metrics()}


@asynccontextmanager
async def open_to(device: Emulated) -> AsyncIterator[Adapter]:
    adapter = await device.open()
    try:
        yield adapter
    finally:
        await adapter.close()


async def test_a_fortigate_tells_what_it_is_licensed_for(tmp_path: Path) -> None:
    """Services and levels of support are licences; where somebody is logged in, and limits, are none."""
    emulator = emulated_fortios.FortiOs(secret=SECRET)
    with served("fortios", emulator, tmp_path) as device:
        async with open_to(device) as adapter:
            found = await told(adapter)
            figures = await figures_of(adapter)

    states = {name: one.state.value for name, one in found.items()}
    assert states == {
        "forticare/hardware": "VALID",
        "forticare/enhanced": "VALID",
        "antivirus": "VALID",
        "internet_service_db": "VALID",
        "web_filtering": "EXPIRED",
        "sms": "MISSING",
    }
    assert found["internet_service_db"].expires_at is None
    ends = found["antivirus"].expires_at
    assert ends is not None
    assert abs(ends - datetime.now(UTC) - timedelta(days=400)) < timedelta(minutes=1)
    assert found["web_filtering"].said.startswith("status expired, expires 1")
    assert figures["licences_expired"] == 1
    assert figures["licence_seconds_left_least"] == figures["licence_seconds_leftweb_filtering"] < 0


async def test_a_virtual_fortigate_tells_of_its_own_licence(tmp_path: Path) -> None:
    """Without it a FortiGate-VM refuses nearly everything, in other words than licences."""
    emulator = emulated_fortios.FortiOs(secret=SECRET)
    emulator.licences = {
        "vm": {"type": "platform", "valid": True, "status": "vm_eval", "expires": 1591534904}
    }
    with served("fortios", emulator, tmp_path) as device:
        async with open_to(device) as adapter:
            found = await told(adapter)
            emulator.licences = ["vm"]
            with pytest.raises(VnfFault, match=r"fortios-1 \(FortiOS.*in no form that is known.*vm"):
                await told(adapter)

    assert found["vm"].state is LicenceState.VALID
    assert found["vm"].expires_at == datetime(2020, 6, 7, 13, 1, 44, tzinfo=UTC)


async def test_a_pan_os_firewall_tells_what_it_is_licensed_for(tmp_path: Path) -> None:
    """Its word for an end that does not come is Never."""
    emulator = emulated_panos.PanOs(secret=SECRET)
    with served("panos", emulator, tmp_path, secret=emulator.key) as device:
        async with open_to(device) as adapter:
            found = await told(adapter)
            emulator.licences = [{"feature": "WildFire", "expires": "soon", "expired": "no"}]
            unread = await told(adapter)

    assert {name: one.state.value for name, one in found.items()} == {
        "PAN-DB URL Filtering": "VALID",
        "Threat Prevention": "EXPIRED",
        "GlobalProtect Portal": "VALID",
    }
    assert found["GlobalProtect Portal"].expires_at is None
    ends = found["PAN-DB URL Filtering"].expires_at
    assert ends is not None
    assert ends.date() == (datetime.now(UTC) + timedelta(days=400)).date()
    assert unread["WildFire"].state is LicenceState.UNKNOWN
    assert unread["WildFire"].said == 'expires soon, expired no; the date "soon" cannot be read'


async def test_a_big_ip_tells_its_one_licence_and_that_it_has_none(tmp_path: Path) -> None:
    """It has one licence for all its modules, which ends for them together."""
    emulator = emulated_f5.F5(secret=SECRET)
    with served("f5", emulator, tmp_path) as device:
        async with open_to(device) as adapter:
            valid = await told(adapter)
            emulator.licence["licenseEndDate"] = "2017/06/10"
            expired = await told(adapter)
            del emulator.licence["licenseEndDate"]
            for_ever = await told(adapter)
            emulator.licence = {}
            missing = await told(adapter)
            figures = await figures_of(adapter)

    assert valid["BIG-IP"].state is LicenceState.VALID
    assert '"BIG-IP, VE, LAB"' in valid["BIG-IP"].said
    assert expired["BIG-IP"].state is LicenceState.EXPIRED
    assert expired["BIG-IP"].expires_at == datetime(2017, 6, 10, tzinfo=UTC)
    assert (for_ever["BIG-IP"].state, for_ever["BIG-IP"].expires_at) == (LicenceState.VALID, None)
    assert missing["BIG-IP"].state is LicenceState.MISSING
    assert missing["BIG-IP"].said == "Can't load license, may not be operational"
    assert figures["licence_validBIG-IP"] == 0
    assert "licence_seconds_left_least" not in figures


def test_the_verb_is_announced_exactly_where_it_works() -> None:
    """The table of adapters is what an operator goes by."""
    announced = {
        path.parent.name
        for path in SHIPPED.glob(f"*/{FILE}")
        if Verb.LICENCE in read(path.parent).about.verbs
    }

    assert announced == {"f5", "fortios", "panos"}


async def test_a_module_without_the_method_is_found_out_when_it_is_opened(tmp_path: Path) -> None:
    """A section alone makes no product tell anything."""
    section = {"states": {"active": "VALID"}}
    dictionary = yaml.safe_load((SHIPPED / "vyos" / FILE).read_text())
    (tmp_path / FILE).write_text(yaml.safe_dump(dictionary | {"licences": section}))

    with served("vyos", emulated_fortios.FortiOs(), tmp_path / "device") as device:
        async with open_to(device) as adapter:
            assert isinstance(adapter, RestAdapter)
            with pytest.raises(NotSupported, match="Adapter vyos cannot tell the licences of VyOS"):
                await adapter.licences()
            with pytest.raises(Invalid, match="has no method licences"):
                RestAdapter(read(tmp_path), adapter._rest, device="r1", parameters={})


# -- through a broker --------------------------------------------------------------------------------


def job(adapter: str, device: Emulated) -> Job:
    return Job(
        id="1",
        device="d",
        name="fw",
        verb=JobVerb.LICENCES,
        adapter=adapter,
        access=JobAccess(
            host="127.0.0.1",
            port=device.served.port,
            user="admin",
            host_keys=(known_by(device.authority.certificate.read_bytes()),),
            password=SECRET,
        ),
        deadline_at=datetime.now(UTC) + timedelta(minutes=1),
        version=since(JobVerb.LICENCES),
    )


async def test_a_broker_asks_in_our_place(tmp_path: Path) -> None:
    """What it found comes over the wire as it was, and so does that there is nothing to ask."""
    with served("fortios", emulated_fortios.FortiOs(secret=SECRET), tmp_path) as device:
        answer = await perform(job("fortios", device), Adapters(), KeptSessions())
        refused = await perform(job("vyos", device), Adapters(), KeptSessions())

    assert answer.fault is None
    assert {one.name for one in answer.licences} >= {"antivirus", "web_filtering"}
    assert answer_from_json(answer_to_json(answer)) == answer
    assert refused.fault is not None
    assert refused.fault.kind == "NotSupported"
    assert "cannot tell the licences of VyOS" in refused.fault.detail


async def test_a_broker_says_what_a_device_refused(tmp_path: Path) -> None:
    """The device is there, and does not let us in: that is no licence that is missing."""
    with served("fortios", emulated_fortios.FortiOs(secret="another"), tmp_path) as device:
        answer = await perform(job("fortios", device), Adapters(), KeptSessions())

    assert answer.fault is not None
    assert answer.fault.about["code"] == ErrorCode.AUTHENTICATION


def test_a_broker_of_before_is_not_asked() -> None:
    """It would not know the word."""
    assert since(JobVerb.LICENCES) == 3 <= VERSION
