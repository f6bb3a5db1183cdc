"""The hosts of a VIM on the command line."""

import json

from command_bench import CommandLine

from service_bench import Service


def test_hosts_are_listed_filtered_and_shown_one_by_one(service: Service, farsite: CommandLine) -> None:
    """Who is woken asks for the hosts that are not well, and then for all that is known of one."""
    down = "RegionOne-nova-host-2"
    service.register("turin", hosts=3, tells_of_hosts=True)
    service.client.inject_fault("turin", "host_down", down)
    shown = service.until(
        lambda: json.loads(farsite("vim", "hosts", "turin", "-o", "json").out),
        lambda seen: "down" in [one["state"] for one in seen],
    )
    assert [one["state"] for one in shown] == ["up", "down", "up"]
    table = farsite("vim", "hosts", "turin", "--filter", "(neq,state,up)").out
    assert down in table
    assert "RegionOne-nova-host-1" not in table
    one = farsite("vim", "hosts", "turin", down).out
    assert "host-silent" in one
    assert "management: down" in one
    assert "fence, recover-after-fence" in one
    missing = farsite("vim", "hosts", "turin", "nowhere")
    assert "farsite vim hosts turin" in missing.err
    service.register("genoa")
    assert "may not see hosts" in farsite("vim", "hosts", "genoa").err


def test_an_audit_names_single_points_and_gives_a_score(service: Service, farsite: CommandLine) -> None:
    """For whoever has to say whether a site is fit for a service."""
    service.register("milan", hosts=2, tells_of_hosts=True)
    shown = service.until(lambda: farsite("vim", "audit", "milan"), lambda seen: "Score" in seen.err)
    assert "simulator" in shown.out
    assert "its loss is the service's" in shown.out
    assert "single point(s) of failure" in shown.err
    told = json.loads(farsite("vim", "audit", "milan", "-o", "json").out)
    assert f"Score {told['score']} of 100" in shown.err
