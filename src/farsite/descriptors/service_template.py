"""A TOSCA entry file with all it imports, merged: every template once, every type known.

Imports are looked up inside the archive only. ETSI's own type files, by whatever path or address they
are named, are answered by our statement of them; nothing is ever fetched.

Source: OASIS TOSCA Simple Profile in YAML 1.3, clauses 3.6.8 (imports) and 3.10 (service templates).
"""

import posixpath
import re
from dataclasses import dataclass
from difflib import get_close_matches

from farsite.descriptors.archive import Archive
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.type_definitions import define_types
from farsite.descriptors.type_system import SECTIONS, Types, sol001
from farsite.descriptors.yaml_tree import Tree, parse

_ETSI_TYPES = re.compile(r"etsi_nfv_sol001_(common|vnfd|nsd|pnfd)_types[\w.-]*\.ya?ml")
_VERSIONS = re.compile(r"tosca_simple_yaml_1_[0-3]|tosca_simple_profile_for_nfv_1_[0-9](_[0-9])?")
_KEYS = {
    "tosca_definitions_version",
    "namespace",
    "metadata",
    "template_name",
    "template_author",
    "template_version",
    "description",
    "dsl_definitions",
    "repositories",
    "imports",
    "topology_template",
    *SECTIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTemplates:
    """The entry file and all it imports, in the order of import, the entry first."""

    entry: str
    files: dict[str, Tree]
    types: Types
    copies: Types
    """What the package's own copies of SOL001's types say, for telling edits from errors."""


def inside(base: str, path: str) -> str | None:
    """A path as named in the file `base`, relative to the archive's root; None when it leaves the archive."""
    joined = path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(base), path)
    normal = posixpath.normpath(joined)
    return None if normal == ".." or normal.startswith("../") or "\0" in normal else normal


def load(archive: Archive, entry: str, log: FaultLog) -> ServiceTemplates:
    """Read the entry file and its imports. What is wrong is noted in `log`, and reading goes on.

    Raises:
        ArchiveRefused: the entry file itself cannot be read.
    """
    files: dict[str, Tree] = {}
    _Importer(archive, log, files).read(entry, (), None)
    if entry not in files:
        log.raise_if_any()
    types = Types(sol001())
    copies = define_types(files, types, log)
    return ServiceTemplates(entry=entry, files=files, types=types, copies=copies)


class _Importer:
    """Depth first through the imports; each file is read once."""

    def __init__(self, archive: Archive, log: FaultLog, files: dict[str, Tree]) -> None:
        self.archive, self.log, self.files = archive, log, files

    def read(self, path: str, trail: tuple[str, ...], named_at: Tree | None) -> None:
        if path in trail:
            assert named_at is not None, "the entry file has no importer"
            cycle = [*trail[trail.index(path) :], path]
            self.log.at(
                named_at,
                f"cyclic import: {' -> '.join(cycle)}",
                "imports without a cycle",
            )
            return
        if path in self.files:
            return
        if len(self.files) >= self.archive.limits.imports:
            where = named_at or self.files[trail[-1]]
            self.log.at(where, "too many imports", f"at most {self.archive.limits.imports} files")
            return
        if len(trail) > self.archive.limits.import_depth:
            where = named_at or self.files[trail[-1]]
            self.log.at(
                where,
                "imports nested too deeply",
                f"at most {self.archive.limits.import_depth} levels",
            )
            return
        try:
            root = parse(self.archive.read(path), path, self.archive.limits, self.log)
        except ArchiveRefused as refused:
            self.log.extend(refused)
            return
        if not root.is_map:
            self.log.fault(path, root.line, f"{root.kind} at the top", "a TOSCA service template")
            return
        self.files[path] = root
        self._check_head(path, root)
        for named, tree in self._imports(root):
            target = self._locate(path, named, tree)
            if target:
                self.read(target, (*trail, path), tree)

    def _check_head(self, path: str, root: Tree) -> None:
        version = root.get("tosca_definitions_version")
        if version is None or not _VERSIONS.fullmatch(version.string):
            found = (
                f'tosca_definitions_version "{version.string}"' if version else "no tosca_definitions_version"
            )
            self.log.fault(
                path, (version or root).line, found, "tosca_simple_yaml_1_0 to tosca_simple_yaml_1_3"
            )
        for key in root.items:
            if key not in _KEYS:
                close = get_close_matches(key[:100], _KEYS, n=1)
                hint = f' (did you mean "{close[0]}"?)' if close else ""
                self.log.warn(
                    path, root.key_line(key), f'the section "{key[:100]}" is not TOSCA and is ignored{hint}'
                )

    def _imports(self, root: Tree) -> list[tuple[str, Tree]]:
        stated = root.get("imports")
        found: list[tuple[str, Tree]] = []
        if stated is None:
            return found
        if not stated.is_list and not stated.is_map:
            self.log.at(stated, f"imports: {stated.kind}", "a list of imports")
        for item in stated.entries or stated.items.values():
            named = item
            # `- file: x`, or the named forms `- name: x` and `- name: {file: x}`.
            if item.is_map and item.get("file"):
                named = item.items["file"]
            elif item.is_map and len(item.items) == 1:
                (named,) = item.items.values()
                named = named.get("file") or named
            if named.string:
                found.append((named.string, named))
            else:
                self.log.at(item, f"imports: {item.kind} that names no file", "a file name")
        return found

    def _locate(self, importer: str, named: str, at: Tree) -> str | None:
        etsi = _ETSI_TYPES.fullmatch(posixpath.basename(named))
        if "://" in named:
            if not etsi:
                self.log.at(
                    at,
                    f'import of the address "{named[:200]}"',
                    "a file inside the archive; nothing is fetched",
                )
            return None
        relative = inside(importer, named)
        if relative is None:
            self.log.at(
                at,
                f'import of "{named[:200]}", outside the archive',
                "a path inside the archive",
            )
            return None
        for candidate in (relative, inside("", named)):
            if candidate is not None and candidate in self.archive:
                return candidate
        if not etsi:
            near = self.log.nearest(relative, self.archive.names)
            self.log.at(at, f'import of "{named[:200]}", which is not in the archive', near or relative)
        return None
