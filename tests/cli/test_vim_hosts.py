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
