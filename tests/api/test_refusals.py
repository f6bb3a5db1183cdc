"""Every refusal in one form, whatever was wrong with the request."""

import errno
import json
import re
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from farsite.api.auth import ROLES, role_needed
from farsite.api.problem import ANSWERS, answer_to, problem_of
from farsite.model import errors
from farsite.model.access import Caller, Role
from farsite.model.ids import DEFAULT_PROJECT
from farsite.store.database import CommitInDoubt
from service_bench import Service, assert_is_problem


def _all_errors(kind: type[errors.FarsiteError]) -> Iterator[type[errors.FarsiteError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all_errors(below)


def test_every_error_of_the_tree_has_a_status() -> None:
    """A new error must be given a status on purpose, not fall to 500 by oversight."""
    own = [kind for kind in _all_errors(errors.FarsiteError) if kind.__module__ == errors.__name__]
    assert {kind.__name__ for kind in own} == {kind.__name__ for kind in own if kind in ANSWERS}
    # Too much at once is a refusal that says 503, so that the same request comes again in a moment.
    refusals = [one for one in own if issubclass(one, errors.Refused) and one is not errors.Overloaded]
    assert all(answer_to(kind("x")).status < 500 for kind in refusals)
    assert all(answer_to(kind("x")).status >= 502 for kind in own if issubclass(kind, errors.Unknown))


def test_a_commit_that_was_cut_short_is_not_told_as_a_refusal() -> None:
    """Who is told that nothing was changed asks again, and has two of what he wanted."""
    lost = CommitInDoubt("COMMIT", None, Exception("server closed"), connection_invalidated=True)
    answer = problem_of(lost)
    assert answer.status_code == 504
    assert "Retry-After" not in answer.headers
    assert b"may have happened or not" in answer.body


def _full_sqlite() -> BaseException:
    """What a database says that may not grow any more."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 8")
        connection.exec_driver_sql("CREATE TABLE much (it TEXT)")
        with pytest.raises(OperationalError) as told:
            connection.exec_driver_sql("INSERT INTO much VALUES (hex(randomblob(100000)))")
    engine.dispose()
    return told.value


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (_full_sqlite, "The database takes no writes: its disk is full"),
        (
            lambda: OperationalError("INSERT", None, psycopg.errors.DiskFull("could not extend file")),
            "The database takes no writes: its disk is full",
        ),
        (lambda: OSError(errno.ENOSPC, "No space left on device", "/data/x"), "(/data/x) cannot be written"),
        (lambda: OSError(errno.EROFS, "Read-only file system", "/data/x"), "is mounted read-only"),
    ],
    ids=["sqlite", "postgresql", "file", "read-only"],
)
def test_what_cannot_be_written_is_told_with_what_to_do(
    trouble: Callable[[], BaseException], words: str
) -> None:
    """An id of a trace in a log that cannot be written either would help nobody."""
    answer = problem_of(trouble())
    assert answer.status_code == 507
    body = json.loads(bytes(answer.body))
    assert words in body["detail"]
    assert "Nothing was changed. Make room" in body["detail"]
    assert int(answer.headers["Retry-After"]) > 0


def test_a_lack_of_file_descriptors_passes_and_says_so() -> None:
    """Who is refused for it comes again a moment later, elsewhere if there is another process."""
    answer = problem_of(OSError(errno.EMFILE, "Too many open files", "/data/x"))
    assert answer.status_code == 503
    assert b"LimitNOFILE" in answer.body


def _routes(service: Service) -> list[tuple[str, str]]:
    paths = service.app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def _version(path: str) -> dict[str, str]:
    """The header without which version 2 of ETSI's interfaces answers nothing."""
    return {"Version": "2.0.0"} if path.startswith("/vnflcm/v2/") else {}


@pytest.mark.slow
def test_nothing_is_served_to_strangers(service: Service) -> None:
    """Every route but health asks who it is, before anything else is looked at."""
    with service.http_as("") as nobody, service.http_as("fst_wrong") as stranger:
        for method, path in _routes(service):
            if path in ("/healthz", "/readyz", "/metrics"):
                continue
            for http in (nobody, stranger):
                answer = http.request(method, re.sub(r"{[^}]*}", "x", path), content=b"{")
                assert_is_problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert nobody.get("/healthz").status_code == 200
        assert nobody.get("/readyz").status_code == 200
        assert nobody.get("/farsite/v1/openapi.json").status_code == 200


def test_the_table_of_roles_names_routes_that_exist(service: Service) -> None:
    """A misspelt route in the table would leave the real one open to operators."""
    assert set(ROLES) <= set(_routes(service))


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.SOURCE, Role.READER, Role.OPERATOR])
def test_a_role_may_do_what_the_table_says_and_no_more(service: Service, role: Role) -> None:
    """Roles are checked before the body is: a reader learns nothing by trying."""
    with service.http_as(service.token_of(role, f"roles-{role}")) as http:
        for method, path in _routes(service):
            if "stream" in path or path.startswith(("/healthz", "/readyz", "/metrics")):
                continue
            answer = http.request(method, re.sub(r"{[^}]*}", "x", path), json={}, headers=_version(path))
            caller = Caller(name="one", project_id=DEFAULT_PROJECT, role=role)
            if path != "/farsite/v1/me" and not caller.may(role_needed(method, path)):
                assert_is_problem(answer, 403)
            else:
                assert answer.status_code not in (401, 403), (method, path, answer.text)


