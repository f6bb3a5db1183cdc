"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from farsite.model.ids import ProjectId, VnfInstanceId

VNF_SIGNATURE = "VNF: "


class Role(StrEnum):
    """`reader` looks, `operator` also starts operations and acknowledges, `admin` also registers VIMs
    and makes tokens. `source` does nothing but tell of faults, which readers may not; `vnf` is a VNF's own
    credential, which asks for its own scaling and repair and for nothing else; `broker` is a broker's, which
    fetches and answers its own jobs and nothing else."""

    SOURCE = "source"
    VNF = "vnf"
    BROKER = "broker"
    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {Role.BROKER: -3, Role.VNF: -2, Role.SOURCE: -1, Role.READER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller."""

    name: str
    project_id: ProjectId
    role: Role
    vnf_id: VnfInstanceId | None = None
    """Of a VNF's own credential: the one it may ask for."""

    @property
    def signature(self) -> str:
        """How operations name who asked for them; no token of a person can be named so."""
        return self.name if self.vnf_id is None else f"{VNF_SIGNATURE}{self.name}"

    def may(self, needed: Role) -> bool:
        if needed is Role.BROKER:
            # Jobs carry the secrets of functions: they are for the broker itself, whoever else asks.
            return self.role is Role.BROKER
        if needed is Role.SOURCE:
            return self.role not in (Role.READER, Role.VNF, Role.BROKER)
        return _RANK[self.role] >= _RANK[needed]
