"""A firewall of Farsite's own, on a Linux site of its own, reached as every function there is."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench_parts import SHIPPED, document

sys.path.insert(0, str(Path(__file__).parents[1] / "linux"))

from linux_lab import Lab, deployment, remove, transparent  # pyright: ignore[reportMissingImports]  (by path)

from farsite.model.ids import VnfcId
from farsite.vnfs import management
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import Subject
from farsite.vnfs.dictionary import read
from farsite.vnfs.opening import DeviceAccess, open_device
from farsite.vnfs.rest_adapter import RestAdapter
from farsite.vnfs.transports.inside import InsideClient

GUARD = VnfcId("guard")


@contextlib.asynccontextmanager
async def builtin_firewall(directory: Path) -> AsyncIterator[Subject]:
    lab = Lab(directory / "run")
    try:
        await lab.start("north")
        await lab.ready("north", deployment("guarded", transparent(GUARD, "builtin:firewall")))
        site = lab.sites["north"]

        async def through() -> object:
            return await site.reach(GUARD, management.MANAGEMENT_PORT)

        async def opened() -> Adapter:
            return open_device(
                read(SHIPPED / "builtin"),
                DeviceAccess(host=GUARD, port=management.MANAGEMENT_PORT, user="", known_by=()),
                device="guard",
                parameters={},
                keep_in="/nowhere",
                through=through,  # type: ignore[arg-type]
            )

        async def meddle() -> None:
            body = json.dumps({"inside": "inside", "outside": "outside", "rules": [{"action": "drop"}]})
            stream = await site.reach(GUARD, management.MANAGEMENT_PORT)
            answer = await management.request(
                stream, GUARD, method="PUT", path="/configuration", body=body.encode()
            )
            assert answer.status == 200, answer.body

        async def cut(adapter: Adapter) -> None:
            assert isinstance(adapter, RestAdapter)
            inside = adapter._rest  # the fault is injected below the adapter's own words
            assert isinstance(inside, InsideClient)
            inside.cut()

        web = {"name": "web", "protocol": "tcp", "destination_ports": ["80", "8000-8099"]}
        yield Subject(
            open=opened,
            cut=cut,
            good=document(firewall={"rules": [{**web, "in_interface": "inside"}]}),
            other=document(
                firewall={
                    "default_action": "accept",
                    "rules": [
                        {"name": "ping", "protocol": "icmp", "action": "drop", "in_interface": "outside"},
                        {"name": "lan", "source": "10.0.0.0/8", "destination": "10.9.0.0/16"},
                        {**web, "name": "later", "is_enabled": False},
                    ],
                },
                native={"document": '{"pick_up_tcp": false, "max_flows": 64}'},
            ),
            wrong=document(native={"document": '{"max_flows": 1}'}),
            meddle=meddle,
        )
    finally:
        for driver in lab.sites.values():
            await driver.close()
        remove(lab.run_dir)
