"""The floor: the same stack made with plain openstacksdk, polled every 0.2 s. Nobody through Heat is quicker.

The stack is the one that Farsite made, word for word: template, nested files and parameters are read back
from Heat.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from openstack.connection import Connection

from bench.figures import NotMeasured
from bench.openstack.contest import Turn, at_once, watch

Json = dict[str, Any]
_REPEAT_AFTER_S = 0.5
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What Heat was given for a stack."""

    template: Json
    files: Mapping[str, str]
    parameters: Json

    @property
    def body(self) -> Json:
        return {
            "template": self.template,
            "files": dict(self.files),
            "parameters": self.parameters,
            "disable_rollback": True,
            "timeout_mins": 10,
        }


def recipe(cloud: Connection, name: str) -> Recipe:
    """What the standing stack of that name was made from."""
    (stack,) = _stacks(cloud, [name])
    path = f"/stacks/{stack['stack_name']}/{stack['id']}"
    environment = _get(cloud, f"{path}/environment")
    return Recipe(
        template=_get(cloud, f"{path}/template"),
        files=cast("dict[str, str]", _get(cloud, f"{path}/files")),
        parameters=environment["parameters"],
    )


class PlainHeat:
    """Plain openstacksdk and nothing else."""

    name = "plain Heat"

    def __init__(self, cloud: Connection, made: Recipe) -> None:
        self._cloud = cloud
        self._body = made.body
        self.repeated = 0
        """Requests that Heat refused with 500, or failed to carry out, and that were sent again."""

    def turn(self, count: int) -> Turn:
        """Create so many stacks at once, then delete them at once."""
        names = [f"floor-{uuid.uuid4().hex[:8]}" for _ in range(count)]
        began = time.monotonic()
        paths = dict(zip(names, at_once(self._create, names), strict=True))
        accepted_s = time.monotonic() - began
        created = watch(names, self._settled, began)
        began = time.monotonic()
        at_once(self._cloud.orchestration.delete, list(paths.values()))
        deleted = watch(names, self._gone, began)
        return Turn(
            instantiate_s=created[-1],
            terminate_s=deleted[-1],
            first_instantiate_s=created[0],
            accepted_s=accepted_s,
        )

    def _create(self, name: str) -> str:
        for attempt in range(_ATTEMPTS):
            answer = self._cloud.orchestration.post("/stacks", json={**self._body, "stack_name": name})
            if answer.status_code == 201:
                return f"/stacks/{name}/{answer.json()['stack']['id']}"
            # Keystone refuses a trust now and then when ten are asked for in the same moment.
            if answer.status_code != 500 or attempt + 1 == _ATTEMPTS:
                raise NotMeasured(f"stack {name} is refused: {answer.status_code} {answer.text[:300]}")
            self.repeated += 1
            time.sleep(_REPEAT_AFTER_S)
        raise AssertionError

    def _settled(self, names: Sequence[str]) -> set[str]:
        found = _stacks(self._cloud, names)
        for one in found:
            if one["stack_status"].endswith("FAILED"):
                raise NotMeasured(f"stack {one['stack_name']}: {one['stack_status_reason']}")
        return {one["stack_name"] for one in found if one["stack_status"] == "CREATE_COMPLETE"}

    def _gone(self, names: Sequence[str]) -> set[str]:
        standing = _stacks(self._cloud, names)
        for one in standing:
            # Of ten deletions at once Nova fails one now and then; who gives up then leaves it for ever.
            if one["stack_status"] == "DELETE_FAILED":
                self._cloud.orchestration.delete(f"/stacks/{one['stack_name']}/{one['id']}")
                self.repeated += 1
        return set(names) - {one["stack_name"] for one in standing}


def _stacks(cloud: Connection, names: Sequence[str]) -> list[Json]:
    return _get(cloud, "/stacks", [("name", name) for name in names])["stacks"]


def _get(cloud: Connection, path: str, params: object = None) -> Json:
    answer = cloud.orchestration.get(path, params=params)
    if answer.status_code != 200:
        raise NotMeasured(f"GET {path}: {answer.status_code} {answer.text[:300]}")
    return cast("Json", answer.json())
