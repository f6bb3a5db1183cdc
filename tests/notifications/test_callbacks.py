"""Where notifications go and how they are authorised: judged addresses, credentials that nobody sees."""

import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from telling_bench import FM, Telling, an_alarm

from consumer_bench import OK, Answer, Consumer, Request, consumer, token_endpoint
from farsite.model.clock import SystemClock
from farsite.model.errors import Refused
from farsite.model.ids import ProjectId, SubscriptionId, new_id
from farsite.model.subscription import AuthType, Interface, Subscription
from farsite.notifications.calling import Caller, Came
from farsite.notifications.destinations import Destination, Destinations
from farsite.settings import Settings
from service_bench import assert_is_problem

_USER, _PASSWORD = "consumer", "hunter2-but-longer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "allowed_destinations"),
        ("http://[fe80::1]/x", "allowed_destinations"),
        ("http://224.0.0.1/x", "allowed_destinations"),
        ("http://0.0.0.0/x", "allowed_destinations"),
        ("ftp://127.0.0.1/x", "no http or https"),
        ("http://user:pw@127.0.0.1/x", "user name or password"),
        ("http://no-such-host.invalid/x", "has no address"),
        ("http://127.0.0.1:1/x", "did not pass its test"),
    ],
)
def test_an_address_that_may_not_or_cannot_be_called_is_refused(
    telling: Telling, uri: str, words: str
) -> None:
    """A subscription would otherwise make us ask what only this host can reach."""
    for path, body in (
        (f"{FM}/subscriptions", {"callbackUri": uri}),
        ("/farsite/v1/subscriptions", {"callback_uri": uri}),
    ):
        problem = assert_is_problem(telling.service.http.post(path, json=body), 422)
        assert words in problem["detail"]
    assert telling.service.native("GET", "/subscriptions").json() == []


@pytest.mark.slow
def test_an_endpoint_that_does_not_answer_204_is_refused(telling: Telling) -> None:
    """SOL003 clause 7.4.6.3.2: whoever does not expect notifications must not get any."""
    for answer, words in (
        (Answer(status=200), "answered 200 where 204"),
        (Answer(status=401), "401"),
        (Answer(status=None), "no answer within"),
    ):
        with consumer(lambda request, answer=answer: answer) as sink:
            problem = assert_is_problem(
                telling.service.http.post(f"{FM}/subscriptions", json={"callbackUri": sink.url}), 422
            )
            assert words in problem["detail"]


@pytest.mark.slow
def test_an_endpoint_is_tested_on_request(telling: Telling, sink: Consumer) -> None:
    """The first question when nothing arrives."""
    subscription = telling.subscribe_fm(sink)
    path = f"/subscriptions/{subscription}/test"
    assert telling.service.native("POST", path).json() == {"passed": True, "detail": ""}
    sink.close()
    failed = telling.service.native("POST", path).json()
    assert not failed["passed"]
    assert failed["detail"]
    telling.end(subscription)


@pytest.mark.slow
def test_a_consumer_with_a_password_is_shown_it_and_nobody_else_is(
    telling: Telling, capfd: pytest.CaptureFixture[str]
) -> None:
    """I-23: in no answer, no log, no database, no key file's name."""

    def behave(request: Request) -> Answer:
        return OK if request.headers.get("authorization", "").startswith("Basic ") else Answer(status=401)

    basic = {"authType": ["BASIC"], "paramsBasic": {"userName": _USER, "password": _PASSWORD}}
    with consumer(behave) as sink:
        made = telling.service.http.post(
            f"{FM}/subscriptions", json={"callbackUri": sink.url, "authentication": basic}
        )
        assert made.status_code == 201, made.text
        subscription = made.json()["id"]
        telling.raise_(an_alarm(new_id()))
        sink.until(lambda seen: len(seen) == 1)
        shown = [
            made.text,
            telling.service.http.get(f"{FM}/subscriptions/{subscription}").text,
            telling.service.native("GET", f"/subscriptions/{subscription}").text,
            telling.service.native("GET", "/subscriptions").text,
        ]
        # Refused ones are not echoed either.
        wrong = {"authType": ["TLS_CERT"], "paramsBasic": {"userName": _USER, "password": _PASSWORD}}
        refused = telling.service.http.post(
            f"{FM}/subscriptions", json={"callbackUri": sink.url, "authentication": wrong}
        )
        assert_is_problem(refused, 422)
        shown += [refused.text, "".join(capfd.readouterr())]
        assert not any(_PASSWORD in text for text in shown)
        dump = _everything_stored(telling)
        assert subscription in dump
        assert _PASSWORD not in dump
        keys = telling.service.settings.data_dir / "keys" / "subscriptions"
        assert [path.name for path in keys.iterdir()] == [subscription]
        telling.end(subscription)
        assert list(keys.iterdir()) == []


