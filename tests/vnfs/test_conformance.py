"""Every shipped adapter, tried on the real product by the conformance kit that third parties use too."""

import shutil
from pathlib import Path

import pytest
from benches import BENCHES, PROGRAMS

from farsite.vnfs.conformance import CHECKS, Verdict, verify


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("product", BENCHES)
async def test_an_adapter_keeps_what_every_adapter_must(product: str, check, tmp_path: Path) -> None:
    """An operator relies on one behaviour for all vendors, above all where a mistake must undo itself."""
    for program in PROGRAMS[product]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there")
    async with BENCHES[product](tmp_path) as subject:
        checked = await verify(subject, check)

    assert checked.verdict is not Verdict.FAILED, checked.said
    assert checked.verdict is Verdict.PASSED, f"left out: {checked.said}"
