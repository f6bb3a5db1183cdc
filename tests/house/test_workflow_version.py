"""The version of workflows is raised with every change of what a recorded history is replayed on.

What that is: the steps of every verb, and the code that decides which checkpoint comes next and what it is
called. Its fingerprint is in `workflow_bodies.txt` beside the version that has it.
"""

import ast
import hashlib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from farsite.lifecycle import upgrade_group
from farsite.lifecycle.verbs import VERBS
from farsite.workflow import engine, runner, saga
from farsite.workflow.engine import REPLAYED_VERSIONS, WORKFLOW_VERSION
from farsite.workflow.saga import Saga

RECORDED = Path(__file__).with_name("workflow_bodies.txt")
WALK = runner._Walk  # pyright: ignore[reportPrivateUsage]
DECIDING: tuple[Callable[..., object], ...] = (
    engine.Engine._make_workflow,  # pyright: ignore[reportPrivateUsage]
    engine._checkpoint,  # pyright: ignore[reportPrivateUsage]
    runner.Runner.run,
    WALK.to_its_end,
    WALK._step_until_done,  # pyright: ignore[reportPrivateUsage]
    WALK._attempt,  # pyright: ignore[reportPrivateUsage]
    WALK._undo_from,  # pyright: ignore[reportPrivateUsage]
    WALK._rest,  # pyright: ignore[reportPrivateUsage]
    WALK._enter,  # pyright: ignore[reportPrivateUsage]
    saga.is_outside,
    saga.Saga.of,
    upgrade_group._tailored,  # pyright: ignore[reportPrivateUsage]
    upgrade_group._steps,  # pyright: ignore[reportPrivateUsage]
    upgrade_group._of,  # pyright: ignore[reportPrivateUsage]
)


def essence(source: str) -> str:
    """Code without comments, docstrings and layout, the same under every Python."""
    source = textwrap.dedent(source)
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column] + "\n"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            for row in range(text.lineno, (text.end_lineno or text.lineno) + 1):
                lines[row - 1] = "\n"
    return "".join("".join(lines).split())


def fingerprint(verbs: Mapping[str, Saga[Any]], sources: tuple[str, ...]) -> str:
    steps = [
        f"{verb}: {one.name} {saga.is_outside(one.action)} {one.undo is not None}"
        for verb in sorted(verbs)
        for one in verbs[verb].steps
    ]
    return hashlib.sha256("\n".join([*steps, *map(essence, sources)]).encode()).hexdigest()[:16]


def sources() -> tuple[str, ...]:
    return tuple(inspect.getsource(one) for one in DECIDING)


def test_a_verb_whose_story_depends_on_its_parameters_is_in_the_fingerprint() -> None:
    """Its registered steps are an example only; what makes the others of it is code."""
    tailors = {one.tailored for one in VERBS.values() if one.tailored is not None}
    assert tailors <= set(DECIDING)


def recorded() -> dict[str, str]:
    lines = [line for line in RECORDED.read_text().splitlines() if not line.startswith("#")]
    return {line.split()[0]: line.split()[1] for line in lines}


def test_the_workflow_version_changes_with_every_change_of_a_workflow_body() -> None:
    """A history replayed by a body that does not know it ends the operation for good, in error."""
    found = fingerprint(VERBS, sources())
    assert recorded().get(WORKFLOW_VERSION) == found, (
        f"What histories are replayed on has changed, and version {WORKFLOW_VERSION} is what it was. Raise "
        f"WORKFLOW_VERSION in workflow/engine.py, name in REPLAYED_VERSIONS the older ones whose histories "
        f'the new body replays, and add the line "VERSION {found}" to tests/house/{RECORDED.name}.'
    )


def test_no_two_versions_are_of_one_body_and_all_that_are_replayed_are_known() -> None:
    """A version that says nothing about its body keeps processes apart that could help one another."""
    known = recorded()
    assert len(set(known.values())) == len(known)
    assert set(REPLAYED_VERSIONS) < set(known)
    assert WORKFLOW_VERSION not in REPLAYED_VERSIONS


def test_a_step_more_or_another_name_of_a_checkpoint_is_another_body() -> None:
    """The check above must find what it is for; a comment or a line break is no change."""
    now = fingerprint(VERBS, sources())
    heal = VERBS["heal_vnf"] if "heal_vnf" in VERBS else next(iter(VERBS.values()))
    fewer = {**VERBS, heal.verb: replace(heal, steps=heal.steps[:-1])}
    swapped = {**VERBS, heal.verb: replace(heal, steps=(heal.steps[0], *reversed(heal.steps[1:])))}
    assert fingerprint(fewer, sources()) != now
    assert fingerprint(swapped, sources()) != now
    assert any("#{attempt}" in one for one in sources())
    renamed = tuple(one.replace("#{attempt}", "/{attempt}") for one in sources())
    assert fingerprint(VERBS, renamed) != now
    commented = tuple(one.replace("\n", "  # why\n", 1) for one in sources())
    assert fingerprint(VERBS, commented) == now
