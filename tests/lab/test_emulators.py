"""Every kept example of a vendor's document is answered by its emulator as the document says."""

import json
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx2
import pytest
from lab.emulators.products import PRODUCTS
from lab.emulators.server import Served
from lab.faults.certificates import Authority

EXAMPLES = Path(sys.modules["lab.emulators"].__file__ or "").parent / "examples"
KEPT = sorted(EXAMPLES.glob("*/*.json"))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return Authority(tmp_path_factory.mktemp("authority")).server()


@pytest.fixture
def served(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[Served]:
    product = PRODUCTS[request.param]
    with Served(product.make(secret=product.default_secret, minute_s=60.0), tls=tls) as one:
        yield one


def ask(client: httpx2.Client, asked: dict[str, object], headers: dict[str, str]) -> httpx2.Response:
    """One request of an example."""
    given = asked.get("headers")
    sent = {**headers, **(given if isinstance(given, dict) else {})}
    if "form" in asked:
        return client.request(asked["method"], asked["path"], data=asked["form"], headers=sent)
    if "json" in asked:
        return client.request(asked["method"], asked["path"], json=asked["json"], headers=sent)
    return client.request(asked["method"], asked["path"], headers=sent)


def shape_differs(told: object, kept: object, where: str = "") -> str:
    """Where an answer has not the shape of the document's; what the document shows must be there."""
    if isinstance(kept, dict):
        if not isinstance(told, dict):
            return f"{where}: {told!r} is no object"
        for name, inner in kept.items():
            if name not in told:
                return f"{where}: {name} is missing of {sorted(told)}"
            if said := shape_differs(told[name], inner, f"{where}/{name}"):
                return said
    elif isinstance(kept, list):
        if not isinstance(told, list) or (kept and not told):
            return f"{where}: {told!r} is not such a list"
        return next(
            (said for one in told[:1] if kept and (said := shape_differs(one, kept[0], f"{where}/0"))), ""
        )
    elif type(told) is not type(kept):
        return f"{where}: {told!r} is not such as {kept!r}"
    return ""


def xml_differs(told: ElementTree.Element, kept: ElementTree.Element) -> str:
    """Where an answer has not the elements of the document's, or other attributes."""
    for name, value in kept.attrib.items():
        if told.get(name) != value:
            return f"{kept.tag}: {name} is {told.get(name)}, not {value}"
    for inner in kept:
        found = told.find(inner.tag)
        if found is None:
            return f"{kept.tag}: {inner.tag} is missing"
        if said := xml_differs(found, inner):
            return said
    return ""


@pytest.mark.parametrize(
    ("served", "path"),
    [pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}") for path in KEPT],
    indirect=["served"],
)
def test_a_documented_request_is_answered_as_documented(served: Served, path: Path) -> None:
    """An adapter that was written from the same document meets here what the vendor promised there."""
    kept = json.loads(path.read_text())
    with httpx2.Client(base_url=served.url, verify=False, timeout=20) as client:
        known: dict[str, str] = {}
        headers: dict[str, str] = dict(kept.get("headers", {}))
        for asked in kept.get("before", []):
            answer = ask(client, filled(asked, known), headers)
            assert answer.status_code < 400 or asked.get("may_fail"), answer.text
            for name, pattern in asked.get("remember", {}).items():
                found = re.search(pattern, answer.text)
                assert found, f"{pattern} is not in {answer.text}"
                known[name] = found[1]
        answer = ask(client, filled(kept["request"], known), headers)
    assert answer.status_code == kept["answer"]["status"], answer.text
    if "xml" in kept["answer"]:
        said = xml_differs(
            ElementTree.fromstring(answer.content), ElementTree.fromstring(kept["answer"]["xml"])
        )
        assert said == "", answer.text
        return
    body = kept["answer"].get("body")
    if body is None:
        return
    if kept.get("compare") == "exact":
        assert answer.json() == body
    else:
        assert shape_differs(answer.json(), body) == ""


def filled(asked: dict[str, object], known: dict[str, str]) -> dict[str, object]:
    """The request with what earlier answers said in place of `{name}`."""
    text = json.dumps(asked)
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return json.loads(text)


def test_every_example_says_where_and_when_it_was_read() -> None:
    """An emulator is worth as much as its source."""
    assert len(KEPT) > 20
    for path in KEPT:
        source = json.loads(path.read_text())["source"]
        assert source.get("address") or source.get("repository"), path
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", source["read"]), path


@pytest.mark.parametrize("product", sorted(PRODUCTS))
def test_an_emulated_device_says_that_it_is_emulated(product: str, tls: ssl.SSLContext) -> None:
    """Nobody shall take what passed here for proved on the device."""
    made = PRODUCTS[product]
    with (
        Served(made.make(secret=made.default_secret, minute_s=60.0), tls=tls) as served,
        httpx2.Client(base_url=served.url, verify=False) as client,
    ):
        told = client.get("/emulator")
        assert told.json()["label"] == "emulated"
        assert told.headers["X-Emulated"] == product
