"""Variable parts of boot data: what is written, what becomes of it, and what is refused."""

import base64
import contextlib
import json
import shlex
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.boot_template import Part, fill, filled_document, has_secrets, kept_document, parts
from farsite.model.errors import Invalid

PLACED = {"vnf.name": "edge", "data.zone": "berlin", "port.data.address": "192.0.2.7"}
SECRETS = {"secret.password": 'it\'s "me"', "ssh.host_key": "-----BEGIN-----\nAAAA\n-----END-----\n"}


def placed(part: Part) -> str | None:
    return PLACED.get(part.name)


def secret(part: Part) -> str:
    return SECRETS[part.name]


def both(text: str) -> str:
    return fill(fill(text, placed, is_last=False), secret, is_last=True)


@given(st.text(st.sampled_from("${} ax\n")).filter(lambda text: "${{" not in text))
def test_a_text_without_parts_is_never_changed(text: str) -> None:
    """Packages of others are full of shell, Jinja and Heat parameters."""
    assert both(text) == text


@pytest.mark.parametrize("text", ["${HOME} $(id) $x", "{{ ds.meta_data }} {% if %}", "a: {b: {c: 1}}", "$$"])
def test_shells_and_templates_of_others_keep_their_words(text: str) -> None:
    """Nothing of them begins as a part does."""
    assert both(text) == text


def test_secrets_are_left_for_the_second_filling_and_the_rest_is_done_by_the_first() -> None:
    """What is recorded in between names secrets and holds none."""
    text = "name ${{ vnf.name }} at ${{port.data.address}} with ${{ secret.password }}"
    recorded = fill(text, placed, is_last=False)
    assert recorded == "name edge at 192.0.2.7 with ${{ secret.password }}"
    assert has_secrets(recorded)
    assert fill(recorded, secret, is_last=True) == 'name edge at 192.0.2.7 with it\'s "me"'


def test_lines_of_a_value_stand_under_its_first_one() -> None:
    """So that a key may stand in a block of YAML."""
    text = "ssh_keys:\n  ed25519_private: |\n    ${{ ssh.host_key }}\nend: 1\n"
    assert both(text) == (
        "ssh_keys:\n  ed25519_private: |\n    -----BEGIN-----\n    AAAA\n    -----END-----\nend: 1\n"
    )


def test_filters_make_a_value_safe_where_it_is_put() -> None:
    """A word of a shell, a string of JSON, and base64 for anything."""
    said = both("${{ secret.password | quote }}\n${{ secret.password|json }}\n${{ ssh.host_key | base64 }}")
    word, text, encoded = said.splitlines()
    assert shlex.split(word) == [SECRETS["secret.password"]]
    assert json.loads(text) == SECRETS["secret.password"]
    assert base64.b64decode(encoded).decode() == SECRETS["ssh.host_key"]


def test_a_value_between_other_words_or_in_quotes_is_not_moved() -> None:
    """Lines of a key in a shell word are the key's own."""
    assert both("  key=${{ ssh.host_key }}") == "  key=" + SECRETS["ssh.host_key"].rstrip("\n")
    said = both("    ${{ ssh.host_key | quote }}")
    assert shlex.split(said) == [SECRETS["ssh.host_key"]]


@given(st.text())
def test_a_string_of_json_is_one_of_yaml_too(value: str) -> None:
    """Whatever is in it, beyond the first plane of Unicode too."""
    value = value.encode(errors="replace").decode()
    text = fill("a: ${{ data.a | json }}\n", lambda _: value, is_last=True)
    assert yaml.safe_load(text) == {"a": value}


def test_a_value_that_would_run_into_what_follows_is_refused() -> None:
    """`$` before `{{` is where a part begins."""
    with pytest.raises(Invalid, match="Put something between"):
        fill("${{ data.a }}${{ secret.x }}", lambda one: None if one.is_secret else "US$", is_last=False)


def test_no_text_takes_long_to_read() -> None:
    """Whoever may onboard a package could hold everything up otherwise."""
    began = time.process_time()
    for text in (
        "${{" * 100_000,
        "${{ vnf.id" * 30_000,
        "$" * 300_000,
        "{{}}" * 80_000,
        "\n${{ a.b" * 40_000,
    ):
        with contextlib.suppress(Invalid):
            parts(text)
    assert time.process_time() - began < 5


def test_what_a_request_says_is_data_and_no_template() -> None:
    """Its author does not know of ours."""
    said = {"page": ["on: ${{ github.ref }}", 3], "cost": "$${{ 1 }}"}
    assert filled_document(kept_document(said), secret, is_last=True) == said


def test_a_mark_keeps_a_part_as_it_is_written() -> None:
    """For texts that are about this very form."""
    assert both("$${{ vnf.name }} is ${{ vnf.name }}") == "${{ vnf.name }} is edge"


@given(*[st.text(st.sampled_from("${} ax\n"))] * 2)
def test_a_value_is_never_taken_for_a_part(first: str, second: str) -> None:
    """Neither what an operator gave nor a secret is read a second time."""
    values = {"data.a": f"{first}${{{{ secret.password }}}}{second}", "secret.password": "${{ vnf.name }}"}

    def first_filling(part: Part) -> str | None:
        return None if part.is_secret else values[part.name]

    text = "a ${{ data.a | json }} b ${{ secret.password }}"
    done = fill(fill(text, first_filling, is_last=False), lambda part: values[part.name], is_last=True)
    assert done == f"a {json.dumps(values['data.a'])} b ${{{{ vnf.name }}}}"


def test_every_text_of_a_document_is_filled_in() -> None:
    """A configuration document is boot data too."""
    document = {"peers": [{"at": "${{ port.data.address }}"}], "n": 3, "up": True}
    assert filled_document(document, placed, is_last=True) == {
        "peers": [{"at": "192.0.2.7"}],
        "n": 3,
        "up": True,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n${{ vnf.nmae }}", 'Line 2: variable "vnf.nmae" is unknown'),
        ("${{ vnf.name | upper }}", 'filter "upper" of vnf.name is unknown. Filters: base64, json, quote'),
        ("${{ }}", "is no variable part"),
        ("${{ vnf name }}", "is no variable part"),
        ("${{ port.address }}", 'variable "port.address" is unknown'),
        ("${{ secret }}", 'variable "secret" is unknown'),
        ("a\nb ${{ vnf.name", 'Line 2: a variable part begins with "${{" and does not end with "}}" on that'),
        ("${{ vnf.name }} ${{ vnf.id\n}}", "does not end with"),
        ("${{ vnf.id }}" * 1001, "more than 1000"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line_and_what_is_known(text: str, said: str) -> None:
    """Before anything boots with it."""
    with pytest.raises(Invalid) as refused:
        parts(text)
    assert said in str(refused.value)
