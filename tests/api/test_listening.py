"""What listeners do with more than they can take, and with settings that cannot be."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import snmp_senders
from farsite.model.errors import Invalid
from farsite.settings import Settings
from service_bench import Service, running
from syslog_senders import connected, counted, down, listening

# -- too much -----------------------------------------------------------------------------------------------


def test_a_flood_is_bounded_and_told_and_hides_nothing_that_comes_over_tcp(data_dir: Path) -> None:
    """A broadcast storm makes every switch shout. What is thrown away may have told of a fault, so that is an
    alarm; who sends over TCP waits and loses nothing; and the service answers all the while."""
    settings = listening(data_dir, listener_rate=20.0, listener_queue=100)
    with running(settings) as service:
        before = counted("rate")
        began_s = time.monotonic()
        with connected(service, "udp") as storm, connected(service, "tcp", "127.0.0.4") as patient:
            for number in range(3000):
                storm.sendall(down("storm", f"Gi0/{number}").encode())
            for number in range(100):
                body = down("patient", f"Gi0/{number}").encode()
                patient.sendall(b"%d %s" % (len(body), body))
            asked_s = time.monotonic()
            assert service.native("GET", "/vims").status_code == 200
            assert time.monotonic() - asked_s < 10
        found = service.until(lambda: alarms_in(service, "patient"), lambda seen: len(seen) == 100)
        assert {one["perceived_severity"] for one in found} == {"MAJOR"}
        service.until(lambda: counted("rate"), lambda seen: seen > before)
        # What the rate lets through, and twice that at once.
        heard = len(alarms_in(service, "storm"))
        assert heard <= 20 * (time.monotonic() - began_s + 2)
        (lost,) = service.until(lambda: alarms_in(service, service.farsite.settings.executor_id), bool)
        assert lost["specific_problem"] == "messages-lost/syslog"
        assert (lost["perceived_severity"], lost["object_kind"]) == ("WARNING", "farsite")


def alarms_in(service: Service, object_id: str) -> list[dict[str, Any]]:
    """All alarms of an object that has many."""
    params = {"filter": f"(eq,managed_object_id,{object_id})", "page_size": 1000}
    answer = service.native("GET", "/alarms", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_while_the_database_takes_nothing_messages_wait_and_none_is_lost(data_dir: Path) -> None:
    """Syslog cannot send again; so what was read waits, and what was not is left to TCP and to the kernel."""
    settings = listening(data_dir, listener_queue=20, intake_patience_s=0.5)
    with running(settings) as service:
        lost = sum(counted(one) for one in ("rate", "overflow", "failed", "stopped"))
        with closing(sqlite3.connect(data_dir / "farsite.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with connected(service, "udp") as datagrams, connected(service, "tcp") as stream:
                for number in range(200):
                    datagrams.sendall(down("held", f"udp-{number}").encode())
                    body = down("held", f"tcp-{number}").encode()
                    stream.sendall(b"%d %s" % (len(body), body))
                # Longer than a source is let wait: it was refused and came again.
                time.sleep(1.5)
                holder.execute("ROLLBACK")
                found = service.until(lambda: alarms_in(service, "held"), lambda seen: len(seen) >= 400)
        assert len({one["specific_problem"] for one in found}) == 400
        assert sum(counted(one) for one in ("rate", "overflow", "failed", "stopped")) == lost


def test_an_inform_that_is_not_recorded_is_not_answered(data_dir: Path) -> None:
    """Who is answered forgets; who is not sends it again, perhaps to another process."""
    with running(snmp_senders.listening(data_dir, intake_patience_s=0.5)) as service:
        with closing(sqlite3.connect(data_dir / "farsite.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            how = ["-r", "0", "-t", "2", *snmp_senders.as_v2c()]
            done = snmp_senders.send(
                snmp_senders.port_of(service),
                how,
                snmp_senders.LINK_DOWN,
                [*snmp_senders.interface(3), *snmp_senders.named("held")],
                inform=True,
            )
            assert done.returncode != 0, "answered, and not recorded"
            holder.execute("ROLLBACK")
        service.until(lambda: alarms_in(service, "held"), lambda seen: len(seen) == 1)


# -- settings -----------------------------------------------------------------------------------------------


def test_nobody_listens_where_no_setting_says_so(data_dir: Path) -> None:
    """An open port is the operator's decision."""
    with running(Settings(data_dir=data_dir, syslog_rules=str(data_dir / "none.yaml"))) as service:
        assert service.farsite.syslog.ports == {}
        assert service.farsite.snmp.port is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"syslog_rules": ""}, "FARSITE_SYSLOG_RULES"),
        ({"syslog_rules": "/nowhere/rules.yaml"}, "/nowhere/rules.yaml"),
        ({"syslog_udp": "514"}, "FARSITE_SYSLOG_UDP"),
        ({"syslog_tcp": "192.0.2.1:5514"}, "FARSITE_SYSLOG_TCP"),
        ({"syslog_tls_cert": ""}, "FARSITE_SYSLOG_TLS_CERT"),
        ({"syslog_tls_key": "/nowhere/key"}, "FARSITE_SYSLOG_TLS_CERT"),
        ({"syslog_tls_ca": "/nowhere/ca"}, "FARSITE_SYSLOG_TLS_CA"),
    ],
)
def test_a_listener_of_syslog_that_cannot_be_opened_stops_the_start_and_says_why(
    data_dir: Path, changes: dict[str, str], named: str
) -> None:
    """A service that starts deaf looks as if all were well."""
    with pytest.raises(Invalid) as refusal, running(listening(data_dir, **changes)):
        pass
    assert named in refusal.value.detail


@pytest.mark.parametrize(
    ("changes", "mode", "named_in_it"),
    [
        ({"snmp_rules": ""}, 0o600, "FARSITE_SNMP_RULES"),
        ({}, 0o644, "chmod o-r"),
        ({"snmp_traps": "192.0.2.1:162"}, 0o600, "FARSITE_SNMP_TRAPS"),
    ],
    ids=["no rules", "everybody reads them", "not our address"],
)
def test_a_listener_of_snmp_that_cannot_be_opened_stops_the_start_and_says_why(
    data_dir: Path, changes: dict[str, str], mode: int, named_in_it: str
) -> None:
    """A service that starts deaf looks as if all were well; and passwords are nobody else's."""
    settings = snmp_senders.listening(data_dir, **changes)
    (data_dir / "snmp.yaml").chmod(mode)
    with pytest.raises(Invalid) as refusal, running(settings):
        pass
    assert named_in_it in refusal.value.detail
