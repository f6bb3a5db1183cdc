"""`--wait` while the service is killed: the real program, killed with SIGKILL and started again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farsite.client import Client, NotReachable
from farsite.functions.packaging import build_sample

_BOUND_S = 60.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def _served(data_dir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    log = (data_dir / "log").open("ab")
    command = [
        sys.executable,
        "-m",
        "farsite.cli.app",
        "serve",
        "--port",
        str(port),
        "--data-dir",
        str(data_dir),
    ]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        give_up_at = time.monotonic() + _BOUND_S
        while True:
            assert process.poll() is None, (data_dir / "log").read_text()
            assert time.monotonic() < give_up_at, "the service did not come up"
            try:
                with Client(f"http://127.0.0.1:{port}", "any") as client:
                    if client.health().get("status") == "up":
                        break
            except NotReachable:
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(_BOUND_S)
        log.close()


@pytest.mark.slow
def test_whoever_waits_for_an_operation_is_told_its_end_although_the_service_was_killed(
    data_dir: Path,
) -> None:
    """The operator who typed --wait must not learn of our crash by a trace, nor miss the result."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    outcome: list[str] = []
    with _served(data_dir, port) as process:
        token = (data_dir / "token").read_text().strip()
        archive = data_dir / "webserver.zip"
        archive.write_bytes(build_sample("webserver"))
        with Client(url, token) as client:
            client.register_vim({"name": "slow", "type": "simulated", "settings": {"deploy_delay_s": 3}})
            package = client.onboard_package(archive)
            vnf = client.create_vnf(package["id"], name="survivor")
            operation = client.start("vnfs", vnf["id"], "instantiate")
        environment = {**os.environ, "FARSITE_URL": url, "FARSITE_TOKEN": token}
        waiting = subprocess.Popen(
            [sys.executable, "-m", "farsite.cli.app", "op", "wait", operation["id"]],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        reader = threading.Thread(target=lambda: outcome.extend(waiting.communicate()))
        reader.start()
        with Client(url, token) as client:
            give_up_at = time.monotonic() + _BOUND_S
            while client.operation(operation["id"])["state"] == "STARTING":
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(_BOUND_S)
    with _served(data_dir, port):
        reader.join(_BOUND_S)
        assert waiting.poll() == 0, outcome
        assert "COMPLETED" in outcome[0]
        assert "Traceback" not in outcome[1]
