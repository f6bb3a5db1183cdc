"""HAProxy, with its base configuration and ports of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bench_parts import document, ended, free_port, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject


@contextlib.asynccontextmanager
async def haproxy(directory: Path) -> AsyncIterator[Subject]:
    base, config = directory / "haproxy.cfg", directory / "farsite.cfg"
    base.write_text(
        f"global\n  stats socket {directory}/admin mode 600 level admin\n"
        "defaults\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
    )
    port, web = free_port(), free_port()

    def balancing(weight: int) -> Configuration:
        member = {"name": "web-1", "address": "127.0.0.1", "port": web, "weight": weight}
        return document(
            load_balancer={
                "virtual_servers": [{"name": "web", "address": "127.0.0.1", "port": port, "pool": "webs"}],
                "pools": [{"name": "webs", "members": [member], "check": {"interval_s": 1}}],
            }
        )

    async def meddle() -> None:
        config.write_text(config.read_text() + "\n# tuned by hand\n")

    parameters = {
        "base": str(base),
        "config": str(config),
        "pid_file": str(directory / "pid"),
        "socket": str(directory / "admin"),
    }
    try:
        yield subject(
            "haproxy",
            directory,
            parameters,
            good=balancing(1),
            other=balancing(7),
            wrong=document(native={"haproxy": "frontend broken\n    nonsense yes\n"}),
            meddle=meddle,
        )
    finally:
        await ended(directory / "pid")
