"""Where everything of a laboratory lies: its directory, the sites in it, their addresses and ports.

The layout is decided by `up` and kept in the laboratory's directory, so that every later command, and every
test, knows it from there and from nowhere else.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
BUILD = CHECKOUT / ".build"
INSIDE = Path(__file__).parent / "inside"
PINS = Path(__file__).parent / "pins"
RELEASES = ("2026.2", "zed")
LOOPBACK = "127.0.0.1"
LAYOUT_FILE = "layout.json"
# The ports that OpenStack's documents use, to which a site adds its base.
PORTS = {
    "keystone": 5000,
    "nova": 8774,
    "placement": 8778,
    "neutron": 9696,
    "glance": 9292,
    "heat": 8004,
    "heat-cfn": 8000,
    "cinder": 8776,
}
# The third would reach into the range from which the kernel takes ports of outgoing connections.
PORT_BASES = (10000, 20000, 3000)
SITES_MAX = len(PORT_BASES)
ADMIN_PASSWORD = "adminpass"
MEMBER_PASSWORD = "nfvpass"
SERVICE_PASSWORD = "lab"


class LaboratoryFault(Exception):
    """The laboratory cannot do what was asked; the text says why and where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One region: its services, and which site's Keystone it belongs to."""

    number: int
    keystone_number: int
    address: str
    keystone_address: str
    port_offset: int
    namespace: str | None

    @property
    def name(self) -> str:
        """Also the region's name."""
        return f"site{self.number}"

    @property
    def has_keystone(self) -> bool:
        return self.keystone_number == self.number

    def port(self, service: str) -> int:
        number = self.keystone_number if service == "keystone" else self.number
        return PORT_BASES[number - 1] + PORTS[service] + self.port_offset

    def url(self, service: str) -> str:
        """Address of a service without a path; Keystone's is that of the site which has it."""
        address = self.keystone_address if service == "keystone" else self.address
        return f"http://{address}:{self.port(service)}"

    @property
    def auth_url(self) -> str:
        return f"{self.url('keystone')}/v3"

    def compute(self, number: int) -> str:
        """The name of a compute host."""
        return f"{self.name}-cmp{number}"

    def control_node(self, number: int) -> str:
        """The name of a control node beside the first, which has the machine's."""
        return f"{self.name}-ctl{number}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a laboratory consists of.

    `independent` sites have a Keystone each; `regions` more share the first one's. `zones` is how many
    availability zones a site's compute hosts are spread over (one is `nova`, the next `edge`). With
    `isolated` each site has a network namespace of its own. `port_offset` is added to every port, so that
    laboratories can run side by side.
    """

    directory: Path
    release: str = "2026.2"
    independent: int = 2
    regions: int = 0
    computes: int = 2
    zones: int = 1
    has_cinder: bool = True
    heat_threads: int = 64
    isolated: bool = False
    port_offset: int = 0
    compute_size: str = "{}"

    def __post_init__(self) -> None:
        if self.release not in RELEASES:
            raise LaboratoryFault(f"no release {self.release!r}; there are {', '.join(RELEASES)}")
        if not 1 <= self.independent + self.regions <= SITES_MAX or self.independent < 1:
            raise LaboratoryFault(f"{self.independent} sites and {self.regions} regions: at most {SITES_MAX}")
        # A Unix socket's name has 107 characters at most, and MariaDB's is in here.
        if len(str(self.directory)) > 90:
            raise LaboratoryFault(f"{self.directory} is too long a path; choose another with --directory")

    @property
    def is_packaged(self) -> bool:
        """Whether OpenStack comes from Debian's packages; else from PyPI, in an environment of its own."""
        return self.release == "zed"

    @property
    def environment(self) -> Path:
        return BUILD / f"openstack-{self.release}"

    @property
    def python(self) -> Path:
        """The interpreter that has OpenStack's programs."""
        return Path("/usr/bin/python3") if self.is_packaged else self.environment / "bin" / "python"

    @property
    def pins(self) -> Path:
        return PINS / f"{self.release}.txt"

    @property
    def name(self) -> str:
        """Short and different per laboratory of a machine: names of interfaces have 15 characters."""
        return f"fslab{self.port_offset // 100}"

    @property
    def host(self) -> str:
        """Where the database and the bus listen, which all sites share."""
        return self._address(1) if self.isolated else LOOPBACK

    def _address(self, last: int) -> str:
        # 198.18.0.0/15 is for tests of networks (RFC 2544) and in nobody's routing table.
        return f"198.18.{self.port_offset // 100 % 256}.{last}"

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        numbers = range(1, self.independent + self.regions + 1)
        return tuple(self._site(number) for number in numbers)

    def _site(self, number: int) -> Site:
        keystone_number = number if number <= self.independent else 1
        return Site(
            number=number,
            keystone_number=keystone_number,
            address=self._address(10 + number) if self.isolated else LOOPBACK,
            keystone_address=self._address(10 + keystone_number) if self.isolated else LOOPBACK,
            port_offset=self.port_offset,
            namespace=f"{self.name}-site{number}" if self.isolated else None,
        )

    def named(self, name: str) -> Site:
        """The site of that name.

        Raises:
            LaboratoryFault: there is none.
        """
        for site in self.sites:
            if site.name == name:
                return site
        raise LaboratoryFault(f"no site {name!r}; there are {', '.join(site.name for site in self.sites)}")

    @property
    def projects(self) -> tuple[str, ...]:
        """OpenStack's projects that run at every site."""
        all_of_them = ("keystone", "nova", "placement", "neutron", "glance", "heat", "cinder")
        return all_of_them if self.has_cinder else all_of_them[:-1]

    @property
    def database_port(self) -> int:
        return 11306 + self.port_offset

    @property
    def bus_port(self) -> int:
        return 11672 + self.port_offset

    @property
    def erlang_port(self) -> int:
        return 11371 + self.port_offset

    @property
    def epmd_port(self) -> int:
        return 11369 + self.port_offset

    def state(self, site: Site) -> Path:
        return self.directory / site.name

    def etc(self, site: Site) -> Path:
        """Where the configuration files of a site lie."""
        return self.state(site) / "etc"

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        told = dataclasses.asdict(self) | {"directory": str(self.directory)}
        (self.directory / LAYOUT_FILE).write_text(json.dumps(told, indent=1))

    @classmethod
    def load(cls, directory: Path) -> "Layout":
        """The layout of the laboratory in `directory`.

        Raises:
            LaboratoryFault: none was ever brought up there.
        """
        try:
            told = json.loads((directory / LAYOUT_FILE).read_text())
        except FileNotFoundError:
            raise LaboratoryFault(f"{directory} holds no laboratory; `up` makes one") from None
        return cls(**(told | {"directory": directory}))
