"""What a function runs is backed up, compared and put back: on the device, over the API, through a broker."""

import json
import os
import shutil
import signal
from pathlib import Path

import httpx2
import pytest
import yaml
from balancer_device import Balancer, until
from bench_parts import applied, document
from benches import BENCHES

from farsite.cli.app import main
from farsite.model.errors import VnfFault
from farsite.vnfs.adapter import Backup, Outcome, Wanted
from farsite.vnfs.broker.jobs import JobVerb, since
from farsite.vnfs.dictionary import read
from farsite.vnfs.new_adapter import begin
from farsite.vnfs.shell_adapter import ShellAdapter
from farsite.vnfs.transports.local import LocalShell
from ssh_device import NEEDED, free_port

ON_A_DEVICE = [
    *NEEDED,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(shutil.which(one) for one in BENCHES["haproxy"].programs),
        reason="haproxy or socat is not there",
    ),
]


def names_adapter(directory: Path, check: str = "") -> tuple[ShellAdapter, Path]:
    """This machine, with a product whose configuration is a file; and that file."""
    config, folder = directory / "farsite.conf", begin("names", directory / "adapters")
    if check:
        stated = yaml.safe_load((folder / "adapter.yaml").read_text())
        (folder / "adapter.yaml").write_text(yaml.safe_dump(stated | {"check": check}))
    adapter = ShellAdapter(
        read(folder),
        LocalShell(),
        device="names-1",
        parameters={"config": str(config)},
        keep_in=str(directory / "kept"),
    )
    return adapter, config


@pytest.mark.parametrize("content", ["192.0.2.1 one\n", "192.0.2.1 one", "192.0.2.1 one\n\n\n", "", None])
async def test_a_file_comes_back_to_the_letter_or_goes_again(tmp_path: Path, content: str | None) -> None:
    """How it ended, that it was empty, that there was none: products mind each of these."""
    # Products differ in what they take; this one takes anything.
    adapter, config = names_adapter(tmp_path, check="true")
    if content is not None:
        config.write_text(content)
    backup = await adapter.back_up()
    await applied(adapter, document(dns={"records": [{"name": "two", "value": "192.0.2.2"}]}), "first")
    await adapter.confirm("first")
    assert "192.0.2.2" in config.read_text()

    wanted = Wanted(backup=backup)
    plan = await adapter.plan(wanted, await adapter.fetch())
    await adapter.apply(wanted, plan, change_id="second", confirm_within_s=60)
    await adapter.confirm("second")

    assert (config.read_text() if config.exists() else None) == content
    assert not (await adapter.plan(wanted, await adapter.fetch())).changes


async def test_a_backup_that_the_product_refuses_by_now_changes_nothing(tmp_path: Path) -> None:
    """Its software may have been upgraded since."""
    adapter, config = names_adapter(tmp_path)
    config.write_text("192.0.2.1 one\n")
    damaged = Backup(texts=dict.fromkeys((await adapter.back_up()).texts, "no address at all\n"))
    wanted = Wanted(backup=damaged)
    with pytest.raises(VnfFault, match="nothing was changed"):
        await adapter.plan(wanted, await adapter.fetch())
    assert config.read_text() == "192.0.2.1 one\n"
    assert await adapter.outcome("first") is Outcome.NONE


def test_a_broker_that_knows_no_backups_is_not_asked_to_put_one_back() -> None:
    """It would not see the backup in the job, and make an empty document run."""
    assert since(JobVerb.BACK_UP) == 3
    assert since(JobVerb.APPLY) == 1
    assert since(JobVerb.APPLY, of_a_backup=True) == 3
    assert since(JobVerb.UPGRADE) == 2


