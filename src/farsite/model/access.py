"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from farsite.model.ids import ProjectId


class Role(StrEnum):
    """`reader` looks, `operator` also starts operations and acknowledges, `admin` also registers VIMs
    and makes tokens. `source` does nothing but tell of faults, which readers may not."""

    SOURCE = "source"
    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {Role.SOURCE: -1, Role.READER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller."""

    name: str
    project_id: ProjectId
    role: Role

    def may(self, needed: Role) -> bool:
        if needed is Role.SOURCE:
            return self.role is not Role.READER
        return _RANK[self.role] >= _RANK[needed]