def test_a_revoked_token_stops_working(service: Service) -> None:
    """Whoever lost a token wants it dead now."""
    made = service.native("POST", "/tokens", json={"name": "lost", "role": "reader"}).json()
    with service.http_as(made["token"]) as http:
        assert http.get("/farsite/v1/me").json() == {
            "name": "lost", "project_id": "default", "role": "reader"
        }  # fmt: skip
        assert service.native("DELETE", "/tokens/lost").status_code == 204
        assert_is_problem(http.get("/farsite/v1/me"), 401)
    assert made["token"] not in service.native("GET", "/tokens").text


def test_what_is_not_there_is_not_found_on_every_route(service: Service) -> None:
    """Unknown ids, also under existing objects, are 404 with words, never 500."""
    for method, path in _routes(service):
        if "{" not in path or method not in ("GET", "DELETE"):
            continue
        asked = re.sub(r"{[^}]*}", "no-such-thing", path)
        answer = service.http.request(method, asked, headers=_version(path))
        # What only a broker may ask, not even an administrator learns of.
        admin = Caller(name="one", project_id=DEFAULT_PROJECT, role=Role.ADMIN)
        assert_is_problem(answer, 404 if admin.may(role_needed(method, path)) else 403)
    assert_is_problem(service.http.get("/farsite/v1/nonsense"), 404)


def test_a_wrong_method_names_those_that_are_possible(service: Service) -> None:
    """405 without Allow leaves the client guessing."""
    answer = service.native("PUT", "/vims")
    assert_is_problem(answer, 405)
    assert answer.headers["allow"] == "GET, POST"


def test_every_fault_of_a_body_is_named_with_its_path_and_no_value_is_echoed(service: Service) -> None:
    """A form with three mistakes is corrected in one go; a credential in it is not shown around."""
    body = {"nam": "x", "type": 7, "credentials": {"password": ["s3cret"]}, "settings": {"token": "s3cret"}}
    answer = service.native("POST", "/vims", json=body)
    faults = assert_is_problem(answer, 422)["faults"]
    assert {"body/name", "body/type", "body/nam"} <= {fault["path"] for fault in faults}
    assert any(fault["path"].startswith("body/credentials/password") for fault in faults)
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("content", [b"{", b"", b"[1,2", b"\xff\xfe{}", b"nonsense"])
def test_a_body_that_is_no_json_is_malformed(service: Service, content: bytes) -> None:
    """400 tells a client that its serialiser is at fault; 422 that its content is."""
    answer = service.native("POST", "/vnfs", content=content, headers={"Content-Type": "application/json"})
    assert_is_problem(answer, 400 if content else 422)


def test_a_body_that_is_too_large_by_its_own_account_is_refused_unread(service: Service) -> None:
    """Nobody fills our memory."""
    answer = service.native("POST", "/vnfs", json={"package": "x", "description": "y" * 2**21})
    assert "max_body_mib" in assert_is_problem(answer, 413)["detail"]


