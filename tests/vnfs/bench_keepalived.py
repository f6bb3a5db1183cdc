"""keepalived in a namespace, with files of its own."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench_parts import cable, document, done, namespace, subject

from farsite.model.configuration import Configuration
from farsite.vnfs.conformance import Subject


def keepalived(directory: Path) -> Mapping[str, str]:
    """The adapter's parameters for a keepalived that the first change starts. It ends with the namespace."""
    directory.mkdir(parents=True)
    base = directory / "keepalived.conf"
    base.write_text(f"global_defs {{\n  vrrp_garp_master_delay 1\n}}\ninclude {directory}/farsite.conf\n")
    pid = directory / "pid"
    start = f"keepalived --vrrp --use-file={base} --pid={pid} --vrrp_pid={directory}/vrrp.pid"
    return {"base": str(base), "config": f"{directory}/farsite.conf", "pid_file": str(pid), "start": start}


def group(priority: int, **more: object) -> Configuration:
    one = {
        "name": "gateway",
        "router_id": 7,
        "interface": "lan",
        "priority": priority,
        "addresses": ["10.0.0.100/24", "2001:0db8::100/64"],
        "advertisement_s": 0.3,
        **more,
    }
    return document(redundancy={"virtual_routers": [one]})


@contextlib.asynccontextmanager
async def keepalived_group(directory: Path) -> AsyncIterator[Subject]:
    async with namespace() as router, namespace() as around:
        await cable(router, "lan", around, "lan")
        await done("ip", "-n", router, "addr", "add", "10.0.0.1/24", "dev", "lan")
        parameters = keepalived(directory / "keepalived")

        async def meddle() -> None:
            own = Path(parameters["config"])
            own.write_text(own.read_text().replace("priority", "priority  "))

        yield subject(
            "keepalived",
            directory,
            parameters,
            ("ip", "netns", "exec", router),
            good=group(100),
            other=group(150, is_preempting=False),
            wrong=document(native={"keepalived": "vrrp_instance x {\n  nonsense 1\n}\n"}),
            meddle=meddle,
        )
