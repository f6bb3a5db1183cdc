"""`python -m lab.openstack COMMAND`: bring up a laboratory, break parts of it, take it down."""

import argparse
import os
import sys
import time
from pathlib import Path

from lab.openstack import fronting, isolation, schemas
from lab.openstack.installation import install
from lab.openstack.layout import BUILD, LAYOUT_FILE, RELEASES, LaboratoryFault, Layout
from lab.openstack.raising import Laboratory, existing

VARIABLE = "FARSITE_LAB_DIR"
EPILOG = """
examples:
  python -m lab.openstack up                      two sites of the current release, in about two minutes
  python -m lab.openstack up --regions 1          and a second region under the first site's Keystone
  python -m lab.openstack freeze 'site1-heat-*'   Heat holds its connections and says nothing; then thaw
  python -m lab.openstack restart site2-keystone  kill it and wait until it answers again
  python -m lab.openstack cut site2               with `up --isolated`: packets vanish; then mend
  python -m lab.openstack tls site1 --expired     HTTPS with an expired certificate before all services
  python -m lab.openstack down

Use it: export OS_CLIENT_CONFIG_FILE=DIRECTORY/clouds.yaml OS_CLOUD=site1-nfv
Logs are in DIRECTORY/log, one per process. docs/laboratory.md tells more.
"""


def default_directory(release: str = RELEASES[0]) -> Path:
    """Where a laboratory of that release lies, unless somebody says otherwise."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else BUILD / f"lab-{release}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m lab.openstack",
        description="Real OpenStack sites on this machine, for tests. Needs root and Debian 12.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--directory",
        type=Path,
        help=f"where it lies (default: ${VARIABLE}, else .build/lab-RELEASE)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    for name, text in (
        ("install", "install what the release needs: database and bus by apt, OpenStack into .build"),
        ("up", "install what is missing and bring the laboratory up; mends one that is partly down"),
    ):
        made = command(name, text)
        made.add_argument("--release", choices=RELEASES, default=RELEASES[0], help="of OpenStack")
        if name == "up":
            _add_layout(made)
    command("down", "end every process; the data stays")
    command("wipe", "end every process and remove the data")
    command("pack-schemas", "put the migrated schemas of the pinned release into the repository")
    command("status", "say of every process whether it lives; fails if one does not")
    command("memory", "say what every process holds")
    for name, text in (
        ("kill", "SIGKILL: a crash"),
        ("start", "start again what was killed, and wait until it answers"),
        ("restart", "kill, start, and wait until it answers"),
        ("freeze", "SIGSTOP: connections stay, nothing is said"),
        ("thaw", "let go on what was frozen"),
    ):
        made = command(name, text)
        made.add_argument(
            "names", nargs="+", metavar="NAME", help="as `status` shows it; * and ? as in the shell"
        )
    cut = command("cut", "cut a site off from everybody outside it (needs up --isolated)")
    cut.add_argument("site", metavar="SITE")
    cut.add_argument("--reject", action="store_true", help="answer with resets; else packets vanish")
    command("mend", "let a site be reached again").add_argument("site", metavar="SITE")
    more = command("schedulers", "have so many nova-schedulers at a site; 1 ends those that were added")
    more.add_argument("site", metavar="SITE")
    more.add_argument("count", metavar="COUNT", type=int)
    tls = command("tls", "serve a site over HTTPS too, and write clouds-tls.yaml (or clouds-expired.yaml)")
    tls.add_argument("site", metavar="SITE")
    tls.add_argument("--expired", action="store_true", help="with a certificate that expired yesterday")
    return top


def _add_layout(up: argparse.ArgumentParser) -> None:
    up.add_argument("--sites", type=int, default=2, help="sites with a Keystone of their own (2)")
    up.add_argument("--regions", type=int, default=0, help="more regions under the first site's Keystone (0)")
    up.add_argument("--computes", type=int, default=2, help="compute hosts per site (2)")
    up.add_argument("--zones", type=int, choices=(1, 2), default=1, help="availability zones per site (1)")
    up.add_argument("--no-cinder", action="store_true", help="sites without volumes")
    up.add_argument("--heat-threads", type=int, default=64, help="of Heat's engine; 16 block themselves (64)")
    up.add_argument("--isolated", action="store_true", help="a network namespace per site")
    up.add_argument("--port-offset", type=int, default=0, help="added to every port, in hundreds (0)")
    up.add_argument("--compute-size", default="{}", help="JSON: cells, shared, dedicated, mem_mb, vfs, ...")
    up.add_argument("--fresh", action="store_true", help="wipe it first")


def _layout(given: argparse.Namespace, directory: Path) -> Layout:
    return Layout(
        directory=directory,
        release=given.release,
        independent=given.sites,
        regions=given.regions,
        computes=given.computes,
        zones=given.zones,
        has_cinder=not given.no_cinder,
        heat_threads=given.heat_threads,
        isolated=given.isolated,
        port_offset=given.port_offset,
        compute_size=given.compute_size,
    )


def _up(given: argparse.Namespace, directory: Path) -> None:
    layout = _layout(given, directory)
    is_there = (directory / LAYOUT_FILE).exists()
    if given.fresh and is_there:
        existing(directory).wipe()
    elif is_there and Layout.load(directory) != layout:
        raise LaboratoryFault(f"{directory} holds another layout; give the same options, or --fresh")
    began = time.monotonic()
    install(layout, directory / "log" / "install.log")
    print(f"[{time.monotonic() - began:6.1f} s] installed", flush=True)
    Laboratory(layout, lambda text: print(text, flush=True)).up()
    print(f"export {VARIABLE}={directory}")


def _show_status(laboratory: Laboratory) -> int:
    processes = laboratory.processes
    dead = 0
    for name in processes.names():
        pid = processes.pid(name)
        dead += pid is None
        print(f"{name:<24} {pid or 'DEAD'}{'  frozen' if processes.is_frozen(name) else ''}")
    for site in laboratory.layout.sites:
        print(f"{site.name:<24} {site.auth_url}{'  CUT OFF' if isolation.is_cut(site) else ''}")
    return 1 if dead else 0


def _show_memory(laboratory: Laboratory) -> None:
    total = 0.0
    for name in laboratory.processes.names():
        if held := laboratory.processes.memory(name):
            total += held.pss_mib
            print(f"{name:<24} {held.rss_mib:7.0f} MiB resident {held.pss_mib:7.0f} MiB its share")
    print(f"{'total':<24} {'':>20} {total:7.0f} MiB")


def main() -> int:
    given = parser().parse_args()
    directory: Path = (
        given.directory or default_directory(getattr(given, "release", RELEASES[0]))
    ).absolute()
    match given.command:
        case "install":
            install(Layout(directory=directory, release=given.release), directory / "log" / "install.log")
            return 0
        case "up":
            _up(given, directory)
            return 0
        case "pack-schemas":
            print(schemas.pack(Layout(directory=directory)))
            return 0
        case _:
            laboratory = existing(directory)
    processes = laboratory.processes
    match given.command:
        case "down":
            laboratory.down()
        case "wipe":
            laboratory.wipe()
        case "status":
            return _show_status(laboratory)
        case "memory":
            _show_memory(laboratory)
        case "cut":
            laboratory.cut(given.site, reject=given.reject)
        case "mend":
            laboratory.mend(given.site)
        case "schedulers":
            laboratory.schedulers(given.site, given.count)
        case "tls":
            print(fronting.start(laboratory, given.site, is_expired=given.expired))
        case action:
            getattr(processes, action)(*processes.matching(given.names))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LaboratoryFault as fault:
        sys.exit(f"laboratory: {fault}")
