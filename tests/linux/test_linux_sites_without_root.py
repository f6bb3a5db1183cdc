"""The same promises for an ordinary user: the tests of sites run once more under a dropped uid."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]

_HERE = Path(__file__).parent
_NOBODY = 65534
_FILES = (
    "test_linux_sites_carry_services.py",
    "test_linux_sites_survive_faults.py",
    "test_linux_first_boot.py",
)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: the tests beside this one ran without root already")
@pytest.mark.parametrize("file", _FILES)
@pytest.mark.sampled(2)
def test_an_ordinary_user_gets_the_same_sites(file: str) -> None:
    """Most first users have no root; what works for root only is not the product they try."""
    try:
        subprocess.run([sys.executable, "-c", ""], user=_NOBODY, group=_NOBODY, extra_groups=[], check=True)
    except PermissionError:
        pytest.skip(
            f"an ordinary user may not start {sys.executable}: it or its base lies below another's home"
        )
    with tempfile.TemporaryDirectory(prefix="farsite-nobody-") as directory:
        os.chown(directory, _NOBODY, _NOBODY)
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
                *("-m", "linux and not slow", f"--basetemp={directory}/tests", str(_HERE / file)),
            ],
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
            cwd=_HERE.parents[1],
            env={
                "PATH": os.environ["PATH"],
                "HOME": directory,
                "TMPDIR": directory,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
    told = done.stdout[-4000:] + done.stderr[-1000:]
    if done.returncode == 0 and " passed" not in told and "This host allows no Linux site" in told:
        pytest.skip(told.splitlines()[-2])
    assert done.returncode == 0, told
    assert " passed" in told
