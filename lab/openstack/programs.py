"""How OpenStack's own programs are called: by their main functions, not by scripts that packages install."""

import json
import os
import subprocess
from collections.abc import Sequence

from lab.openstack.layout import (
    ADMIN_PASSWORD,
    INSIDE,
    MEMBER_PASSWORD,
    PORTS,
    SERVICE_PASSWORD,
    LaboratoryFault,
    Layout,
    Site,
)

MANAGERS = {
    "keystone": ("keystone.cmd.manage:main", "keystone-manage", "keystone.conf"),
    "nova": ("nova.cmd.manage:main", "nova-manage", "nova.conf"),
    "neutron": ("neutron.db.migration.cli:main", "neutron-db-manage", "neutron.conf"),
    "heat": ("heat.cmd.manage:main", "heat-manage", "heat.conf"),
    "glance": ("glance.cmd.manage:main", "glance-manage", "glance-api.conf"),
    "placement": ("placement.cmd.manage:main", "placement-manage", "placement.conf"),
    "cinder": ("cinder.cmd.manage:main", "cinder-manage", "cinder.conf"),
}
LAUNCH = INSIDE / "launch.py"


def environment(**more: str) -> dict[str, str]:
    """What OpenStack's programs find in their environment: nothing of ours, and our plug-ins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
    kept.pop("USER", None)
    return kept | {"PYTHONPATH": str(INSIDE / "plugins"), "PYTHONDONTWRITEBYTECODE": "1"} | more


def call(layout: Layout, function: str, program: str, *arguments: object) -> list[object]:
    """The command that runs a program's main function."""
    return [layout.python, LAUNCH, "call", function, program, *arguments]


def manage(layout: Layout, site: Site, project: str, *arguments: str) -> None:
    """Run a project's administrator program.

    Raises:
        LaboratoryFault: it failed.
    """
    function, program, file = MANAGERS[project]
    command = call(layout, function, program, "--config-file", layout.etc(site) / file, *arguments)
    _run(layout, [str(word) for word in command], f"{site.name}-{project}-manage")


def bootstrap(layout: Layout, site: Site, what: str, **more: object) -> None:
    """Run one part of `inside/bootstrap.py` for a site, with what it must know beside the usual.

    Raises:
        LaboratoryFault: it failed.
    """
    facts = json.dumps(_facts(layout, site) | more)
    command = [str(layout.python), str(INSIDE / "bootstrap.py"), what, facts]
    _run(layout, command, f"{site.name}-bootstrap", site.namespace)


def _facts(layout: Layout, site: Site) -> dict[str, object]:
    served = [name for name in PORTS if name in ("heat-cfn", *layout.projects)]
    computes = [site.compute(number) for number in range(1, layout.computes + 1)]
    return {
        "number": site.number,
        "region": site.name,
        "auth_url": site.auth_url,
        "has_keystone": site.has_keystone,
        "keystone_region": layout.sites[site.keystone_number - 1].name,
        "urls": {name: site.url(name) for name in served if name != "keystone"},
        "computes": computes,
        "zones": {"edge": computes[1::2]} if layout.zones > 1 else {},
        "admin_password": ADMIN_PASSWORD,
        "member_password": MEMBER_PASSWORD,
        "service_password": SERVICE_PASSWORD,
    }


def _run(layout: Layout, command: Sequence[str], name: str, namespace: str | None = None) -> None:
    log = layout.directory / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    entering = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    with log.open("ab") as out:
        done = subprocess.run(
            [*entering, *command],
            stdout=out,
            stderr=out,
            cwd=layout.directory,
            env=environment(),
            check=False,
        )
    if done.returncode:
        raise LaboratoryFault(f"{name} failed; see {log}")
