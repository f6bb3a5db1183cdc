"""The package that everybody instantiates: two servers on an internal network, on one host.

Its descriptor is the same in three shapes, which differ in what the package brings for Heat: `flat`, a base
HOT of seven resources in one stack; `nested`, the same with one server in a scaling group, so nine resources
in three stacks; `derived`, no base HOT at all, so that Farsite makes the template from the descriptor (Tacker
cannot).
"""

import io
import uuid
import zipfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

_HERE = Path(__file__).parent / "package"
_MARK = "{{vnfd_id}}"
_TYPES = ("etsi_nfv_sol001_common_types.yaml", "etsi_nfv_sol001_vnfd_types.yaml")


class Shape(StrEnum):
    """What the package brings for Heat."""

    FLAT = "flat"
    NESTED = "nested"
    DERIVED = "derived"


def files(shape: Shape, vnfd_id: str) -> dict[str, bytes]:
    """The archive's files by path, with a VNFD id of its own."""
    found = {
        path.relative_to(_HERE / "archive").as_posix(): path.read_text().replace(_MARK, vnfd_id).encode()
        for path in sorted((_HERE / "archive").rglob("*"))
        if path.is_file()
    }
    root = _HERE / "templates" / shape
    for path in sorted(root.rglob("*.yaml")):
        found[f"BaseHOT/simple/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found


def build(shape: Shape, *, types: Mapping[str, bytes] | None = None) -> tuple[bytes, str]:
    """The archive and its VNFD id, a new one each time. `types` are ETSI's definition files, which a
    package must carry for an orchestrator that does not know them."""
    vnfd_id = str(uuid.uuid4())
    content = files(shape, vnfd_id) | {f"Definitions/{name}": text for name, text in (types or {}).items()}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return written.getvalue(), vnfd_id


def types_in(directory: Path) -> dict[str, bytes]:
    """ETSI's SOL001 definition files as they lie somewhere below a directory; empty if they do not."""
    for one in sorted(directory.rglob(_TYPES[0])):
        if (one.parent / _TYPES[1]).is_file():
            return {name: (one.parent / name).read_bytes() for name in _TYPES}
    return {}
