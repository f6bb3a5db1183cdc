"""An adapter of somebody else's, begun by `farsite adapter new`, keeps everything from the start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from farsite.cli.app import main
from farsite.vnfs.adapter import Adapter
from farsite.vnfs.conformance import CHECKS, Opened, Subject, Verdict, verify
from farsite.vnfs.dictionary import read
from farsite.vnfs.shell_adapter import ShellAdapter
from farsite.vnfs.transports.local import LocalShell
from farsite.vnfs.trial import TrialFile


def subject(folder: Path, directory: Path) -> Subject:
    """This machine as the device of the folder's trial file."""
    written = cast(Mapping[str, Any], yaml.safe_load((folder / "trial.yaml").read_text()))
    trial = TrialFile.model_validate(written)
    config = directory / "farsite.conf"

    async def opened() -> Adapter:
        return ShellAdapter(
            read(folder),
            LocalShell(),
            device="mine",
            parameters={"config": str(config)},
            keep_in=str(directory / "kept"),
        )

    async def meddle() -> None:
        shell = LocalShell()
        ran = await shell.run(trial.meddle.replace("/etc/mine/farsite.conf", str(config)))
        assert ran.status == 0, ran.words

    async def cut(adapter: Adapter) -> None:
        cast(LocalShell, adapter._shell).cut()  # the fault is injected below the adapter's own words

    return Subject(
        open=opened,
        good=trial.good,
        other=trial.other,
        wrong=trial.wrong,
        meddle=meddle,
        cut=cut,
        opened=Opened(device="mine", parameters={"config": str(config)}, keep_in=str(directory / "kept")),
    )


@pytest.mark.slow
async def test_a_new_adapter_passes_as_it_is_written(tmp_path: Path) -> None:
    """Who begins from something that works sees which of his lines broke it."""
    assert main(["adapter", "new", "mine", "--directory", str(tmp_path)]) == 0
    device = tmp_path / "device"
    device.mkdir()

    for check in CHECKS:
        checked = await verify(subject(tmp_path / "mine", device), check)
        assert checked.verdict is Verdict.PASSED, f"{checked.name}: {checked.said}"


def test_an_adapter_that_is_there_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An afternoon's work lies in it."""
    assert main(["adapter", "new", "mine", "--directory", str(tmp_path)]) == 0
    (tmp_path / "mine" / "adapter.yaml").write_text("mine\n")

    assert main(["adapter", "new", "mine", "--directory", str(tmp_path)]) != 0
    assert "mine" in capsys.readouterr().err
    assert (tmp_path / "mine" / "adapter.yaml").read_text() == "mine\n"


def test_a_name_that_no_adapter_may_have_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be refused by everything else, later."""
    assert main(["adapter", "new", "../Mine", "--directory", str(tmp_path)]) != 0
    assert "../Mine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
