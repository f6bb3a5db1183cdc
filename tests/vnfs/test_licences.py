"""Licences as products tell them: read in one way for every vendor, never taken for better than they are."""

import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from bench_parts import SHIPPED

from farsite.model.configuration import Verb
from farsite.model.errors import Invalid, NotSupported, VnfFault
from farsite.model.licence import Licence, LicenceState
from farsite.vnfs.adapter import Adapter, Sample
from farsite.vnfs.dictionary import FILE, Folder, read
from farsite.vnfs.licences import LicenceWords, licences
from farsite.vnfs.netconf import BASE, Reply
from farsite.vnfs.netconf_adapter import NetconfAdapter
from farsite.vnfs.shell_software import ShellSoftware
from farsite.vnfs.transports.local import LocalShell

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SECTION: Mapping[str, object] = {
    "command": "{{ program }}",
    "pattern": r"^(?P<name>\S+) is (?P<state>\w+)(?: until (?P<expires>.+))?$",
    "dates": ["%Y-%m-%d %H:%M %z", "%Y-%m-%d", "epoch"],
    "never": ["doomsday"],
    "states": {"active": "VALID", "lapsed": "EXPIRED", "absent": "MISSING"},
}


def product(directory: Path, section: Mapping[str, object] | None, *lines: str, ends: int = 0) -> Folder:
    """A product of somebody else's with a program that prints its licences, and its dictionary."""
    program = directory / "acme-licences"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {ends}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    dictionary: dict[str, object] = {
        "name": "acme",
        "vendor": "Acme",
        "product": "Acme gateway",
        "versions": "any",
        "access": {"method": "shell"},
        "services": ["native"],
        "parameters": {"program": str(program)},
        "places": [{"name": "main", "path": str(directory / "main"), "template": "main.j2"}],
        "activate": "true",
    }
    folder = directory / "acme"
    folder.mkdir()
    (folder / "main.j2").write_text("")
    (folder / FILE).write_text(yaml.safe_dump(dictionary | ({"licences": dict(section)} if section else {})))
    return read(folder)


def opened(folder: Folder) -> ShellSoftware:
    return ShellSoftware(
        folder, LocalShell(), device="gw-1", parameters={}, keep_in="/nowhere", now=NOW.timestamp
    )


async def told(adapter: Adapter) -> dict[str, Licence]:
    return {one.name: one for one in await licences(adapter).licences()}


def named(samples: Sequence[Sample]) -> dict[str, float]:
    return {one.name + one.labels.get("licence", ""): one.value for one in samples}


async def test_a_product_tells_its_licences_by_a_dictionary_alone(tmp_path: Path) -> None:
    """Somebody else's product has the verb without a line of Python."""
    adapter = opened(
        product(
            tmp_path,
            SECTION,
            "base is Active until 2026-07-15 14:00 +0200",
            "vpn is lapsed until 2026-06-01",
            "sandbox is active until 1781870400",
            "support is active until Doomsday",
            "video is absent",
        )
    )
    found = await told(adapter)

    assert Verb.LICENCE in adapter.about.verbs
    assert [(one.name, one.state, one.expires_at) for one in found.values()] == [
        ("base", LicenceState.VALID, datetime(2026, 7, 15, 12, tzinfo=UTC)),
        ("vpn", LicenceState.EXPIRED, datetime(2026, 6, 1, tzinfo=UTC)),
        ("sandbox", LicenceState.VALID, datetime(2026, 6, 19, 12, tzinfo=UTC)),
        ("support", LicenceState.VALID, None),
        ("video", LicenceState.MISSING, None),
    ]
    assert found["vpn"].said == "vpn is lapsed until 2026-06-01"


async def test_where_a_product_has_no_word_for_it_the_end_decides(tmp_path: Path) -> None:
    """Some products print a date and leave the sum to the reader."""
    section = {**SECTION, "pattern": r"^(?P<name>\S+) (?P<expires>\S+)$", "states": {}}
    found = await told(opened(product(tmp_path, section, "old 2026-06-15", "new 2026-06-16")))

    assert found["old"].state is LicenceState.EXPIRED
    assert found["new"].state is LicenceState.VALID


async def test_what_cannot_be_read_is_unknown_in_the_vendors_words(tmp_path: Path) -> None:
    """A date in a form of next year's version must not look like a licence that never ends."""
    adapter = opened(
        product(tmp_path, SECTION, "base is active until next Tuesday", "vpn is snoozing until 2027-01-01")
    )
    found = await told(adapter)

    assert {one.state for one in found.values()} == {LicenceState.UNKNOWN}
    assert 'the date "next Tuesday" cannot be read' in found["base"].said
    assert 'the state "snoozing" is not known' in found["vpn"].said
    assert named(await adapter.metrics())["licences_unknown"] == 2


@pytest.mark.parametrize(
    ("lines", "ends", "what"),
    [
        (("no such licence server",), 3, "cannot tell its licences"),
        (("Segmentation fault",), 0, "tells its licences in words that cannot be read"),
    ],
)
async def test_a_device_that_does_not_say_is_named_with_its_words(
    tmp_path: Path, lines: tuple[str, ...], ends: int, what: str
) -> None:
    """Nothing told is not the same as no licence; and the other figures of the function stay."""
    adapter = opened(product(tmp_path, SECTION, *lines, ends=ends))
    with pytest.raises(VnfFault) as fault:
        await licences(adapter).licences()

    assert f"gw-1 (Acme gateway) {what}" in fault.value.detail
    assert lines[0] in fault.value.detail
    assert named(await adapter.metrics()) == {"licences_unknown": 1}


