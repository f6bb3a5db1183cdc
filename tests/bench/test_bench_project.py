"""What the OpenStack benchmark removes from a site at its end."""

from bench.openstack.site import is_of


def test_only_stacks_of_the_benchmark_s_own_project_are_swept() -> None:
    """Heat lists an administrator every project's stacks; a sweep by that list takes what others work on."""
    mine, other = "31c6ef3f04ab43b38a55c93729c8d0c6", "a36dcfdd81b243b3b82815c13a71c38a"
    assert is_of(mine, f"http://127.0.0.1:18004/v1/{mine}/stacks/floor-1/d0c6")
    assert not is_of(mine, f"http://127.0.0.1:18004/v1/{other}/stacks/vnf-1/{mine}")
    assert not is_of("", f"http://127.0.0.1:18004/v1/{other}/stacks/vnf-1/d0c6")
