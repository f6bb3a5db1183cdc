"""The service puts off garbage collection while it starts, and only then."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from farsite.cli import serve


@pytest.fixture
def put_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


class Started(Exception):
    pass


@pytest.mark.usefixtures("put_off")
def test_garbage_is_collected_from_the_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never collects grows until it is killed."""

    async def start() -> None:
        assert not gc.isenabled()

    def told(*_: object) -> None:
        raise Started

    monkeypatch.setattr(serve, "_write_address", told)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Started):
        asyncio.run(serve._run(SimpleNamespace(start=start, settings=None), print, listener))  # type: ignore[arg-type]  # pyright: ignore[reportPrivateUsage]

    assert gc.isenabled()
