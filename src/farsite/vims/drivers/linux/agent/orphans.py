"""Processes that say that they are a site's, whether or not a VDU of it is known by them."""

import os
from pathlib import Path


def labelled(label: str) -> list[int]:
    """Processes whose environment says that they are a VDU of the site with this label."""
    wanted = f"FARSITE_SITE={label}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and any(each.startswith(b"FARSITE_VDU=") for each in environment):
            found.append(int(entry.name))
    return found


def leads_vdu(pid: int) -> bool:
    """Whether a process is the first of a process namespace right below ours, as a VDU's first is; its others
    end with it. Further below are namespaces that a function makes within its own, and inherit our label."""
    ours, its = _ids_of(os.getpid()), _ids_of(pid)
    return len(its) == len(ours) + 1 and its[-1] == "1"


def _ids_of(pid: int) -> list[str]:
    """A process's ids in the process namespaces that it is in, the outermost first; of an absent one none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return line.split()[1:]
    return []
