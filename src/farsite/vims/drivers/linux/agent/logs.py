"""What VDUs write on standard output and error: a file each, bounded, and what is kept of it.

A VDU holds its file open itself, so that it goes on writing without an agent. Hence a file that is too long
is not renamed but copied and emptied; what is written in the moment between the two is lost.

Host keys that a VDU told, in cloud-init's form, are kept whatever it writes afterwards. Who pins them looks
at all that were told: two that differ mean that words of somebody else got into the log. If the first were
forgotten, what came later would be believed.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from farsite.vims.drivers.linux import paths

MOST_BYTES = 2 << 20
"""How long a log may become before it begins anew; its old file holds as much again."""
_LOGS_KEPT = 200
_BEGIN = b"-----BEGIN SSH HOST KEY KEYS-----"
_KEYS = re.compile(
    rb"^%s\r?\n(?:[^-\n].{0,2000}\n){0,16}-----END SSH HOST KEY KEYS-----\r?$" % _BEGIN, re.MULTILINE
)
_KEYS_MOST_BYTES = 16 << 10


class Logs:
    """The logs of a site, in a directory of theirs."""

    def __init__(self, directory: Path) -> None:
        self._directory = paths.make_private(directory)

    def path(self, vnfc_id: str, key: str) -> Path:
        """Where the VDU with this key writes."""
        readable = re.sub(r"[^A-Za-z0-9_.-]", "_", vnfc_id)[-60:]
        return self._directory / f"{readable}-{key}.log"

    def prune(self, standing: set[Path]) -> None:
        """Keep the logs of those that stand, and of the others the newest."""
        dead = [path for path in self._directory.glob("*.log") if path not in standing]
        if len(dead) > _LOGS_KEPT:
            for path in sorted(dead, key=lambda each: each.stat().st_mtime)[:-_LOGS_KEPT]:
                path.unlink(missing_ok=True)
                _old(path).unlink(missing_ok=True)


def bound(logs: Iterable[Path]) -> None:
    """Begin anew what is too long: its end, and the host keys told before, become its old file. A log that
    there is no room for so stays as it is."""
    for log in logs:
        try:
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > MOST_BYTES:
                    _begin_anew(log)
        except OSError as error:
            sys.stderr.write(f"agent: {log} is too long and cannot begin anew: {error}\n")


def _begin_anew(log: Path) -> None:
    told = _told(_content(_old(log)) + _content(log))
    partial = log.with_suffix(".partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with log.open("r+b") as written, os.fdopen(os.open(partial, flags, 0o600), "wb") as kept:
        size = written.seek(0, os.SEEK_END)
        written.seek(max(0, size - MOST_BYTES))
        kept.write(told + _whole_lines(written.read(MOST_BYTES)))
        # Once more, for what came meanwhile; whoever never pauses would keep us here for ever.
        kept.write(written.read(MOST_BYTES))
        kept.flush()
        partial.replace(_old(log))
        written.truncate(0)


def console(log: Path, most: int) -> str:
    """The end of what was written, `most` bytes with the host keys that were told before; empty: nothing."""
    content = _content(_old(log)) + _content(log)
    if len(content) <= most:
        return content.decode(errors="replace")
    told = _told(content[: len(content) - most + _KEYS_MOST_BYTES])
    return (told + _whole_lines(content[len(content) - most + len(told) :])).decode(errors="replace")


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines that were written, not more than 1500 bytes of them."""
    written = (_content(_old(log)) + _content(log))[-1500:]
    return written.decode(errors="replace").splitlines()[-count:]


def _content(log: Path) -> bytes:
    """What a log holds; of one that is far too long the begin and the end."""
    try:
        with log.open("rb") as written:
            begin = written.read(MOST_BYTES)
            size = written.seek(0, os.SEEK_END)
            written.seek(max(len(begin), size - MOST_BYTES))
            return begin + (b"\n" if written.tell() > len(begin) else b"") + written.read(MOST_BYTES)
    except FileNotFoundError:
        return b""


def _told(content: bytes) -> bytes:
    """The host keys that were told in it, each block of them once, the first ones first."""
    told = b""
    at = content.find(_BEGIN)
    while at >= 0:
        block = _KEYS.match(content, at)
        if block and block[0] not in told and len(told) + len(block[0]) < _KEYS_MOST_BYTES:
            told += block[0] + b"\n"
        at = content.find(_BEGIN, at + 1)
    return told


def _whole_lines(cut: bytes) -> bytes:
    """Without the rest of a line that it begins with: half a line could be taken for a whole one."""
    return cut[cut.find(b"\n") + 1 :]


def _old(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
