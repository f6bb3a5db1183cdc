"""Base templates of a package: what it brings for Heat to be used in place of a generated template.

The layout is Tacker's, which other VNFMs read too: `BaseHOT/FLAVOUR/NAME.yaml` and what it refers to
beside it or in `nested/`. Read and checked as data; scripts that lie beside them are never run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from farsite.descriptors.archive import Archive
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.yaml_tree import Tree, parse
from farsite.model.vnfd import BaseHot

_MAIN = re.compile(r"BaseHOT/([^/]+)/[^/]+\.ya?ml")
_NESTED = ("", "nested/")
_SIZE_MAX = 1024 * 1024
_FILES_MAX = 200


def read_base_templates(archive: Archive, flavours: Iterable[str], log: FaultLog) -> dict[str, BaseHot]:
    """Flavour -> its base template with everything it refers to. Faults are noted in `log`."""
    known = list(flavours)
    mains: dict[str, list[str]] = {}
    for name in archive.names:
        if matched := _MAIN.fullmatch(name):
            mains.setdefault(matched[1], []).append(name)
    found: dict[str, BaseHot] = {}
    for flavour, names in mains.items():
        if flavour not in known:
            log.warn(names[0], None, f'base template of "{flavour}", which is no flavour of the VNFD')
        elif len(names) > 1:
            log.fault(
                names[1],
                None,
                "a second base template of the flavour",
                f'nested ones below "{flavour}/nested"',
            )
        elif (read := _read(archive, flavour, names[0], log)) is not None:
            found[flavour] = read
    return found


def _read(archive: Archive, flavour: str, main: str, log: FaultLog) -> BaseHot | None:
    """The template and, by the names under which they are referred to, the nested ones."""
    text = _text(archive, main, log)
    if text is None:
        return None
    files: dict[str, str] = {}
    waiting = [(main, text)]
    size = len(text)
    while waiting:
        path, content = waiting.pop()
        for used in _used(path, content, archive, log):
            if used.string in files:
                continue
            place = next((f"BaseHOT/{flavour}/{at}{used.string}" for at in _NESTED
                          if f"BaseHOT/{flavour}/{at}{used.string}" in archive), None)  # fmt: skip
            if place is None:
                log.at(used, f'template "{used.string[:200]}" is used and not in the archive', "the file")
                continue
            nested = _text(archive, place, log)
            if nested is None:
                continue
            size += len(nested)
            if size > _SIZE_MAX or len(files) >= _FILES_MAX:
                log.fault(main, None, "too large with all nested templates", f"{_SIZE_MAX} bytes in all")
                return None
            files[used.string] = nested
            waiting.append((place, nested))
    return BaseHot(main=text, files=files)


def _text(archive: Archive, path: str, log: FaultLog) -> str | None:
    try:
        return archive.read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        log.fault(path, None, "not UTF-8", "UTF-8 text")
    except ArchiveRefused as refused:
        log.extend(refused)
    return None


def _used(path: str, content: str, archive: Archive, log: FaultLog) -> list[Tree]:
    """Templates that a template uses as resource types; its shape is checked on the way."""
    try:
        tree = parse(content.encode(), path, archive.limits, log)
    except ArchiveRefused as refused:
        log.extend(refused)
        return []
    resources = tree.get("resources")
    if tree.get("heat_template_version") is None or resources is None or not resources.is_map:
        log.at(tree, "not a Heat template", "heat_template_version and resources")
        return []
    return list(_types(resources.items))


def _types(resources: Mapping[str, Tree]) -> Iterator[Tree]:
    for resource in resources.values():
        kind = resource.get("type")
        if kind is not None and kind.string.endswith((".yaml", ".yml", ".template")):
            if "://" not in kind.string:
                yield kind
            continue
        # Scaling groups hold the definition of their members in a property.
        for property_ in ("resource", "resource_def"):
            member = resource.get("properties", property_)
            if member is not None and member.is_map:
                yield from _types({"member": member})
