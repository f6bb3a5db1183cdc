"""`python -m bench.openstack.peers install|clean [--lab DIR] [--site NAME]`: by hand what the benchmark does
by itself; `clean` is for one that was killed before it could."""

import argparse
import sys
from pathlib import Path

from lab.openstack.__main__ import VARIABLE, default_directory

from bench.figures import NotMeasured
from bench.openstack.peers.installation import TackerPeer, install
from bench.openstack.site import Site


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.openstack.peers", description=__doc__)
    parser.add_argument("work", choices=("install", "clean"))
    parser.add_argument("--lab", type=Path, default=default_directory(), help=f"its directory (${VARIABLE})")
    parser.add_argument("--site", default="site1", help="name of the site (site1)")
    given = parser.parse_args()
    try:
        if given.work == "install":
            install()
        else:
            TackerPeer(Site.of(given.lab, given.site)).clean()
    except NotMeasured as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
