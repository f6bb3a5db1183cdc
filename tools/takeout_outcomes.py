"""A pytest plugin: writes how each test ended, one JSON a line, where FARSITE_TAKEOUT_OUTCOMES says.

Only so can a run tell a test that failed by what it asserts from one that could not be collected or set up.
"""

import json
import os
from collections.abc import Generator

import pytest

# What a test of ours fails by when what it looks for is not there: its own assertion, pytest's word for
# "nothing was raised", the bound of a wait. A group has one of them in it.
BY_ASSERTION = (AssertionError, pytest.fail.Exception, TimeoutError)


def _fails_by(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        names = {_fails_by(one) for one in error.exceptions}
        return names.pop() if len(names) == 1 else type(error).__name__
    for kind in BY_ASSERTION:
        if isinstance(error, kind):
            return "assertion"
    return type(error).__name__


def _write(about: dict[str, str]) -> None:
    with open(os.environ["FARSITE_TAKEOUT_OUTCOMES"], "a") as out:  # noqa: PTH123
        out.write(json.dumps(about) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    outcome = report.outcome
    # A mark of unsteadiness turns a failure into an expected one; it failed all the same.
    if hasattr(report, "wasxfail"):
        outcome = "passed" if call.excinfo is None else "failed"
    if call.when != "call" and outcome == "passed":
        return report
    error = None if call.excinfo is None else call.excinfo.value
    _write(
        {
            "test": item.nodeid,
            "when": str(call.when),
            "outcome": outcome,
            "by": "" if error is None else _fails_by(error),
            "words": "" if call.excinfo is None else call.excinfo.exconly(),
        }
    )
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        words = str(report.longrepr).strip().splitlines()[-1]
        _write(
            {"test": report.nodeid, "when": "collect", "outcome": "failed", "by": "collect", "words": words}
        )
