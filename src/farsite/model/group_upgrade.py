"""The upgrade of a group of VNFs in stages: how the group is divided, and what became of each member."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farsite.model.errors import Invalid
from farsite.model.ids import OperationId, VnfInstanceId
from farsite.model.software import Upgrade

MOST_MEMBERS = 500
MOST_STAGES = 50
PAUSE_MOST_S = 7 * 24 * 3600.0
_WORDS = {"one": "1", "some": "25%", "all": "100%"}
_SHARE = re.compile(r"(\d{1,6})(%?)")
_NAMED = 8


def read_stages(words: Sequence[str], members: int) -> tuple[int, ...]:
    """How many of so many are upgraded after each stage: one, some (a quarter), all, counts (`2`) or shares
    (`25%`).

    They grow, the last is all, and a stage that adds nobody is left out.

    Raises:
        Invalid: a word is none of these, or they do not grow.
    """
    counts: list[int] = []
    for word in words:
        found = _SHARE.fullmatch(_WORDS.get(word.strip(), word.strip()))
        if found is None:
            raise Invalid(f'Stages: "{word}" is neither one, some, all, a count (2) nor a share (25%).')
        number = int(found[1])
        count = math.ceil(members * min(number, 100) / 100) if found[2] else min(number, members)
        if count < 1 or (counts and count < counts[-1]):
            raise Invalid(f'Stages: "{",".join(words)}" does not grow from stage to stage.')
        counts.append(count)
    return tuple(dict.fromkeys([*counts, members]))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """A VNF of the group, by the name that people know it by."""

    vnf_id: VnfInstanceId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """Who is upgraded in which order. `stages`: how many are upgraded after each; `pause_s`: seconds between
    two; `rolls_back`: a failure is followed by going back everywhere, without anybody being asked."""

    members: tuple[GroupMember, ...]
    stages: tuple[int, ...]
    pause_s: float
    rolls_back: bool = False

    def of_stage(self, number: int) -> tuple[GroupMember, ...]:
        """Who is upgraded in a stage; the first is 1."""
        before = self.stages[number - 2] if number > 1 else 0
        return self.members[before : self.stages[number - 1]]

    def after_stage(self, number: int) -> tuple[GroupMember, ...]:
        """Who is upgraded once a stage has ended."""
        return self.members[: self.stages[number - 1]]


class MemberState(StrEnum):
    """What became of one of the group so far."""

    UPGRADED = "UPGRADED"
    UNCHANGED = "UNCHANGED"
    """That version ran already."""
    WORKING = "WORKING"
    WAITING = "WAITING"
    """Its upgrade waits in line behind other changes of the VNF."""
    GOING_BACK = "GOING_BACK"
    TAKEN_BACK = "TAKEN_BACK"
    """It was upgraded, and the version of before was brought back with the rest of the group."""
    NOT_TAKEN_BACK = "NOT_TAKEN_BACK"
    """It was upgraded, and the version of before could not be brought back: the new one runs."""
    UNWELL = "UNWELL"
    """It was upgraded, and not well any more after the pause; it has the new version still."""
    ROLLED_BACK = "ROLLED_BACK"
    """Its upgrade failed and went back by itself."""
    FAILED = "FAILED"
    """Its upgrade was given up by an operator."""
    NEEDS_OPERATOR = "NEEDS_OPERATOR"
    """An operation of it rests in FAILED_TEMP."""
    REFUSED = "REFUSED"
    """Its upgrade could not be begun."""
    NOT_BEGUN = "NOT_BEGUN"


UNDER_WAY = frozenset({MemberState.WAITING, MemberState.WORKING, MemberState.GOING_BACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberProgress:
    """How far one of the group is."""

    vnf_id: VnfInstanceId
    name: str
    stage: int
    state: MemberState = MemberState.NOT_BEGUN
    operation_id: OperationId | None = None
    """The last operation on it that belongs to this upgrade."""
    running_version: str = ""
    """What its device said last; empty: it was not asked."""
    said: str = ""
    upgraded: Upgrade | None = None
    """The account of the upgrade that is to be taken back if the group is."""

    @property
    def is_under_way(self) -> bool:
        return self.state in UNDER_WAY


def tally(members: Iterable[MemberProgress]) -> str:
    """Who is in which state, in words: `Upgraded: a, b. Not begun: c.`"""
    names: dict[MemberState, list[str]] = {}
    for one in members:
        names.setdefault(one.state, []).append(one.name)
    return " ".join(
        f"{state.replace('_', ' ').capitalize()}: {named(names[state])}."
        for state in MemberState
        if state in names
    )


def named(names: Sequence[str]) -> str:
    """The first of many names."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
