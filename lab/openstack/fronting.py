"""A front with TLS as a process of the laboratory, for people who try things by hand.

`python -m lab.openstack tls SITE` starts it. It ends with the laboratory. Tests have their fronts in process
instead, because they make faults in them.
"""

import signal
import sys
from pathlib import Path

import yaml

from lab.faults.certificates import Authority
from lab.faults.proxy import Loop
from lab.openstack.front import SiteFront
from lab.openstack.layout import CHECKOUT, LOOPBACK, PORTS, Layout
from lab.openstack.raising import Laboratory

# Beside the services' own ports.
PORT_STEPS = {False: 100, True: 200}


def start(laboratory: Laboratory, site_name: str, *, is_expired: bool) -> Path:
    """Serve that site over HTTPS on its ports plus 100 (plus 200 with an expired certificate).

    Returns the file of clouds that go there, which names the authority to trust.
    """
    layout = laboratory.layout
    site = layout.named(site_name)
    kind = "expired" if is_expired else "tls"
    name = f"{site.name}-{kind}"
    keystone_port = site.port("keystone") + PORT_STEPS[is_expired]
    laboratory.processes.spawn(
        name,
        [sys.executable, "-m", "lab.openstack.fronting", layout.directory, site.name, kind],
        environment={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        ready_at=f"{LOOPBACK}:{keystone_port}",
    )
    laboratory.processes.wait_until_ready([name])
    clouds = yaml.safe_load((layout.directory / "clouds.yaml").read_text())["clouds"]
    ours = {cloud: facts for cloud, facts in clouds.items() if cloud.startswith(f"{site.name}-")}
    for facts in ours.values():
        facts["auth"]["auth_url"] = f"https://{LOOPBACK}:{keystone_port}/v3"
        facts["cacert"] = str(_place(layout, site_name, kind) / "ca.pem")
    path = layout.directory / f"clouds-{kind}.yaml"
    path.write_text(yaml.safe_dump({"clouds": ours}, sort_keys=False))
    return path


def _place(layout: Layout, site_name: str, kind: str) -> Path:
    return layout.directory / kind / site_name


def main() -> int:
    directory, site_name, kind = sys.argv[1:]
    layout = Layout.load(Path(directory))
    site = layout.named(site_name)
    is_expired = kind == "expired"
    served = [name for name in PORTS if name in layout.projects]
    loop = Loop()
    front = SiteFront(
        {name: site.url(name) for name in served},
        loop=loop,
        host=LOOPBACK,
        ports={name: site.port(name) + PORT_STEPS[is_expired] for name in served},
        tls=Authority(_place(layout, site_name, kind)).server(is_expired=is_expired),
    )
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    front.close()
    loop.close()
    return 0


if __name__ == "__main__":
    # Blocked before any thread is there, or the thread would be ended by them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
