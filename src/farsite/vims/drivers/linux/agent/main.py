"""The site agent's process: `python -m farsite.vims.drivers.linux.agent.main SITE_DIRECTORY`.

Order matters. The lock first: there is never a second agent of a site. Then, still without threads, the user
namespace (which a process with threads may not enter) and the site's network namespace; then the launcher is
forked, small; only then come the event loop and the socket.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from farsite.model.ids import VimId
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, holder, namespaces
from farsite.vims.drivers.linux.agent.launcher import Launcher

MODULE = "farsite.vims.drivers.linux.agent.main"
SETUP_FILE = "setup.json"


def _run(directory: Path) -> Callable[[Callable[[], None]], None]:
    def run(ready: Callable[[], None]) -> None:
        try:
            lock = daemon.lock(directory / "agent.lock")
        except BlockingIOError:
            raise RuntimeError(f"Another agent serves {directory}.") from None
        namespaces.name_process("farsite-agent")
        document = json.loads((directory / SETUP_FILE).read_text())
        run_dir, vim_id = Path(document["run_dir"]), VimId(document["vim_id"])
        held = holder.obtain(run_dir, paths.site_namespace(vim_id))
        listener = paths.listen(paths.agent_socket(directory))
        if held.user >= 0:
            namespaces.enter(held.user, namespaces.CLONE_NEWUSER)
        namespaces.enter(held.network, namespaces.CLONE_NEWNET)
        launcher = Launcher(
            inherited=(lock, listener.fileno(), held.network, *([held.user] if held.user >= 0 else []))
        )
        # Imported late: the launcher, forked above, stays small.
        from farsite.vims.drivers.linux.agent import server
        from farsite.vims.drivers.linux.agent.site import Setup

        setup = Setup(run_dir=run_dir, vim_id=vim_id, settings=document["settings"])
        daemon.write_identity(directory / "agent.pid")
        server.serve(setup, held, launcher, listener, ready)

    return run


if __name__ == "__main__":
    site = Path(sys.argv[1])
    daemon.become(site / "agent.log", _run(site))
