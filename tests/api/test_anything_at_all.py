"""Schemathesis: what our own OpenAPI description allows, and what it forbids, is answered without a 500."""

import contextlib
import os
import unittest
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from service_bench import Service

EXAMPLES = int(os.environ.get("FARSITE_FUZZ_EXAMPLES", "2"))
"""Per route and mode; the description has about sixty operations."""
SEED = int(os.environ.get("FARSITE_FUZZ_SEED", "20261120"))

# Archives go as bytes: whatever the generator makes of them.
schemathesis.openapi.media_type("application/zip", st.binary(max_size=2000))
schemathesis.openapi.media_type("application/x-tar", st.binary(max_size=2000))

_ENDLESS = frozenset({"/farsite/v1/operations/stream", "/farsite/v1/vims/{vim}/hosts/stream"})


def _try(operation: Any, mode: GenerationMode, service: Service, seen: list[str]) -> None:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call(
            base_url=service.url, headers={"Authorization": f"Bearer {service.token}"}, timeout=60
        )
        seen.append(f"{case.method} {case.path} {answer.status_code}")
        # 502 and 504 say that a VIM failed or is silent, which is no fault of ours.
        assert answer.status_code not in (500, 501, 503), (case.as_curl_command(), answer.text)
        if answer.status_code >= 400:
            told: Mapping[str, list[str]] = answer.headers
            assert told["content-type"][0].startswith("application/problem+json"), answer.text

    send()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "mode"),
    # Making up the requests takes minutes and is the same for both stores: each has one half.
    [("sqlite", GenerationMode.NEGATIVE), ("postgresql", GenerationMode.POSITIVE)],
    indirect=["service"],
)
def test_whatever_is_sent_there_is_an_answer_and_never_a_500(service: Service, mode: GenerationMode) -> None:
    """Fuzzing by our own description: a crash here is a crash that a stranger can cause."""
    print(f"FARSITE_FUZZ_SEED={SEED} FARSITE_FUZZ_EXAMPLES={EXAMPLES}")
    schema = schemathesis.openapi.from_url(f"{service.url}/farsite/v1/openapi.json")
    seen: list[str] = []
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in _ENDLESS:
            continue
        tried += 1
        # A route without anything to get wrong has no negative cases, and it takes seconds to find none.
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue
        with contextlib.suppress(Unsatisfiable, unittest.SkipTest):
            _try(operation, mode, service, seen)
    assert tried > 60
    assert len(seen) > tried
