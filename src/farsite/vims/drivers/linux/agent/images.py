"""Images of a Linux site: `builtin:FUNCTION` and `host:PROFILE`.

A profile is a JSON document that says how a program of the host becomes a VDU:

    {"command": ["/usr/sbin/haproxy", "-f", "haproxy.cfg"],
     "ready": "exec" | "line" | {"tcp": 80},
     "requires": {"/usr/sbin/haproxy": "haproxy"},        program -> the apt package that brings it
     "defaults": {"port": "80"},                          configuration where the VNFC states none
     "files": {"haproxy.cfg": "... bind :$port ..."},     templates, written to the VDU's directory
     "programs": ["appliance.sh"],                        files beside the profile, copied there as they are
     "needs_users": true,                                 only a site that has users to give can run it
     "ready_within_s": 120}                               how long it may take until it is ready (5 s)

The program sees the host's files read-only, with /tmp and /run of its own. A site with root gives it users
of its own: then it has all of root's powers over its VDU, and over the host those of a stranger, so it reads
what everybody may read. It sees its directory as /run/vdu, and a /root of its own. On a site without root it
is whoever Farsite is, with one user, and sees its directory where it lies ($FARSITE_DIRECTORY on both).

The environment of a program: FARSITE_DIRECTORY (the VDU's directory, where user-data and meta-data lie),
FARSITE_CONFIG (a document with the ports and the configuration), FARSITE_VNFC, and HOME.
"""

import json
import os
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from farsite import functions
from farsite.functions.__main__ import NAMES as FUNCTION_NAMES
from farsite.model.deployment import WantedVnfc
from farsite.model.errors import VimFault
from farsite.vims.drivers.linux import wire

_FUNCTIONS = Path(functions.__file__).parent
_SHIPPED_PROFILES = Path(__file__).parent / "profiles"
READY_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a VDU executes. `ready_line`: it says so itself; `ready_port`: when that TCP port answers;
    else once it executes."""

    arguments: Sequence[str]
    ready_line: bool = False
    ready_port: int = 0
    ready_within_s: float = READY_WITHIN_S
    is_confined: bool = False
    needs_users: bool = False
    files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    command: tuple[str, ...]
    ready: object = "exec"  # or "line", or {"tcp": port}
    requires: Mapping[str, str] = field(default_factory=dict[str, str])
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    programs: tuple[str, ...] = ()
    needs_users: bool = False
    ready_within_s: float = READY_WITHIN_S


def resolve(wanted: WantedVnfc, profile_directories: Sequence[Path]) -> Program:
    """The program behind a VNFC's image.

    Raises:
        VimFault: the image is unknown or its program is not installed; says what is and what to install.
    """
    kind, _, name = wanted.image.partition(":")
    match kind:
        case "builtin":
            return _builtin(name)
        case "host":
            return _host(name, wanted.configuration, profile_directories)
        case _:
            raise VimFault(
                f'Image "{wanted.image}" is unknown to a Linux site; it takes builtin:FUNCTION '
                f"({', '.join(FUNCTION_NAMES)}) and host:PROFILE."
            )


def _builtin(name: str) -> Program:
    if name not in FUNCTION_NAMES:
        raise VimFault(f'Built-in function "{name}" does not exist; there are {", ".join(FUNCTION_NAMES)}.')
    return Program(arguments=(sys.executable, "-E", "-s", "-S", str(_FUNCTIONS), name), ready_line=True)


def _host(name: str, configuration: Mapping[str, object], directories: Sequence[Path]) -> Program:
    path, profile = _read_profile(name, [*directories, _SHIPPED_PROFILES])
    for program, package in profile.requires.items():
        if not os.access(program, os.X_OK):
            raise VimFault(
                f'Image "host:{name}" needs {program}, which this host does not have. '
                f"Install it with: apt-get install {package}"
            )
    values = {**profile.defaults, **configuration}
    given: object = profile.ready
    ready = {} if isinstance(given, str) else cast(dict[str, object], given)
    port = int(string.Template(str(ready.get("tcp", 0))).safe_substitute(values))
    return Program(
        arguments=[string.Template(word).safe_substitute(values) for word in profile.command],
        ready_line=given == "line",
        ready_port=port,
        ready_within_s=profile.ready_within_s,
        is_confined=True,
        needs_users=profile.needs_users,
        files={
            **{file: string.Template(text).safe_substitute(values) for file, text in profile.files.items()},
            **{file: _read_program(path, file) for file in profile.programs},
        },
    )


def _read_program(profile: Path, name: str) -> str:
    try:
        return profile.with_name(name).read_text()
    except (OSError, ValueError) as error:
        raise VimFault(f"Profile {profile} names {name}, which is no text beside it: {error}") from error


def _read_profile(name: str, directories: Sequence[Path]) -> tuple[Path, _Profile]:
    known: set[str] = set()
    for directory in directories:
        known |= {path.stem for path in directory.glob("*.json")}
        path = directory / f"{name}.json"
        if path.parent != directory or not path.is_file():
            continue
        try:
            profile = wire.from_document(_Profile, json.loads(path.read_text()))
        except ValueError as error:
            raise VimFault(f"Profile {path} is malformed: {error}") from error
        for written in (*profile.files, *profile.programs):
            if Path(written).is_absolute() or ".." in Path(written).parts:
                raise VimFault(f"Profile {path} writes outside the VDU's directory: {written}")
        return path, profile
    raise VimFault(f'Profile "{name}" does not exist; there are {", ".join(sorted(known))}.')