def _everything_stored(telling: Telling) -> str:
    from farsite.store.tables import metadata

    with telling.database.transaction() as connection:
        rows = [connection.execute(table.select()).all() for table in metadata.tables.values()]
    return repr(rows)


@pytest.mark.slow
def test_a_token_is_fetched_once_used_and_fetched_anew_when_it_is_refused(telling: Telling) -> None:
    """OAuth 2.0 client credentials: a revoked token delays one notification, not all for its lifetime."""
    tokens = ["first-token"]
    asked: list[str] = []

    def behave(request: Request) -> Answer:
        if request.path == "/token":
            asked.append(tokens[-1])
            # As RFC 6749 has it, id and password are encoded before they become Basic.
            return token_endpoint(request, ("me", "secret%20%26"), tokens[-1])
        is_known = request.headers.get("authorization") == f"Bearer {tokens[-1]}"
        return OK if is_known else Answer(status=401)

    with consumer(behave) as sink:

        def authentication(password: str) -> dict[str, object]:
            params = {
                "clientId": "me",
                "clientPassword": password,
                "tokenEndpoint": f"http://127.0.0.1:{sink.port}/token",
            }
            return {"authType": ["OAUTH2_CLIENT_CREDENTIALS"], "paramsOauth2ClientCredentials": params}

        wrong = {"callbackUri": sink.url, "authentication": authentication("wrong")}
        problem = assert_is_problem(telling.service.http.post(f"{FM}/subscriptions", json=wrong), 422)
        assert "without a token" in problem["detail"]
        asked.clear()
        subscription = telling.subscribe_fm(sink, authentication=authentication("secret &"))
        telling.raise_(*(an_alarm(new_id(), f"p/{number}") for number in range(5)))
        sink.until(lambda seen: len(seen) >= 5)
        assert len(asked) == 2, "once for the test, once for all notifications"
        tokens.append("second-token")
        telling.raise_(an_alarm(new_id()))
        sink.until(lambda seen: any(one.headers["authorization"] == "Bearer second-token" for one in seen))
        telling.end(subscription)


