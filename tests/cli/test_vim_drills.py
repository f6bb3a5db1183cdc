"""Drills on the command line: what they would stop, what is seen in them, and what an audit makes of it."""

import json

from command_bench import CommandLine

from service_bench import Service


def ready(service: Service, vim: str, **settings: object) -> None:
    service.register(vim, hosts=2, controllers=2, tells_of_hosts=True, **settings)
    service.until(lambda: service.client.vim_audit(vim)["checks"], bool)
    service.until(lambda: service.client.vim(vim)["state"], lambda seen: seen == "ACTIVE")


def test_a_drill_says_what_it_would_stop_and_then_what_came_of_it(
    service: Service, farsite: CommandLine
) -> None:
    """Who types the name of the site twice has read what it costs."""
    ready(service, "pisa")
    asked = farsite("vim", "drill", "begin", "pisa", "scheduler")
    assert asked.code == 1
    assert 'Farsite stops scheduler on control-1 of VIM "pisa"' in asked.err
    assert "--confirm pisa" in asked.err
    nothing = farsite("vim", "drill", "list", "pisa")
    assert "No drill was run" in nothing.err

    done = farsite("vim", "drill", "begin", "pisa", "scheduler", "--hold", "2", "--confirm", "pisa", "--wait")
    assert done.code == 0, done.err
    assert "lost: service_down of scheduler@control-1 was injected" in done.err
    assert "outcome" in done.out
    assert "PROVEN" in done.out
    audit = farsite("vim", "audit", "pisa")
    assert "proven 0 h ago" in audit.out
    assert "Rules: small, because 4 machines." in audit.err
    (known,) = json.loads(farsite("vim", "drill", "list", "pisa", "-o", "json").out)
    shown = farsite("vim", "drill", "show", "pisa", known["id"])
    assert "other copies: met (1 other copy worked at the worst)" in shown.out
    late = farsite("vim", "drill", "end", "pisa", known["id"])
    assert (late.code, "has ended: PROVEN" in late.err) == (1, True)


def test_all_that_may_be_lost_is_drilled_one_after_the_other(service: Service, farsite: CommandLine) -> None:
    """The suite of a site: what cannot be lost safely is left out, and says so."""
    ready(service, "lucca", failover_s=0.2)
    service.client.inject_fault("lucca", "service_down", "api@control-2")
    # For a moment it answers nobody; then what is lost is told, however long ago the last reading was.
    refused = service.until(
        lambda: farsite("vim", "drill", "all", "lucca", "--confirm", "lucca"),
        lambda seen: "No answer from lucca" not in seen.err,
    )
    assert refused.err.count("left out: No drill") == 4, refused.err
    assert refused.err.count("api on control-2 is down") == 4, "the VIM is asked, not remembered"
    assert json.loads(farsite("vim", "drill", "list", "lucca", "-o", "json").out) == []
    service.native("DELETE", "/vims/lucca/faults")
    done = service.until(
        lambda: farsite("vim", "drill", "all", "lucca", "--hold", "1", "--confirm", "lucca", "-o", "json"),
        lambda seen: len(json.loads(seen.out)) == 4,
        within_s=120,
    )
    assert done.code == 0, done.err
    found = {one["about"]: one["outcome"] for one in json.loads(done.out)}
    assert found == dict.fromkeys(("api", "scheduler", "store", "nova"), "PROVEN")
    assert service.client.vim_audit("lucca")["proven_share"] == 1.0
