"""Registering a VIM on the command line: where address and credentials may come from, and what is refused."""

import io
import json
import time
from pathlib import Path

import pytest
from command_bench import CommandLine

from cloud_bench import clouds, url_of
from farsite.cli.vim_access import AccessOptions, read
from farsite.model.errors import Invalid
from service_bench import Service

CONFIG = """
auth_url: https://keystone.example:5000/v3
username: nfv_user
password: from-the-file
project_name: nfv
project_domain_name: Default
user_domain_name: Default
cert_verify: 'False'
type: simulated
extra: {site: turin, region: RegionOne, rack: 7}
"""


def test_the_standard_clients_configuration_file_is_understood(farsite: CommandLine, tmp_path: Path) -> None:
    """Who comes from Tacker has these files; they say the same here."""
    config = tmp_path / "vim.yaml"
    config.write_text(CONFIG)
    done = farsite("vim", "register", "filed", "--config-file", str(config), "-o", "json")
    assert done.code == 0, done.err
    vim = json.loads(done.out)
    assert (vim["type"], vim["site"], vim["auth_url"]) == (
        "simulated", "turin", "https://keystone.example:5000/v3"
    )  # fmt: skip
    assert vim["identity"]["username"] == "nfv_user"
    assert vim["extra"] == {"site": "turin", "region": "RegionOne", "rack": 7}
    assert "from-the-file" not in done.out + done.err

    changed = farsite("vim", "update", "filed", "--site", "milan", "--extra", "jurisdiction=IT", "-o", "json")
    assert changed.code == 0, changed.err
    assert json.loads(changed.out)["extra"] == {
        "site": "milan", "region": "RegionOne", "rack": 7, "jurisdiction": "IT"
    }  # fmt: skip
    assert farsite("vim", "update", "filed", "--all-regions").code == 0
    assert "region" not in json.loads(farsite("vim", "show", "filed", "-o", "json").out)["settings"]
    assert farsite("vim", "rotate-key", "filed").code == 0
    usage = farsite("vim", "usage")
    assert "RegionOne" in usage.out
    assert farsite("vim", "delete", "filed").code == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Support for InfluxDB")  # told by the SDK as it is imported
def test_a_second_path_is_given_shown_and_taken_away(farsite: CommandLine, tmp_path: Path) -> None:
    """An operator who is woken by a lost path wants to see both, with what was heard."""
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    with clouds(2, first=63_000) as say:
        first, second = (url_of(number, first=63_000) for number in range(2))
        done = farsite(
            "vim", "register", "twofold", "--auth-url", first, "--second-auth-url", second,
            "--username", "nfv_user", "--project", "nfv", "--password-file", str(secret),
        )  # fmt: skip
        assert done.code == 0, done.err
        assert f"first ({first}" in _shown_with(farsite, "second (")
        say("lose 1 1")
        (line,) = [one for one in _shown_with(farsite, "LOST").splitlines() if "LOST" in one]
        assert f"second ({second}" in line
        assert "connection refused" in line
        both = farsite("vim", "update", "twofold", "--second-proxy", "http://127.0.0.1:3128")
        assert both.code != 0
        assert "Give one of them" in both.err
        changed = farsite("vim", "update", "twofold", "--second-auth-url", "", "-o", "json")
        assert changed.code == 0, changed.err
        assert "second_auth_url" not in json.loads(changed.out)["settings"]
        assert "LOST" not in farsite("vim", "show", "twofold").out


def _shown_with(farsite: CommandLine, words: str) -> str:
    """What is shown of the VIM as soon as that is in it."""
    shown, give_up_at = "", time.monotonic() + 30
    while words not in shown:
        assert time.monotonic() < give_up_at, shown
        shown = farsite("vim", "show", "twofold").out
    return shown


def test_a_vim_goes_into_maintenance_and_back(farsite: CommandLine, service: Service) -> None:
    """With the reason, which is what the next shift asks for."""
    service.register("serviced")
    out = farsite("vim", "update", "serviced", "--maintenance", "new power supply").out
    assert "MAINTENANCE" in out
    assert "new power supply" in out
    assert "ACTIVE" in farsite("vim", "update", "serviced", "--in-service").out
    assert farsite("vim", "delete", "serviced").code == 0


def test_options_are_laid_over_a_file(tmp_path: Path) -> None:
    """One file for many VIMs, and what differs on the command line."""
    config, secret = tmp_path / "vim.yaml", tmp_path / "secret"
    config.write_text(CONFIG)
    secret.write_text("from-elsewhere\n")
    access = read(AccessOptions(config_file=config, username="other", password_file=secret, region="West"))
    assert access.credentials["username"] == "other"
    assert access.credentials["password"] == "from-elsewhere"
    assert access.credentials["project_name"] == "nfv"
    assert access.region == "West"
    assert "from-elsewhere" not in repr(access)


def test_a_secret_is_read_from_standard_input_when_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password manager writes it there, and no file is needed."""
    monkeypatch.setattr("sys.stdin", io.StringIO("piped\n"))
    assert read(AccessOptions(username="u", password_file=Path("-"))).credentials["password"] == "piped"


def test_without_a_terminal_nobody_can_be_asked_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script must end with words and not wait for ever."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(Invalid, match="--password-file"):
        read(AccessOptions(username="u"))


def test_what_a_file_should_hold_and_does_not_is_said(tmp_path: Path) -> None:
    """An empty password would be tried on the VIM, and counted there as a failed sign-in."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for options, says in (
        (AccessOptions(username="u", password_file=empty), "empty"),
        (AccessOptions(username="u", password_file=tmp_path / "none"), "cannot be read"),
        (AccessOptions(ca_cert=empty), "no certificate"),
    ):
        with pytest.raises(Invalid, match=says):
            read(options)
