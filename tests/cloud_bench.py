"""Small clouds, no more than their answers, in a process of their own, and how they are registered."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service_bench import Service

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT))
from bench.many_clouds import PORT, address_of  # noqa: E402

FIRST = 62_000
"""The clouds' addresses here are none that a benchmark uses."""
Say = Callable[[str], Any]


@contextmanager
def clouds(count: int, *, first: int = FIRST, address: str = "", within: Sequence[str] = ()) -> Iterator[Say]:
    """So many clouds in a process of their own, and how to tell it what to do.

    With an address the first is there, and the others at those that follow; `within` is what to put before a
    command to have it run where that address is.
    """
    command = [*within, sys.executable, "-m", "bench.many_clouds", str(count), "", str(first), address]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        assert process.stdin
        assert process.stdout
        taken, told = process.stdin, process.stdout

        def say(words: str) -> Any:
            taken.write(f"{words}\n")
            taken.flush()
            return json.loads(told.readline())

        try:
            assert json.loads(told.readline())
            yield say
        finally:
            process.terminate()


def url_of(number: int, *, first: int = FIRST) -> str:
    """Where the Keystone of a cloud is."""
    return f"http://{address_of(first + number)}:{PORT}/v3"


def register(service: Service, number: int, **settings: object) -> str:
    """Register a cloud as `cloud-NUMBER`; its id."""
    body = {
        "name": f"cloud-{number}",
        "type": "openstack",
        "auth_url": url_of(number),
        "credentials": {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"},
        "settings": {"health_timeout_s": 1.0, "heartbeat_timeout_s": 1.5, **settings},
    }
    answer = service.native("POST", "/vims", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def shown(service: Service, number: int) -> Any:
    """The cloud as its VIM is shown."""
    return service.native("GET", f"/vims/cloud-{number}").json()
