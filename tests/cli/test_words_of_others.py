"""What others wrote comes to the terminal as text, and what is typed for a number is one or is refused."""

import json
import unicodedata

import pytest
import yaml
from command_bench import CommandLine
from hypothesis import given
from hypothesis import strategies as st

from farsite.cli import printing
from service_bench import Service

TITLE = "\x1b]0;all is well\x07\x9b2J\x7f\u202egnihton"
"""Sets the title of a terminal's window, clears it, and turns the direction of what follows."""


def obeyed(text: str) -> list[str]:
    """What is no text: controls but for new lines and tabs, other ends of lines, turns of the direction."""
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return [
        one
        for one in text
        if (unicodedata.category(one) in ("Cc", "Zl", "Zp") and one not in "\n\t")
        or unicodedata.bidirectional(one) in turns
    ]


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Lu"])))
def test_no_text_keeps_what_a_terminal_obeys_and_no_other_is_changed(text: str) -> None:
    """Names in all scripts stay as they are; commands do not reach the terminal."""
    shown = printing.readable(text)
    assert not obeyed(shown)
    assert (shown == text) is not bool(obeyed(text))


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_program_reads_the_same_characters_that_a_terminal_does_not_obey(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document is looked at on a terminal too, and is still that document."""
    body = {"cause": TITLE, "name": "Zürich 東京", "lines": "one\ntwo"}
    # The form is one of those that a command line would have let through.
    printing.document(body, form)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert not obeyed(shown)
    assert "Zürich" in shown or form == "yaml"
    assert (json.loads if form == "json" else yaml.safe_load)(shown) == body


def test_the_words_of_a_vim_do_not_command_the_terminal(service: Service, farsite: CommandLine) -> None:
    """A VIM, a device or a monitoring system is not to decide what an operator sees."""
    service.register("hostile")
    service.onboard("webserver")
    fault = {"kind": "fail_deployment", "settings": {"reason": TITLE}}
    assert service.native("POST", "/vims/hostile/faults", json=fault).status_code == 204
    vnf_id = service.create_vnf()
    failed = farsite("vnf", "instantiate", vnf_id, "--vim", "hostile", "--wait")
    assert failed.code == 4
    for seen in (
        failed,
        farsite("op", "list"),
        farsite("op", "why", failed_operation(service)),
        farsite("op", "show", failed_operation(service)),
        farsite("op", "show", failed_operation(service), "-o", "json"),
    ):
        assert not obeyed(seen.out + seen.err), seen
    assert r"\x1b]0;all is well\x07\x9b2J\x7f\u202egnihton" in failed.out + failed.err


def failed_operation(service: Service) -> str:
    told = service.native("GET", "/operations", params={"filter": "(eq,state,FAILED_TEMP)"}).json()
    return told[0]["id"]


@pytest.mark.parametrize(
    "words",
    [
        ("op", "list", "--limit", "٣"),
        ("op", "list", "--limit", "0x10"),
        ("op", "list", "--limit", "1_000"),
        ("op", "list", "--limit", "2.5"),
        ("vnf", "instantiate", "x", "--wait", "--timeout", "nan"),
        ("vnf", "instantiate", "x", "--wait", "--timeout", "inf"),
        ("vnf", "instantiate", "x", "--wait", "--timeout", "1e3"),
        ("vnf", "instantiate", "x", "--wait", "--timeout", "３"),
        ("vnf", "config", "apply", "x", "x.yaml", "--confirm-within", "nan"),
        ("vnf", "heal", "x", "--repair", "reboot_soft=nan"),
        ("vnf", "heal", "x", "--repair", "reboot_soft=٣"),
    ],
)
def test_what_is_no_number_in_digits_is_refused_by_name(farsite: CommandLine, words: tuple[str, ...]) -> None:
    """Python takes `nan`, `0x10` and digits of other scripts for numbers; who typed them meant something
    else, and what the service was sent then was no JSON."""
    refused = farsite(*words)
    assert refused.code == 1
    said = refused.out + refused.err
    assert words[-1].rpartition("=")[2] in said
    assert "Traceback" not in said


def test_numbers_as_people_write_them_are_taken(service: Service, farsite: CommandLine) -> None:
    """A whole one, one with a point, and none at all where a text only looks like one."""
    assert farsite("op", "list", "--limit", "7").code == 0
    assert service.native("GET", "/vnfs").status_code == 200
    named = farsite("vnf", "show", "٣")
    assert named.code == 1
    assert 'No VNF instance "٣"' in named.err
