"""strongSwan: a charon of its own in a namespace, which encrypts in user space."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject

PLUGINS = (
    "random nonce aes sha1 sha2 hmac kdf pem pkcs1 gmp drbg kernel-libipsec kernel-netlink "
    "socket-default vici"
)


@contextlib.asynccontextmanager
async def strongswan(gateway: str, directory: Path) -> AsyncIterator[Mapping[str, str]]:
    """strongSwan in a namespace; the adapter's parameters for it."""
    (directory / "conf.d").mkdir(parents=True)
    (directory / "swanctl.conf").write_text("include conf.d/*.conf\n")
    configuration = directory / "strongswan.conf"
    configuration.write_text(
        f"charon-systemd {{\n load = {PLUGINS}\n journal {{\n default = -1\n }}\n"
        f" filelog {{\n here {{\n path = {directory}/log\n }}\n }}\n"
        f" plugins {{\n vici {{\n socket = unix://{directory}/vici\n }}\n"
        " kernel-libipsec {\n load = yes\n }\n }\n}\nswanctl {\n load = pem pkcs1 random\n}\n"
    )
    charon = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", gateway, "charon-systemd"),
        env={**os.environ, "STRONGSWAN_CONF": str(configuration)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not (directory / "vici").exists():
            assert time.monotonic() < deadline, (directory / "log").read_text()
            await asyncio.sleep(0.05)
        yield {
            "config": f"{directory}/conf.d/farsite.conf",
            "file": f"{directory}/swanctl.conf",
            "uri": f"unix://{directory}/vici",
            "strongswan_conf": str(configuration),
        }
    finally:
        with contextlib.suppress(ProcessLookupError):
            charon.kill()
        await charon.wait()


def tunnelling(number: int, other: int, key: str = "secret:psk", *, starts: bool = True) -> Configuration:
    tunnel = {
        "name": "branch",
        "local_address": f"192.0.2.{number}",
        "remote_address": f"192.0.2.{other}",
        "local_prefixes": [f"10.{number}.0.0/24"],
        "remote_prefixes": [f"10.{other}.0.0/24"],
        "pre_shared_key": key,
        "is_initiator": starts,
    }
    return document(vpn={"tunnels": [tunnel]})


@contextlib.asynccontextmanager
async def strongswan_gateway(directory: Path) -> AsyncIterator[Subject]:
    async with (
        namespace() as gateway,
        namespace() as around,
        strongswan(gateway, directory / "swan") as parameters,
    ):
        await cable(gateway, "wan", around, "wan")
        await done("ip", "-n", gateway, "addr", "add", "192.0.2.1/24", "dev", "wan")
        bad = "connections {\n bad {\n proposals = nonsense\n }\n}\n"

        async def meddle() -> None:
            own = Path(parameters["config"])
            own.write_text(own.read_text().replace("dpd_delay = 10s", "dpd_delay = 99s"))

        yield subject(
            "strongswan",
            directory,
            parameters,
            ("ip", "netns", "exec", gateway),
            good=tunnelling(1, 2),
            other=tunnelling(1, 3, "secret:psk-2"),
            wrong=document(native={"tunnels": bad}),
            meddle=meddle,
            secrets={"psk": 'once "upon" a\\time', "psk-2": "happily-ever-after"},
        )
