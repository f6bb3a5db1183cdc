"""Availability through the whole program: what a function was down for is told, whatever became of us."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from farsite.settings import Settings
from service_bench import Service, running


def availability(service: Service) -> Any:
    answer = service.native("GET", "/vnfs/web/availability")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_a_function_was_down_for_is_told_over_a_restart_of_ours() -> None:
    """It fails, we go away and come back, and somebody mends it: all of that time counts, once."""
    directory = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    settings = Settings(data_dir=directory)
    try:
        with running(settings) as service:
            service.register("sim", world="file")
            service.onboard("webserver")
            package = {"package": "Farsite web server", "name": "web", "metadata": {"autoheal": "false"}}
            assert service.native("POST", "/vnfs", json=package).status_code == 201
            begun = service.native("POST", "/vnfs/web/instantiate", json={"vim": "sim"})
            assert service.ended(begun.json()["id"])["state"] == "COMPLETED"
            healthy = availability(service)
            assert (healthy["failures"], healthy["availability"]) == (0, 1.0)
            (vnfc,) = service.native("GET", "/vnfs/web").json()["vnfcs"]
            before_s = time.monotonic()
            fault = {"kind": "kill_vnfc", "target": vnfc["id"]}
            service.native("POST", "/vims/sim/faults", json=fault).raise_for_status()
            service.until(lambda: availability(service), lambda seen: seen["failures"] == 1)
            noticed_s = time.monotonic()
        time.sleep(1.5)
        with running(settings) as service:
            still = availability(service)
            # Down when it was last seen, and nobody has seen it up since.
            assert still["failures"] == 1
            assert still["downtime_s"] >= 1.5
            healing_s = time.monotonic()
            healed = service.native("POST", "/vnfs/web/heal", json={"cause": "by hand"})
            assert service.ended(healed.json()["id"])["state"] == "COMPLETED"
            told = service.until(lambda: availability(service), lambda seen: seen["mttr_s"] is not None)
            after_s = time.monotonic()
            command = [
                str(Path(sys.executable).with_name("farsite")),
                "vnf",
                "availability",
                "web",
                "-o",
                "json",
            ]
            told_where = {**os.environ, "FARSITE_URL": service.url, "FARSITE_TOKEN": service.token}
            printed = json.loads(subprocess.check_output(command, env=told_where, timeout=60))
        assert told["failures"] == printed["failures"] == 1
        assert printed["downtime_s"] == told["downtime_s"]
        assert told["mttr_s"] == told["downtime_s"]
        assert healing_s - noticed_s <= told["downtime_s"] <= after_s - before_s
        assert told["availability"] < 1
        assert told["impact"] == 1.0
        assert told["failover_s"] == told["downtime_s"]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
