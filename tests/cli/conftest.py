"""The command line against a real service."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_bench import CommandLine

from farsite.settings import Settings
from service_bench import Service, running


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The real service on SQLite with nothing in it."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir)) as found:
            yield found
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def farsite(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, told where the service is by the environment."""
    monkeypatch.setenv("FARSITE_URL", service.url)
    monkeypatch.setenv("FARSITE_TOKEN", service.token)
    return CommandLine(capsys)