def test_a_body_that_grows_too_large_on_the_way_is_refused(service: Service) -> None:
    """A chunked body states no length."""

    def chunks() -> Iterator[bytes]:
        yield b'{"package": "'
        for _ in range(20):
            yield b"x" * 100_000
        yield b'"}'

    answer = service.native("POST", "/vnfs", content=chunks(), headers={"Content-Type": "application/json"})
    assert_is_problem(answer, 413)


def test_an_endless_query_and_swollen_headers_are_refused(service: Service) -> None:
    """Both have a bound of their own."""
    assert_is_problem(service.native("GET", "/vims", params={"filter": "x" * 9000}), 414)
    answer = service.native("GET", "/vims", headers={f"X-{at}": "y" * 4000 for at in range(10)})
    assert_is_problem(answer, 431)


@pytest.mark.parametrize(
    "query",
    [
        "filter=(eq,color,red)",
        "filter=nonsense",
        "filter=(eq,created_at,yesterday)",
        "filter=(eq,is_default,perhaps)",
        "page_size=0",
        "page_size=1001",
        "page_size=many",
        "nextpage_opaque_marker=%00",
        "nextpage_opaque_marker=!!!",
    ],
)
def test_a_list_that_cannot_be_asked_for_so_says_why(service: Service, query: str) -> None:
    """Bad filter syntax, unknown attributes and made-up markers are 400 (SOL013 clause 5.2)."""
    assert_is_problem(service.native("GET", f"/vims?{query}"), 400)


@pytest.mark.parametrize("odd", ["a\x00b", "\ud800", "x" * 10_000, "a/b", "'; DROP TABLE vims; --"])
def test_odd_names_are_refused_or_kept_whole(service: Service, odd: str) -> None:
    """Names come from strangers and go into a database, a log and a terminal."""
    import json

    answer = service.native(
        "POST",
        "/vims",
        content=json.dumps({"name": odd, "type": "simulated", "settings": {"world": "memory"}}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (201, 400, 422), answer.text
    if answer.status_code == 201:
        assert answer.json()["name"] == odd
        assert service.native("DELETE", f"/vims/{answer.json()['id']}").status_code == 204


def test_what_belongs_to_another_project_is_not_there(service: Service) -> None:
    """A tenant cannot even learn that the other has something."""
    vnf_id = service.create_vnf(name="ours")
    with service.http_as(service.token_of(Role.ADMIN, "others")) as others:
        for path in (
            "vims/sim",
            f"vnfs/{vnf_id}",
            "vnfs/ours",
            "packages/Farsite%20firewall",
            "nsds/chain-demo",
        ):
            assert_is_problem(others.get(f"/farsite/v1/{path}"), 404)
            assert_is_problem(others.delete(f"/farsite/v1/{path}"), 404)
        assert_is_problem(
            others.get(path := f"/vnflcm/v2/vnf_instances/{vnf_id}", headers=_version(path)), 404
        )
        assert_is_problem(others.post(f"/farsite/v1/vnfs/{vnf_id}/instantiate"), 404)
        for kind in ("vims", "vnfs", "packages", "nsds", "ns", "operations", "alarms", "events", "sites"):
            assert others.get(f"/farsite/v1/{kind}").json() == []
        answer = others.post("/farsite/v1/vnfs", json={"package": "Farsite firewall"})
        assert_is_problem(answer, 422)
        refused = others.post("/farsite/v1/tokens", json={"name": "x", "project_id": "default"})
        assert_is_problem(refused, 403)


def test_metrics_are_for_this_host_and_for_tokens(service: Service) -> None:
    """A scraper on the host needs no secret."""
    with service.http_as("") as nobody:
        assert "farsite_operations_ended_total" in nobody.get("/metrics").text


@pytest.mark.slow
def test_forty_clients_at_once_are_all_answered(service: Service) -> None:
    """A busy console does not starve anybody."""
    answers: list[int] = []

    def ask() -> None:
        with service.http_as(service.token) as http:
            answers.append(http.get("/farsite/v1/vnfs").status_code)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 40
