"""A group of VNFs upgraded in stages: after each, a pause and a look at all that were upgraded so far.

The first that fails stops the rest. Each upgrade is an operation of its own, which goes back by itself; the
order is this command's, so one that is interrupted begins nothing more, and the same command goes on: what
runs the version already is left as it is.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from farsite.cli.exit_codes import Exit, of_state
from farsite.client import Client, Operation, Problem
from farsite.model.errors import Invalid

_WORDS = {"one": "1", "some": "25%", "all": "100%"}
_SHARE = re.compile(r"(\d{1,6})(%?)")


def read_stages(text: str, members: int) -> tuple[int, ...]:
    """How many of so many are upgraded after each stage: `one,some,all`, counts (`2`) or shares (`25%`).

    They grow, the last is all, and a stage that adds nobody is left out.

    Raises:
        Invalid: a word is none of these, or they do not grow.
    """
    counts: list[int] = []
    for word in text.split(","):
        found = _SHARE.fullmatch(_WORDS.get(word.strip(), word.strip()))
        if found is None:
            raise Invalid(f'--stage: "{word}" is neither one, some, all, a count (2) nor a share (25%).')
        number = int(found[1])
        count = math.ceil(members * min(number, 100) / 100) if found[2] else min(number, members)
        if count < 1 or (counts and count < counts[-1]):
            raise Invalid(f'--stage: "{text}" does not grow from stage to stage.')
        counts.append(count)
    return tuple(dict.fromkeys([*counts, members]))


@dataclass(slots=True)
class Member:
    """One of the group, and what became of it."""

    name: str
    state: str = "NOT_BEGUN"
    running: str = ""
    operation_id: str = ""
    said: str = ""

    @property
    def is_well(self) -> bool:
        return self.state in ("UPGRADED", "UNCHANGED")


@dataclass(slots=True)
class Rollout:
    """One way through the group."""

    client: Client
    body: dict[str, object]
    members: Sequence[Member]
    stages: Sequence[int]
    pause_s: float
    tell: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _exit: Exit = field(default=Exit.DONE)

    def run(self) -> Exit:
        """Upgrade stage by stage until all are done or one fails."""
        begun = 0
        for number, until in enumerate(self.stages, start=1):
            stage = self.members[begun:until]
            self.tell(f"Stage {number} of {len(self.stages)}: {', '.join(one.name for one in stage)}.")
            self._upgrade(stage)
            begun = until
            if not all(one.is_well for one in stage):
                break
            if until < len(self.members):
                self.sleep(self.pause_s)
                if not self._gate(self.members[:until]):
                    break
        for one in self.members:
            one.running = one.running or self._running(one)
        return self._exit

    def _upgrade(self, stage: Sequence[Member]) -> None:
        under_way: list[tuple[Member, Operation]] = []
        for one in stage:
            try:
                operation = self.client.upgrade(one.name, self.body)
            except Problem as refused:
                self._failed(one, "REFUSED", refused.detail, Exit.REFUSED)
                break
            one.operation_id = operation["id"]
            under_way.append((one, operation))
        for one, operation in under_way:
            ended = self._ended(operation)
            accounts = self.client.upgrades_of(one.name)
            # One that was cancelled, or refused, before its turn came has none.
            account = next((found for found in accounts if found["operation_id"] == operation["id"]), None)
            one.state = account["state"] if account else ended["state"]
            one.running = account["running_version"] if account else ""
            if ended["state"] != "COMPLETED":
                said = account["said"] if account else ""
                said = said or (ended["error"]["detail"] if ended["error"] else "")
                state = one.state if ended["state"] == "ROLLED_BACK" else ended["state"]
                self._failed(one, state, said, of_state(ended["state"]))
            self.tell(f"  {one.name}: {one.state}, {one.running or 'unknown'} runs. {one.said}".rstrip())

    def _ended(self, operation: Operation) -> Operation:
        last = operation
        for change in self.client.follow(operation["id"]):
            if "sequence" not in change:
                last = change
        return last

    def _gate(self, upgraded: Sequence[Member]) -> bool:
        """Whether all that were upgraded are well still."""
        for one in upgraded:
            try:
                sick = [probe for probe in self.client.function_health(one.name) if not probe["is_well"]]
                said = "; ".join(f"{probe['name']} ({probe['said']})" for probe in sick)
            except Problem as silence:
                said = silence.detail
            if said:
                # It is upgraded and kept; what made it unwell since may be something else.
                self._failed(one, "UNWELL", f"not so any more: {said}", Exit.FAILED)
                self.tell(f"  {one.name} is not well after the pause: {said}")
                return False
        return True

    def _running(self, one: Member) -> str:
        try:
            return self.client.software_of(one.name)["running"]
        except Problem:
            return ""

    def _failed(self, one: Member, state: str, said: str, code: Exit) -> None:
        one.state, one.said = state, said
        if self._exit is Exit.DONE:
            self._exit = code


def summary(members: Sequence[Member]) -> str:
    """Which run which version, in one sentence per version, and how to go on."""
    by_version: dict[str, list[str]] = {}
    for one in members:
        by_version.setdefault(one.running or "an unknown version", []).append(one.name)
    told = [f"{version} runs on {', '.join(names)}." for version, names in by_version.items()]
    if not all(one.is_well for one in members):
        left = ", ".join(one.name for one in members if one.state == "NOT_BEGUN")
        told += [f"Not begun: {left}."] if left else []
        told.append(
            "Once the cause is gone, the same command goes on where it stopped; farsite vnf upgrade NAME "
            "--version VERSION brings an older version back."
        )
    return " ".join(told)
