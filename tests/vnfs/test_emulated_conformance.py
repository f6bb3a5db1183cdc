"""Adapters that have met no device yet, tried by the conformance kit on what was built from the vendors'
documents.

The emulators and the adapters were written apart from each other. What passes here is still labelled
"emulated".
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from bench_emulated import EMULATED
from bench_parts import SHIPPED

from farsite.vnfs.adapter import Evidence
from farsite.vnfs.conformance import CHECKS, Subject, Verdict, verify
from farsite.vnfs.dictionary import FILE, read


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=EMULATED)
async def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Subject]:
    async with EMULATED[request.param](tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.sampled(4)
async def test_an_adapter_keeps_what_every_adapter_must_as_far_as_documents_tell(
    subject: Subject, check
) -> None:
    """An operator relies on one behaviour for all vendors, above all where a mistake must undo itself."""
    checked = await verify(subject, check)

    assert checked.verdict is not Verdict.FAILED, checked.said
    assert checked.verdict is Verdict.PASSED, f"left out: {checked.said}"


def test_what_an_emulator_has_shown_is_not_told_as_proof() -> None:
    """The label is for whoever is about to let an adapter at a device that carries traffic."""
    shipped = [read(path.parent).about for path in SHIPPED.glob(f"*/{FILE}")]

    assert set(EMULATED) == {one.name for one in shipped if one.evidence is Evidence.EMULATED}
