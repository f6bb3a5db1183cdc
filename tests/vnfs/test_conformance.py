"""Every shipped adapter, tried on the real product by the conformance kit that third parties use too."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from bench_parts import SHIPPED
from benches import BENCHES

from farsite.vnfs.adapter import Evidence
from farsite.vnfs.conformance import (
    CHECKS,
    Subject,
    Verdict,
    a_commit_that_is_slower_than_we_wait_is_found_again,
    verify,
)
from farsite.vnfs.dictionary import FILE, read

LEFT_OUT = {("unbound", a_commit_that_is_slower_than_we_wait_is_found_again): "by a playbook"}
"""What cannot be tried of an adapter, and a word of why."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BENCHES)
async def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Subject]:
    bench = BENCHES[request.param]
    for program in bench.programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there")
    if bench.is_for_root and os.geteuid() != 0:
        pytest.skip("root is needed for network namespaces")
    async with bench.start(tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.sampled(5)
async def test_an_adapter_keeps_what_every_adapter_must(
    subject: Subject, check, request: pytest.FixtureRequest
) -> None:
    """An operator relies on one behaviour for all vendors, above all where a mistake must undo itself."""
    checked = await verify(subject, check)

    assert checked.verdict is not Verdict.FAILED, checked.said
    if reason := LEFT_OUT.get((request.node.callspec.params["subject"], check)):
        assert checked.verdict is Verdict.LEFT_OUT
        assert reason in checked.said
        return
    assert checked.verdict is Verdict.PASSED, f"left out: {checked.said}"


def test_every_shipped_adapter_has_a_bench_or_says_that_it_met_no_device() -> None:
    """An adapter that nobody tries is a promise that nobody keeps."""
    shipped = [read(path.parent).about for path in SHIPPED.glob(f"*/{FILE}")]

    assert {one.name for one in shipped if one.evidence is Evidence.REAL} == set(BENCHES)
