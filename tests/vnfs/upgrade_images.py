"""Versions of HAProxy and FRR to upgrade to: the programs of this machine with another version in them, as
they lie in an image. A *deaf* one starts, answers its operator and passes nothing: it runs in a network of
its own."""

import re
import subprocess
from pathlib import Path

from appliances import tarball

_FRR = Path("/usr/lib/frr")
FRR_DAEMONS = ("zebra", "staticd", "bgpd")

_START = """#!/bin/sh
at=$(dirname "$(readlink -f "$0")")/..
export LD_LIBRARY_PATH="$at/lib"
exec {before}"$at/libexec/{name}" "$@"
"""
_DEAF = """unshare -n sh -c 'ip link set lo up; exec "$0" "$@"' """


def haproxy_version() -> str:
    """That which is installed here."""
    told = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"HAProxy version (\S+)", told)
    assert found
    return found[1]


def frr_version() -> str:
    told = subprocess.run([_FRR / "zebra", "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"zebra version (\S+)", told)
    assert found
    return found[1]


def next_of(version: str, number: int) -> str:
    """Another version of the same length, which fits where the one stands in the program."""
    return f"{version[:-1]}{number}"


def _with(path: Path, old: str, new: str) -> bytes:
    content = path.read_bytes()
    assert old.encode() in content, f"{path} does not tell its version"
    return content.replace(old.encode(), new.encode())


def haproxy_files(version: str, *, is_deaf: bool = False) -> dict[str, bytes | str]:
    program = _with(Path("/usr/sbin/haproxy"), haproxy_version(), version)
    if not is_deaf:
        return {"sbin/haproxy": program}
    return {"libexec/haproxy": program, "sbin/haproxy": _START.format(before=_DEAF, name="haproxy")}


def frr_files(version: str, *, is_deaf: bool = False) -> dict[str, bytes | str]:
    """zebra, staticd and bgpd with the library that tells their version."""
    known = frr_version()
    library = next(Path("/usr/lib").glob("*/frr/libfrr.so.0"))
    files: dict[str, bytes | str] = {"lib/libfrr.so.0": _with(library, known, version)}
    for name in FRR_DAEMONS:
        files[f"libexec/{name}"] = _with(_FRR / name, known, version)
        files[f"sbin/{name}"] = _START.format(before=_DEAF if is_deaf and name == "bgpd" else "", name=name)
    return files


def image(files: dict[str, bytes | str]) -> bytes:
    return tarball(files)
