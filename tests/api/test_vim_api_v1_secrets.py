"""The credentials of a VIM: encrypted in one table, and in clear nowhere that anybody can look."""

import base64
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
import structlog

from farsite.api.registering import known_credentials
from farsite.store import vims
from service_bench import Service

pytestmark = pytest.mark.slow

SECRETS = ("hunter2-first-9f1c", "hunter2-second-7ab3", "hunter2-refused-55d0", "hunter2-application-e2c1")


@pytest.fixture
def log(service: Service) -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, at the lowest level."""
    before = structlog.get_config()
    told = io.StringIO()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(told),
    )
    yield told
    structlog.configure(**before)


def _everything_stored(service: Service) -> bytes:
    """All rows of all tables of the database, the engine's own too, and all files of the data directory."""
    found = [path.read_bytes() for path in sorted(service.settings.data_dir.rglob("*")) if path.is_file()]
    engine = service.farsite.database.engine
    inspector = sa.inspect(engine)
    with engine.connect() as connection:
        for schema in inspector.get_schema_names():
            if schema in ("information_schema", "pg_catalog"):
                continue
            for table in inspector.get_table_names(schema=schema):
                rows = connection.execute(sa.text(f'SELECT * FROM "{schema}"."{table}"'))
                found += [_bytes(value) for row in rows for value in row]
    return b"\n".join(found)


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode()


def _forms(secret: str) -> list[bytes]:
    return [secret.encode(), base64.b64encode(secret.encode()), secret.encode().hex().encode()]


def test_a_password_is_nowhere_to_be_read(
    service: Service, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the database, its journal or the engine's rows, no file, no answer, no log; in no encoding."""
    answers: list[str] = []

    def ask(method: str, path: str, body: Any = None) -> httpx2.Response:
        answer = service.http.request(method, path, json=body)
        answers.append(answer.text + str(answer.headers))
        return answer

    first, second, refused, application = SECRETS
    vim = {
        "name": "secret",
        "type": "simulated",
        "auth_url": "http://secret.test:5000",
        "auth_cred": {"username": "nfv_user", "password": first},
        "vim_project": {"name": "nfv"},
    }
    vim_id = ask("POST", "/v1.0/vims.json", {"vim": vim}).json()["vim"]["id"]
    assert ask("PUT", f"/v1.0/vims/{vim_id}", {"vim": {"auth_cred": {"password": second}}}).status_code == 200
    wrong = {"credentials": {"password": refused}, "settings": {"world": "memory", "no such": refused}}
    assert ask("PATCH", f"/farsite/v1/vims/{vim_id}", wrong).status_code >= 400
    extra = {"application_credential_id": "a", "application_credential_secret": application}
    assert ask("PUT", f"/v1.0/vims/{vim_id}", {"vim": {"extra": extra}}).status_code == 200
    assert ask("POST", f"/farsite/v1/vims/{vim_id}/rotate-key").status_code == 204
    # It is really used: an instance is deployed with it, and a failing deployment tells of its failure.
    vnf_id = service.instantiated("on-secret", vim="secret")
    fault = {"kind": "fail_deployment", "settings": {"calls": 1, "reason": "host on fire"}}
    assert ask("POST", f"/farsite/v1/vims/{vim_id}/faults", fault).status_code == 204
    other = service.create_vnf(name="burnt")
    failing = ask("POST", f"/farsite/v1/vnfs/{other}/instantiate", {"vim": "secret"}).json()["id"]
    service.ended(failing)
    ask("GET", f"/farsite/v1/operations/{failing}/why")
    ask("POST", f"/farsite/v1/operations/{failing}/rollback")
    service.ended(failing)
    ask("POST", "/v1.0/vims", {"vim": {**vim, "name": ["x"], "nonsense": first}})
    for path in (
        f"/v1.0/vims/{vim_id}", "/v1.0/vims", f"/farsite/v1/vims/{vim_id}", "/farsite/v1/vims",
        f"/farsite/v1/operations/{failing}", "/farsite/v1/operations", "/farsite/v1/alarms", "/metrics",
        f"/farsite/v1/vims/{vim_id}/events", f"/farsite/v1/vims/{vim_id}/resources",
    ):  # fmt: skip
        assert ask("GET", path).status_code == 200, path

    with service.farsite.database.engine.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM vim_auth")).scalar_one() == 1
    everything = {
        "stored": _everything_stored(service),
        "answered": "\n".join(answers).encode(),
        "logged": log.getvalue().encode(),
    }
    assert log.getvalue(), "something was logged, so the log was looked at"
    found = [
        (place, secret) for place, text in everything.items() for secret in SECRETS
        for form in _forms(secret) if form in text
    ]  # fmt: skip
    assert found == []

    service.ended(service.native("POST", f"/vnfs/{vnf_id}/terminate", json={}).json()["id"])
    for one in (vnf_id, other):
        service.native("DELETE", f"/vnfs/{one}")
    assert ask("DELETE", f"/v1.0/vims/{vim_id}").status_code == 204
    assert not (service.settings.data_dir / "keys" / vim_id).exists(), "the key goes with its VIM"


def test_refused_credentials_do_not_replace_those_that_work(service: Service) -> None:
    """An operator who mistypes a password must not take a running site down by it."""
    body = {
        "name": "careful",
        "type": "simulated",
        "settings": {"world": "memory"},
        "credentials": {"username": "nfv", "password": "works"},
    }
    vim_id = service.native("POST", "/vims", json=body).json()["id"]
    broken = {"settings": {"world": "memory", "partition": True}, "credentials": {"password": "wrong"}}
    assert service.native("PATCH", f"/vims/{vim_id}", json=broken).status_code == 504

    after = service.native("GET", f"/vims/{vim_id}").json()
    assert after["state"] == "ACTIVE"
    assert after["settings"] == {"world": "memory"}

    with service.farsite.database.transaction() as connection:
        vim = vims.get_any(connection, vim_id)
    assert known_credentials(service.farsite.context, vim) == {"username": "nfv", "password": "works"}
    service.native("DELETE", f"/vims/{vim_id}")
