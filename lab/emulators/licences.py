"""What emulated devices say of their licences: the shapes and words of answers that were published, with
dates around today, so that a licence that is valid stays so.

Sources, read 2026-11-30; examples in `examples/*/licences*.json`:

* FortiOS, `GET /api/v2/monitor/license/status`: answers of 7.2.5 and 7.4.8 that an owner of devices keeps as
  test data (WagnerAG/checkmk_fortigate, tests/cmk_addons/plugins/fortios/agent_based/test_fortios_license.py,
  commit d021b560), of 6.2.4 with and without a virtual machine (bluecmd/fortigate_exporter,
  pkg/probe/testdata/license-61f-full.jsonnet and license-vm-trial.jsonnet, commit c8081837).
* PAN-OS, `request license info`: the vendor's pan-os-upgrade-assurance, tests/test_firewall_proxy.py (commit
  013e0015); `Never`: elastic/beats, x-pack/metricbeat/module/panw/system/license.go (commit 80a6c2bd).
* BIG-IP, `GET /mgmt/tm/sys/license`: the vendor's f5-automation-labs, docs/lab-1/provisioning.rst (commit
  11adcaa4); of a device without one: F5Networks/f5-adcaas-openstack,
  app/waf/test/fixtures/datasources/testrest.datasource.ts (commit 8a5a45fd). Without a document: that a
  licence for ever has no `licenseEndDate`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from lab.emulators.f5_schema import Json

_NEXT_YEAR, _LAST_MONTH = timedelta(days=400), timedelta(days=-30)


def _in(span: timedelta) -> datetime:
    return datetime.now(UTC) + span


def fortios() -> Json:
    """The `results` of FortiOS: licensed and expired services, support, and what was never bought."""
    ends, ended = int(_in(_NEXT_YEAR).timestamp()), int(_in(_LAST_MONTH).timestamp())
    support = {"status": "licensed", "support_level": "Premium", "expires": ends}
    return {
        "fortiguard": {"type": "cloud_service_status", "supported": True, "connected": True},
        "forticare": {
            "type": "cloud_service_status",
            "status": "registered",
            "registration_status": "registered",
            "account": "admin@example.com",
            "support": {"hardware": support, "enhanced": dict(support)},
        },
        "antivirus": {
            "type": "downloaded_fds_object",
            "status": "licensed",
            "version": "91.00000",
            "expires": ends,
            "entitlement": "AVDB",
        },
        "internet_service_db": {"type": "downloaded_fds_object", "status": "licensed", "version": "7.00000"},
        "web_filtering": {
            "type": "live_fortiguard_service",
            "status": "expired",
            "expires": ended,
            "entitlement": "FURL",
            "running": False,
        },
        "vdom": {"type": "platform", "can_upgrade": False, "used": 1, "max": 10},
        "sms": {"type": "other", "status": "no_license", "used": 0, "max": 0},
    }


def panos() -> list[dict[str, str]]:
    """The entries of PAN-OS, in their order."""
    ends, ended = (f"{_in(one):%B %d, %Y}" for one in (_NEXT_YEAR, _LAST_MONTH))
    return [
        {
            "feature": "PAN-DB URL Filtering",
            "description": "Palo Alto Networks URL Filtering License",
            "serial": "000000000000",
            "issued": "April 20, 2023",
            "expires": ends,
            "expired": "no",
            "base-license-name": "PA-VM",
            "authcode": "",
        },
        {
            "feature": "Threat Prevention",
            "description": "Threat Prevention",
            "issued": "April 20, 2023",
            "expires": ended,
            "expired": "yes",
        },
        {
            "feature": "GlobalProtect Portal",
            "description": "GlobalProtect Portal License",
            "issued": "April 20, 2023",
            "expires": "Never",
            "expired": "no",
        },
    ]


def panos_xml(entries: list[dict[str, str]]) -> str:
    inner = "".join(
        f"<entry>{''.join(f'<{tag}>{escape(text)}</{tag}>' for tag, text in one.items())}</entry>"
        for one in entries
    )
    return f"<result><licenses>{inner}</licenses></result>"


def f5() -> dict[str, str]:
    """The facts of a BIG-IP's licence; none: it has none."""
    return {
        "licenseEndDate": f"{_in(_NEXT_YEAR):%Y/%m/%d}",
        "licenseStartDate": "2024/05/09",
        "licensedOnDate": "2024/05/10",
        "licensedVersion": "16.1.0",
        "platformId": "Z100",
        "registrationKey": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEEEE",
        "serviceCheckDate": "2024/05/10",
    }


def f5_json(facts: Mapping[str, str]) -> Json:
    """The answer of iControl REST."""
    told: Json = {
        "kind": "tm:sys:license:licensestats",
        "selfLink": "https://localhost/mgmt/tm/sys/license?ver=16.1.0",
    }
    if not facts:
        return told | {"apiRawValues": {"apiAnonymous": "Can't load license, may not be operational\n"}}
    place = "https://localhost/mgmt/tm/sys/license/0"
    module = {"nestedStats": {"entries": {"key": {"description": "M001846-0132923"}}}}
    entries: Json = {
        **{name: {"description": text} for name, text in facts.items()},
        f"{place}/active-modules": {
            "nestedStats": {"entries": {f"{place}/active-modules/%22BIG-IP,%20VE,%20LAB%22": module}}
        },
    }
    return told | {"entries": {place: {"nestedStats": {"entries": entries}}}}
