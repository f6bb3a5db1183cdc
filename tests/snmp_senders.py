"""Traps and informs as net-snmp sends them, a program that others wrote."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from farsite import telemetry
from farsite.settings import Settings
from service_bench import Service

LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"
LINK_UP = "1.3.6.1.6.3.1.1.5.4"
COLD_START = "1.3.6.1.6.3.1.1.5.1"
ENGINE = "80001f8880c0ffee0001"
"""Of the sender of traps over version 3, as which its users' keys are made."""
USER = ("authPriv", "SHA-256", "the-auth-word", "AES", "the-privacy-word")

RULES = f"""
senders:
  - from: [127.0.0.1]
    site: turin
communities: [the-community]
users:
  - name: monitor
    auth: SHA-256
    auth_password: the-auth-word
    privacy: AES
    privacy_password: the-privacy-word
    engine_ids: [{ENGINE}]
names:
  battery: 1.3.6.1.4.1.99999.1.1
rules:
  - name: battery
    trap: 1.3.6.1.4.1.99999.1.0.1
    where: {{battery: 3}}
    clear_where: {{battery: 2}}
    kind: ups
    type: ENVIRONMENTAL_ALARM
    cause: Power problem
    severity: CRITICAL
"""


def listening(data_dir: Path, **changes: Any) -> Settings:
    rules = data_dir / "snmp.yaml"
    rules.write_text(RULES)
    rules.chmod(0o600)
    settings: dict[str, Any] = {"snmp_traps": "127.0.0.1:0", "snmp_rules": str(rules)}
    return Settings(data_dir=data_dir, **(settings | changes))


def port_of(service: Service) -> int:
    found = service.farsite.snmp.port
    assert found is not None
    return found


def counted(outcome: str) -> float:
    return telemetry.LISTENER_MESSAGES.labels("snmp", outcome)._value.get()


def interface(index: int, *, admin: int = 1) -> list[str]:
    """The variables of linkDown and linkUp: which interface, and whether somebody shut it."""
    return [
        f"1.3.6.1.2.1.2.2.1.1.{index}", "i", str(index),
        f"1.3.6.1.2.1.2.2.1.7.{index}", "i", str(admin),
        f"1.3.6.1.2.1.2.2.1.8.{index}", "i", "2",
    ]  # fmt: skip


def named(system: str) -> list[str]:
    """The variable with the sender's name."""
    return ["1.3.6.1.2.1.1.5.0", "s", system]


def as_v2c(community: str = "the-community") -> list[str]:
    return ["-v2c", "-c", community]


def as_v3(
    user: str = "monitor", secrets: Sequence[str] = USER, engine: str = ENGINE, boots: str = ""
) -> list[str]:
    """Version 3; without an engine the receiver's is asked for, as it has to be for informs."""
    level, auth, auth_word, privacy, privacy_word = secrets
    found = ["-v3", "-u", user, "-l", level]
    if level != "noAuthNoPriv":
        found += ["-a", auth, "-A", auth_word]
    if level == "authPriv":
        found += ["-x", privacy, "-X", privacy_word]
    if engine:
        found += ["-e", engine]
    return found + (["-Z", boots] if boots else [])


def send(
    port: int, how: Sequence[str], trap: str, variables: Sequence[str], *, inform: bool = False,
    from_address: str = "127.0.0.1", up_time: str = "",
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Send a trap, or an inform once; the outcome of an inform says whether it was answered."""
    program = "snmpinform" if inform else "snmptrap"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not there")
    # Nothing of the machine's configuration, and nothing left on it.
    with tempfile.TemporaryDirectory(prefix="fst-", dir="/tmp") as home:
        environment = {**os.environ, "MIBS": "", "SNMPCONFPATH": home, "SNMP_PERSISTENT_DIR": home}
        command = [program, *how, "-r", "0", "-t", "5", f"--clientaddr={from_address}"]
        done = subprocess.run(
            [*command, f"127.0.0.1:{port}", up_time, trap, *variables],
            env=environment,
            cwd=Path(home),
            capture_output=True,
            text=True,
            timeout=30,
        )
    if not inform:
        assert done.returncode == 0, done.stderr
    return done