# -- TLS, below the API ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, a consumer's certificate for 127.0.0.1 and `localhost`, and one of ours."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    path = tmp_path_factory.mktemp("pki")
    now = dt.datetime.now(dt.UTC)
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])

    def sign(name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False) -> bytes:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            # What Python 3.13 and later demand besides (VERIFY_X509_STRICT).
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=is_authority,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(issuer_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    (path / "ca.pem").write_bytes(sign("authority", issuer_key, is_authority=True))
    for name in ("consumer", "farsite"):
        key = ec.generate_private_key(ec.SECP256R1())
        (path / f"{name}.pem").write_bytes(sign(name, key))
        (path / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return path


def _served_by(pki: Path, *, wants_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "consumer.pem", pki / "consumer.key")
    if wants_certificate:
        context.load_verify_locations(pki / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _subscription(uri: str, auth: AuthType | None = None) -> Subscription:
    return Subscription(
        id=SubscriptionId(new_id()),
        project_id=ProjectId("default"),
        interface=Interface.NATIVE,
        callback_uri=uri,
        auth=auth,
        created_at=SystemClock().now(),
    )


@pytest.fixture
def secure(pki: Path) -> Iterator[Consumer]:
    """A consumer behind TLS that wants to see a certificate."""
    with consumer(tls=_served_by(pki, wants_certificate=True)) as one:
        yield one


async def test_a_consumer_that_wants_our_certificate_sees_it(pki: Path, secure: Consumer) -> None:
    """TLS_CERT: the consumer knows who speaks by the connection itself."""
    settings = Settings(
        notify_ca_cert=str(pki / "ca.pem"),
        notify_client_cert=str(pki / "farsite.pem"),
        notify_client_key=str(pki / "farsite.key"),
    )
    caller = Caller(_subscription(secure.url, AuthType.TLS_CERT), {}, settings, Destinations())
    outcome = await caller.send(b"{}", {})
    await caller.close()
    assert outcome.came is Came.TAKEN, outcome
    certificate = secure.notifications[0].client_certificate
    assert certificate is not None
    assert "farsite" in repr(certificate["subject"])


async def test_a_consumer_whose_certificate_nobody_vouches_for_gets_nothing(pki: Path) -> None:
    """Whoever sits between us and the consumer would read every fault."""
    with consumer(tls=_served_by(pki)) as sink:
        caller = Caller(_subscription(sink.url), {}, Settings(), Destinations())
        outcome = await caller.send(b"{}", {})
        await caller.close()
    assert outcome.came is Came.SILENT
    assert "certificate" in outcome.detail
    assert sink.notifications == []


async def test_tls_is_checked_for_the_name_though_the_address_was_judged(pki: Path) -> None:
    """The connection goes to the judged number; the certificate must be that of the name."""

    with consumer(tls=_served_by(pki)) as sink:
        settings = Settings(notify_ca_cert=str(pki / "ca.pem"))
        uri = f"https://localhost:{sink.port}/told"
        caller = Caller(_subscription(uri), {}, settings, Destinations())
        assert (await caller.send(b"{}", {})).came is Came.TAKEN
        assert sink.notifications[0].headers["host"] == f"localhost:{sink.port}"
        await caller.close()

        class Elsewhere(Destinations):
            async def judge(self, url: str) -> Destination:
                name = "elsewhere.example"
                return replace(await super().judge(url), host=name, extensions={"sni_hostname": name})

        caller = Caller(_subscription(uri), {}, settings, Elsewhere())
        outcome = await caller.send(b"{}", {})
        await caller.close()
    assert outcome.came is Came.SILENT
    assert "elsewhere.example" in outcome.detail
    assert len(sink.notifications) == 1


async def test_a_name_that_comes_to_mean_something_else_is_judged_again(sink: Consumer) -> None:
    """DNS rebinding: what was harmless when it was subscribed may be the metadata service tomorrow."""
    judged: list[str] = []

    class Turning(Destinations):
        async def judge(self, url: str) -> Destination:
            judged.append(url)
            if len(judged) > 1:
                raise Refused("now it is a metadata service")
            return await super().judge(url)

    caller = Caller(_subscription(sink.url), {}, Settings(), Turning())
    assert (await caller.send(b"{}", {})).came is Came.TAKEN
    caller.forget_judgements()
    outcome = await caller.send(b"{}", {})
    await caller.close()
    assert outcome.came is Came.SILENT
    assert re.search("metadata", outcome.detail)
    assert len(sink.notifications) == 1


async def test_a_connection_that_the_consumer_closed_when_it_was_idle_costs_no_attempt() -> None:
    """Consumers close what is idle for seconds; the next notification must not count as failed for that."""

    def behave(request: Request) -> Answer:
        return Answer(status=204, headers={"Connection": "close"})

    with consumer(behave) as sink:
        caller = Caller(_subscription(sink.url), {}, Settings(), Destinations())
        for _ in range(3):
            assert (await caller.send(b"{}", {})).came is Came.TAKEN
        await caller.close()
    assert len(sink.notifications) == 3