async def test_a_device_that_tells_of_none_has_none(tmp_path: Path) -> None:
    """An answer without a word is an answer."""
    assert await told(opened(product(tmp_path, SECTION))) == {}


async def test_an_adapter_that_cannot_tell_says_so_and_what_to_do(tmp_path: Path) -> None:
    """Whoever asks learns that it is not the device that has none."""
    adapter = opened(product(tmp_path, None))
    assert Verb.LICENCE not in adapter.about.verbs
    for ask in (lambda: licences(adapter).licences(), adapter.licences):
        with pytest.raises(
            NotSupported, match=r"Adapter acme cannot tell the licences of Acme gateway.* add"
        ):
            await ask()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pattern": "^(?P<expires>.*)$"}, "no group named name"),
        ({"pattern": "("}, "cannot be read"),
        ({"dates": ["%Q"]}, "'%Q' is no form of a date"),
        ({"states": {"active": "FINE"}}, "licences.states.active"),
        ({"command": ""}, "licences need a command and a pattern"),
    ],
)
def test_a_section_that_is_wrong_is_refused_when_it_is_read(
    tmp_path: Path, change: Mapping[str, object], said: str
) -> None:
    """Its author learns of it at his desk, not the operator at night."""
    with pytest.raises(Invalid, match=said):
        product(tmp_path, {**SECTION, **change})


async def test_figures_say_how_long_each_is_left_and_which_is_first(tmp_path: Path) -> None:
    """A threshold needs a number that falls below zero when it is too late."""
    lines = ("base is active until 2026-06-16", "vpn is lapsed until 2026-06-15", "video is absent")
    found = named(await opened(product(tmp_path, SECTION, *lines)).metrics())

    assert found == {
        "licence_validbase": 1,
        "licence_validvpn": 0,
        "licence_validvideo": 0,
        "licence_seconds_leftbase": 12 * 3600,
        "licence_seconds_leftvpn": -12 * 3600,
        "licence_seconds_left_least": -12 * 3600,
        "licences_expired": 1,
        "licences_unknown": 0,
    }


def test_a_date_that_no_calendar_has_is_unknown_too() -> None:
    """Devices have told seconds of the year 60,000."""
    words = LicenceWords(dates=("epoch",))
    for text in ("9" * 30, "nan", "inf", "-" * 100):
        read = words.licence("base", state=None, expires=text, said=text, now_s=0)
        assert (read.state, read.expires_at) == (LicenceState.UNKNOWN, None)


class Router:
    """A NETCONF device with licences, which no product that can be had for nothing has."""

    capabilities = frozenset({f"{BASE}:candidate"})

    def __init__(self, data: str) -> None:
        self._data = data

    async def open(self) -> None: ...

    async def ask(self, operation: str, *, timeout_s: float = 60.0) -> Reply:
        assert '<licences xmlns="urn:acme"/>' in operation
        return Reply(xml=f'<rpc-reply xmlns="{BASE}"><data>{self._data}</data></rpc-reply>')

    async def close(self) -> None: ...


async def test_a_device_that_speaks_netconf_tells_them_as_state(tmp_path: Path) -> None:
    """What it answers is lines, so a pattern goes over those of one entry."""
    dictionary = yaml.safe_load((SHIPPED / "ietf" / FILE).read_text())
    dictionary |= {"metrics": [], "lists": {"licence": "name"}}
    dictionary["licences"] = {
        **SECTION,
        "command": '<licences xmlns="urn:acme"/>',
        "pattern": r"^licences/licence\[(?P<name>[^\]]+)\]/state (?P<state>\w+)\n\S+/end (?P<expires>\S+)$",
    }
    for template in (SHIPPED / "ietf").glob("*.j2"):
        (tmp_path / template.name).write_bytes(template.read_bytes())
    (tmp_path / FILE).write_text(yaml.safe_dump(dictionary))
    entry = "<licence><name>base</name><state>active</state><end>2026-06-16</end></licence>"

    def opened_with(data: str) -> NetconfAdapter:
        return NetconfAdapter(read(tmp_path), Router(data), device="edge-1", parameters={}, now=NOW.timestamp)

    adapter = opened_with(f'<licences xmlns="urn:acme">{entry}</licences>')
    assert [(one.name, one.state) for one in (await told(adapter)).values()] == [("base", LicenceState.VALID)]
    assert named(await adapter.metrics())["licence_seconds_leftbase"] == 12 * 3600
    other = opened_with('<licences xmlns="urn:acme"><none/></licences>')
    with pytest.raises(VnfFault, match=r"edge-1 \(.*tells its licences in words that cannot be read"):
        await told(other)
    without = NetconfAdapter(read(SHIPPED / "ietf"), Router(""), device="edge-1", parameters={})
    with pytest.raises(NotSupported, match="Adapter ietf cannot tell the licences"):
        await without.licences()