class TestOnADevice:
    """An HAProxy behind an sshd."""

    pytestmark = ON_A_DEVICE

    def test_what_people_made_by_hand_comes_back_with_the_version_that_was_current(
        self, balancer: Balancer
    ) -> None:
        """The document alone would bring back less than what ran."""
        assert balancer.configure(document=balancer.document(), cause="first")["state"] == "COMPLETED"
        config = balancer.directory / "farsite.cfg"
        config.write_text(config.read_text() + "# by hand: do not touch before Monday\n")
        stood = balancer.runs
        taken = balancer.ask("POST", "/backups", 201, json={"cause": "before the audit"})
        assert (taken["number"], taken["configuration"], taken["adapter"]) == (1, 1, "haproxy")
        assert taken["places"] == [{"place": "haproxy", "size_bytes": len(stood)}]
        assert taken["software_version"]
        assert not balancer.ask("POST", "/backups/1/plan")["changes"]

        assert balancer.configure(document=balancer.document(weight=7))["state"] == "COMPLETED"
        assert "before Monday" not in balancer.runs
        plan = balancer.ask("POST", "/backups/1/plan")
        assert "+# by hand: do not touch before Monday" in plan["differences"][0]["diff"]
        restored = balancer.ended(balancer.ask("POST", "/backups/1/restore", 202, json={"cause": "back"}))
        assert restored["state"] == "COMPLETED", restored
        assert balancer.runs == stood
        assert httpx2.get(f"http://127.0.0.1:{balancer.port}/", trust_env=False).status_code == 200

        newest = balancer.ask("GET", "/configuration/versions/3")
        assert (newest["state"], newest["restores"], newest["backup"]) == ("CURRENT", 1, 1)
        assert newest["cause"] == "back"
        assert newest["document"] == balancer.ask("GET", "/configuration/versions/1")["document"]
        # What the hand made is no part of the document, so it is seen.
        assert balancer.ask("GET", "/configuration/drift")["has_drifted"]

    @pytest.mark.parametrize("balancer", ["direct"], indirect=True)
    def test_what_ran_before_us_comes_back(self, balancer: Balancer) -> None:
        """Whoever begins to manage a function can go back to how it was found."""
        config = balancer.directory / "farsite.cfg"
        was = f"frontend found\n    mode http\n    bind 127.0.0.1:{free_port()}\n    http-request deny\n"
        config.write_text(was)
        assert balancer.ask("POST", "/backups", 201, json={})["configuration"] == 0
        assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
        assert balancer.runs != was
        assert (
            balancer.ended(balancer.ask("POST", "/backups/1/restore", 202, json={}))["state"] == "COMPLETED"
        )
        assert balancer.runs == was
        # Nothing of ours shall run, so nothing can drift from it.
        assert not balancer.ask("GET", "/configuration/drift")["has_drifted"]

    @pytest.mark.parametrize("balancer", ["direct"], indirect=True)
    def test_a_backup_that_makes_the_function_unwell_is_taken_back(self, balancer: Balancer) -> None:
        """What was well then may not be well now."""
        assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
        gone = balancer.document(members=[{"name": "web-1", "address": "127.0.0.1", "port": free_port()}])
        config, well = balancer.directory / "farsite.cfg", balancer.runs
        members = gone["load_balancer"]["pools"][0]["members"]
        config.write_text(well.replace(f"127.0.0.1:{balancer.web}", f"127.0.0.1:{members[0]['port']}"))
        balancer.ask("POST", "/backups", 201, json={})
        config.write_text(well)

        asked = balancer.ask("POST", "/backups/1/restore", 202, json={"confirm_within_s": 8})
        ended = balancer.ended(asked)
        assert ended["state"] == "ROLLED_BACK", ended
        assert "DOWN" in ended["error"]["detail"]
        assert balancer.runs == well
        version = balancer.ask("GET", "/configuration/versions/2")
        assert (version["state"], version["backup"]) == ("REVERTED", 1)

    @pytest.mark.parametrize("balancer", ["direct"], indirect=True)
    def test_what_is_in_a_backup_is_told_to_nobody(self, balancer: Balancer) -> None:
        """Neither by the API, nor by the database file: passwords and keys of the device are in it."""
        assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
        config = balancer.directory / "farsite.cfg"
        config.write_text(balancer.runs + "# enable password hunter-two\n")
        told = json.dumps(balancer.ask("POST", "/backups", 201, json={}))
        told += json.dumps(balancer.ask("GET", "/backups")) + json.dumps(balancer.ask("GET", "/backups/1"))
        assert "hunter-two" not in told
        held = b"".join(path.read_bytes() for path in (balancer.directory / "data").glob("farsite.db*"))
        assert b"hunter-two" not in held

    @pytest.mark.parametrize("balancer", ["direct"], indirect=True)
    def test_what_cannot_be_done_is_refused_with_the_next_step(self, balancer: Balancer) -> None:
        """Before an operation is accepted that could only fail."""
        assert "has no backup 7. It has none yet" in balancer.ask("GET", "/backups/7", 404)["detail"]
        balancer.ask("POST", "/backups/x/restore", 404, json={})
        balancer.ask("POST", "/backups", 201, json={})
        assert "There are 1." in balancer.ask("POST", "/backups/2/restore", 404, json={})["detail"]
        balancer.ask("POST", "/backups/1/restore", 422, json={"confirm_within_s": 241})
        managed_by = balancer.ask("GET", "/management")
        balancer.ask("PUT", "/management", json={**managed_by, "adapter": "dnsmasq", "parameters": {}})
        other = balancer.ask("POST", "/backups/1/plan", 409)
        assert "--adapter haproxy" in other["detail"]
        balancer.ask("PUT", "/management", json=managed_by)

        operation = balancer.ask("POST", "/configure", 202, json={"document": balancer.document()})
        assert operation["id"] in balancer.ask("POST", "/backups", 409, json={})["detail"]
        assert balancer.ended(operation)["state"] == "COMPLETED"
        balancer.device.stop()
        try:
            assert balancer.ask("POST", "/backups", 504, json={})["detail"]
        finally:
            balancer.device.start()
        balancer.ask("DELETE", "/backups/1", 204)
        assert balancer.ask("GET", "/backups") == []
        balancer.ask("POST", "/backups/1/restore", 404, json={})
        assert balancer.ask("POST", "/backups", 201, json={})["number"] == 2
        balancer.ask("DELETE", "/management", 204)
        balancer.ask("POST", "/backups", 404, json={})

    @pytest.mark.parametrize("balancer", ["direct"], indirect=True)
    def test_an_operator_does_it_from_the_command_line(
        self, balancer: Balancer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Take, list, show, compare, put back, delete."""
        assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
        stood = balancer.runs

        monkeypatch.setenv("FARSITE_URL", balancer.service.url)
        monkeypatch.setenv("FARSITE_TOKEN", balancer.service.token)

        def said(*words: str) -> str:
            capsys.readouterr()
            main(("vnf", "backup", *words))
            told = capsys.readouterr()
            return told.out + told.err

        assert "farsite vnf backup restore lb 1" in said("create", "lb", "--cause", "monday")
        assert "monday" in said("list", "lb")
        assert f"{len(stood)} bytes" in said("show", "lb", "1")
        assert "Nothing would change." in said("plan", "lb", "1")
        assert balancer.configure(document=balancer.document(weight=9))["state"] == "COMPLETED"
        assert "weight 9" in said("plan", "lb", "1")
        said("restore", "lb", "1", "--wait")
        assert balancer.runs == stood
        said("delete", "lb", "1")
        assert "monday" not in said("list", "lb")

    @pytest.mark.parametrize("balancer", ["brokered"], indirect=True)
    def test_a_broker_that_is_killed_over_it_puts_a_backup_back_once(self, balancer: Balancer) -> None:
        """Whatever it was at is on its disk, with the backup."""
        assert balancer.configure(document=balancer.document())["state"] == "COMPLETED"
        stood = balancer.runs
        balancer.ask("POST", "/backups", 201, json={})
        assert balancer.configure(document=balancer.document(weight=5))["state"] == "COMPLETED"
        assert balancer.process is not None
        operation = balancer.ask("POST", "/backups/1/restore", 202, json={})
        for _ in range(3):
            balancer.process.strike()
        assert balancer.ended(operation)["state"] == "COMPLETED"
        assert balancer.runs == stood
        kept = balancer.directory / "broker"
        until(lambda: not list((kept / "jobs").iterdir()) and not list((kept / "answers").iterdir()))
        os.kill(int((balancer.directory / "pid").read_text()), signal.SIGTERM)
