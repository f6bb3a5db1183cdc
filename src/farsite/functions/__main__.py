"""Run one built-in function: `python -E -s -S .../farsite/functions NAME`.

Executing the directory puts the directory itself first on the module path, where a module of ours could
take the place of one of the standard library. So the root of the sources takes that place instead, and
every module is imported under its one true name. Each function is imported only where it runs: the start
of one does not pay for the others.
"""

import os
import sys

EXIT_USAGE = 64
NAMES = ("firewall", "inspector", "probe", "webserver")
"""Names that `builtin:NAME` may carry."""


def main(arguments: list[str]) -> int:
    """Run the function named by the only argument until SIGTERM; the exit code of the process."""
    from farsite.functions import vnfc

    match arguments:
        case ["firewall"]:
            from farsite.functions.firewall import Firewall

            return vnfc.run("firewall", Firewall)
        case ["inspector"]:
            from farsite.functions.inspector import Inspector

            return vnfc.run("inspector", Inspector)
        case ["probe"]:
            from farsite.functions.probe import Probe

            return vnfc.run("probe", Probe)
        case ["webserver"]:
            from farsite.functions.webserver import Webserver

            return vnfc.run("webserver", Webserver)
        case _:
            sys.stderr.write(f"usage: functions NAME, where NAME is one of {', '.join(NAMES)}\n")
            return EXIT_USAGE


if __name__ == "__main__":
    # pathlib costs 5 ms here, a third of the whole start.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    sys.path[0] = root
    sys.exit(main(sys.argv[1:]))
