"""Remove every trace of a run directory's sites: `python -m farsite.vims.drivers.linux.agent.remove RUN_DIR`.

Ends agents, launchers, VDUs and the holder by process id, checked by start time or label; their namespaces,
interfaces and mounts go with them. Repeating it is well.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import cast

from farsite.vims.drivers.linux.agent import daemon, holder, limits, users
from farsite.vims.drivers.linux.agent.orphans import labelled

_WITHIN_S = 10.0


def remove(run_dir: Path) -> list[str]:
    """Remove all sites of a run directory and their holder; returns what was ended."""
    ended: list[str] = []
    # A site is known by its resolved path; the directory itself may be gone already.
    run_dir = run_dir.resolve()
    for site in sorted((run_dir / "sites").glob("*")):
        ended += remove_site(site)
    shutil.rmtree(run_dir / "sites", ignore_errors=True)
    holder = daemon.living(run_dir / "holder.pid")
    if holder and daemon.kill(holder):
        ended.append(f"holder {holder}")
    for name in ("sock", "lock", "log", "json", "pid"):
        (run_dir / f"holder.{name}").unlink(missing_ok=True)
    return ended


def retire_site(run_dir: Path, site: Path, namespace: str) -> None:
    """Remove one site for good, with the namespace that the holder keeps for it under that name.

    With the last site the holder ends as well.
    """
    run_dir, site = run_dir.resolve(), site.resolve()
    remove_site(site)
    if any((run_dir / "sites").glob("*")):
        if holder.process_id(run_dir):
            holder.forget(run_dir, namespace)
    else:
        remove(run_dir)


def remove_site(site: Path) -> list[str]:
    """Remove one site: its agent first, so that nothing is healed or adopted meanwhile."""
    ended: list[str] = []
    agent = daemon.living(site / "agent.pid")
    if agent and daemon.kill(agent):
        ended.append(f"agent {agent}")
    vdus = _known(site) | set(labelled(str(site)))
    ended += [f"VDU {pid}" for pid in sorted(vdus) if daemon.kill(pid)]
    for record in (site / "vdus").glob("*.json"):
        limits.forget(f"farsite-{record.stem}")
    _await_launcher(site)
    shutil.rmtree(site, ignore_errors=True)
    users.release(site)
    return ended


def _known(site: Path) -> set[int]:
    found: set[int] = set()
    for record in (site / "vdus").glob("*.json"):
        try:
            document = cast(dict[str, int], json.loads(record.read_text()))
        except ValueError:
            continue
        if document.get("started") and daemon.start_time(document["pid"]) == document["started"]:
            found.add(document["pid"])
    return found


def _await_launcher(site: Path) -> None:
    """The launcher ends by itself when its agent is gone; a half-made VDU too."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline and any(_serves(pid, site) for pid in _processes()):
        time.sleep(0.01)


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _serves(process: Path, site: Path) -> bool:
    try:
        return str(site).encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    for line in remove(Path(sys.argv[1])):
        sys.stdout.write(f"ended {line}\n")
