"""Grounds: a furnished Farsite at rest on a store, made once per worker and copied for every scenario."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fault_lab import Lab, settings_of
from fault_processes import life
from fault_scenarios import prepare

from farsite.settings import Settings
from postgres_server import PostgresServer


@dataclass
class Ground:
    """An orchestrator's directory and database at rest, to be copied."""

    kind: str
    data_dir: Path
    database: str
    """Name of the PostgreSQL database; empty on SQLite."""
    instance_id: str = ""


class Grounds:
    """Makes grounds of one store, each once, and copies of them."""

    def __init__(self, kind: str, postgres: PostgresServer | None) -> None:
        self.kind = kind
        self._postgres = postgres
        self._made: dict[str, Ground] = {}
        self._copies: list[Ground] = []

    def furnished(self) -> Ground:
        """VIMs registered, samples onboarded."""
        if "" not in self._made:
            ground = self._new()
            life(self.settings(ground), Lab.furnish)
            self._made[""] = ground
        return self._made[""]

    def prepared(self, scenario: str) -> Ground:
        """An instance in the state that a scenario starts from."""
        if scenario not in self._made:
            ground = self._copy(self.furnished())
            ground.instance_id = str(life(self.settings(ground), prepare, scenario))
            self._made[scenario] = ground
        return self._made[scenario]

    def copy(self, scenario: str = "") -> Ground:
        """A ground of the caller's own, gone with `remove_copies`."""
        copied = self._copy(self.prepared(scenario) if scenario else self.furnished())
        self._copies.append(copied)
        return copied

    def remove_copies(self) -> None:
        while self._copies:
            self._remove(self._copies.pop())

    def remove(self) -> None:
        """Everything, when the run ends; the databases go with their server."""
        for ground in (*self._made.values(), *self._copies):
            shutil.rmtree(ground.data_dir, ignore_errors=True)

    def settings(self, ground: Ground, **changed: object) -> Settings:
        url = f"sqlite:///{ground.data_dir / 'farsite.db'}"
        if ground.database:
            assert self._postgres is not None
            url = self._postgres.url(ground.database)
        return settings_of(ground.data_dir, url, **changed)

    def _new(self) -> Ground:
        database = self._postgres.create() if self._postgres else ""
        return Ground(self.kind, Path(tempfile.mkdtemp(prefix="fsf-", dir="/tmp")), database)

    def _copy(self, ground: Ground) -> Ground:
        path = Path(tempfile.mkdtemp(prefix="fsf-", dir="/tmp"))
        shutil.copytree(ground.data_dir, path, dirs_exist_ok=True)
        database = self._postgres.create(template=ground.database) if self._postgres else ""
        return Ground(self.kind, path, database, ground.instance_id)

    def _remove(self, ground: Ground) -> None:
        shutil.rmtree(ground.data_dir, ignore_errors=True)
        if self._postgres:
            self._postgres.drop(ground.database)
