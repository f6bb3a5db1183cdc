"""The MariaDB that all sites of a laboratory share; a site's databases are called `s1_nova`.

It keeps nothing over a crash of the machine and is quick for that. Services may read what another transaction
has committed meanwhile: two compute hosts that report PCI devices at once deadlocked under MariaDB's default.
"""

import subprocess
from pathlib import Path

from lab.openstack.layout import SERVICE_PASSWORD, LaboratoryFault, Layout, Site
from lab.openstack.processes import Processes

NAME = "mysql"
USER = "os"


class Database:
    """The server of a laboratory, and its databases."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._socket = layout.directory / "mysql.sock"
        self._log = layout.directory / "log" / "mysql-setup.log"

    def start(self, processes: Processes, environment: dict[str, str]) -> None:
        """Make the server's files if there are none, start it, and let services in."""
        layout = self._layout
        data = layout.directory / "mysql"
        if not (data / "mysql").exists():
            data.mkdir(parents=True, exist_ok=True)
            self._run(
                [
                    *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"),
                    *("--auth-root-authentication-method=normal", "--skip-test-db"),
                ]
            )
        processes.spawn(
            NAME,
            [
                # As root: MariaDB's own account may not enter every checkout's directory.
                *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}"),
                *(f"--socket={self._socket}", f"--bind-address={layout.host}"),
                *(f"--port={layout.database_port}", f"--pid-file={data / 'own.pid'}"),
                *("--max-connections=2000", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"),
                *("--sync-binlog=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=256M"),
                *("--innodb-log-file-size=64M", "--transaction-isolation=READ-COMMITTED"),
                *("--performance-schema=OFF", "--skip-name-resolve"),
                *("--character-set-server=utf8mb3", "--collation-server=utf8mb3_general_ci"),
            ],
            environment=environment,
            ready_at=f"{layout.host}:{layout.database_port}",
        )
        processes.wait_until_ready([NAME])
        self.execute(
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{SERVICE_PASSWORD}'; "
            f"GRANT ALL ON *.* TO {USER}@'%'"
        )

    def url(self, site: Site, database: str) -> str:
        """As SQLAlchemy takes it."""
        layout = self._layout
        server = f"{USER}:{SERVICE_PASSWORD}@{layout.host}:{layout.database_port}"
        return f"mysql+pymysql://{server}/{name_of(site, database)}?charset=utf8"

    def execute(self, statements: str) -> None:
        """Run statements as the administrator.

        Raises:
            LaboratoryFault: one was refused.
        """
        self._run([*self._client("mariadb"), "-e", statements])

    def dump(self, database: str, path: Path) -> None:
        with path.open("wb") as out:
            command = [*self._client("mariadb-dump"), "--skip-comments", database]
            subprocess.run(command, stdout=out, check=True)

    def load(self, database: str, path: Path) -> None:
        with path.open("rb") as statements:
            subprocess.run([*self._client("mariadb"), database], stdin=statements, check=True)

    def _client(self, program: str) -> list[str]:
        return [program, "--no-defaults", "-uroot", "-S", str(self._socket)]

    def _run(self, command: list[str]) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
                raise LaboratoryFault(f"{command[0]} failed; see {self._log}")


def name_of(site: Site, database: str) -> str:
    return f"s{site.number}_{database}"
