"""Other tenants take room between our decision and the VIM's own: its scheduler has the last word."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from farsite.settings import Settings
from farsite.store.tables import allocations, capacity_claims
from postgres_server import PostgresServer
from service_bench import Service, running

PLENTY = {"memory_mib": 1_000_000, "disk_gib": 100_000, "hosts": 1}


@pytest.fixture(params=["sqlite", "postgresql"])
def tenants(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service that reads inventories when a VIM is registered, and then not for an hour by itself."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    url, drop = "", lambda: None
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create(template=request.getfixturevalue("_postgres_template"))
        url, drop = server.url(name), lambda: server.drop(name)
    try:
        with running(Settings(data_dir=data_dir, database_url=url, inventory_period_s=3600)) as service:
            for sample in ("firewall", "inspector", "probe", "webserver"):
                service.onboard(sample)
            service.onboard("chain-demo", "nsds")
            yield service
    finally:
        drop()
        shutil.rmtree(data_dir, ignore_errors=True)


def vim_of(service: Service, name: str, vcpus: int) -> str:
    """A VIM with so many places, its inventory read."""
    vim_id = service.register(name, world="memory", capacity={**PLENTY, "vcpus": vcpus})["id"]
    service.until(lambda: zone_of(service, name), lambda zone: zone.get("vcpus") == vcpus)
    return vim_id


def zone_of(service: Service, vim: str) -> Mapping[str, Any]:
    """What we know of the one zone of a VIM."""
    return next(iter(service.native("GET", f"/vims/{vim}").json()["zones"]), {})


def others_take(service: Service, vim: str, vcpus: int) -> None:
    body = {"kind": "others", "settings": {"vcpus": vcpus}}
    assert service.native("POST", f"/vims/{vim}/faults", json=body).status_code == 204


def others_leave(service: Service, vim: str) -> None:
    assert service.native("DELETE", f"/vims/{vim}/faults").status_code == 204


def look(service: Service, vim: str) -> None:
    """Have the inventory of a VIM read now."""
    assert service.native("PATCH", f"/vims/{vim}", json={"description": "changed"}).status_code == 200


def held(service: Service) -> tuple[dict[str, int], dict[str, int]]:
    """vCPUs per VIM by our books: the sum that is claimed by, and what the instances hold one by one."""
    with service.farsite.database.transaction() as connection:
        claims = connection.execute(sa.select(capacity_claims.c.pool, capacity_claims.c.vcpus)).all()
        held_by = connection.execute(sa.select(allocations.c.pool, allocations.c.vcpus)).all()
    one_by_one: Counter[str] = Counter()
    for pool, vcpus in held_by:
        one_by_one[pool] += vcpus
    return {pool: vcpus for pool, vcpus in claims if vcpus}, dict(one_by_one)


def standing(service: Service, vim: str) -> int:
    """How many VNFCs stand on a VIM by its own word."""
    told = service.native("GET", f"/vims/{vim}/resources").json()
    return sum(one["kind"] == "COMPUTE" for one in told)


def instantiate(service: Service, vnf_id: str, **want: str) -> Mapping[str, Any]:
    """The operation, once it has ended or rests."""
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json=want)
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def considered(service: Service, operation_id: str) -> dict[str, str]:
    told = service.native("GET", f"/operations/{operation_id}/placement").json()["considerations"]
    return {one["vim"]: one["filter"] or one["verdict"] for one in told}


def test_who_is_turned_away_by_one_vim_is_placed_on_another(tenants: Service) -> None:
    """The inventory said that there is room, and so did our books; the VIM says that there is none."""
    full, spare = vim_of(tenants, "full", 10), vim_of(tenants, "spare", 2)
    others_take(tenants, "full", 10)
    assert zone_of(tenants, "full")["vcpus_used"] == 0
    done = instantiate(tenants, tenants.create_vnf())
    assert done["state"] == "COMPLETED", done["error"]
    assert considered(tenants, done["id"]) == {"full": "turned-away", "spare": "CHOSEN"}
    assert held(tenants) == ({spare: 1}, {spare: 1})
    assert (standing(tenants, "full"), standing(tenants, "spare")) == (0, 1)
    # It was looked at when it had not what it promised, so the next is not sent there.
    assert zone_of(tenants, "full")["vcpus_used"] == 10
    done = instantiate(tenants, tenants.create_vnf())
    assert considered(tenants, done["id"]) == {"full": "capacity", "spare": "CHOSEN"}
    assert full not in held(tenants)[0]


def test_who_finds_no_other_place_rests_and_holds_nothing(tenants: Service) -> None:
    """What holds room while it waits for somebody keeps it from those who could use it. A retry places it
    anew, and a rollback has nothing left to do."""
    only = vim_of(tenants, "only", 3)
    others_take(tenants, "only", 3)
    vnf_id, other_id = tenants.create_vnf(), tenants.create_vnf()
    rests, other = instantiate(tenants, vnf_id, vim="only"), instantiate(tenants, other_id)
    assert rests["state"] == "FAILED_TEMP"
    assert "No valid host was found" in rests["error"]["detail"]
    assert "only: turned-away: had no room when it was asked" in rests["error"]["detail"]
    # The second was not sent there any more.
    assert other["state"] == "ROLLED_BACK"
    assert held(tenants) == ({}, {})
    assert standing(tenants, "only") == 0
    again = tenants.native("POST", f"/operations/{rests['id']}/retry")
    assert again.status_code == 202

    def looked_at() -> Mapping[str, Any]:
        return tenants.native("GET", f"/operations/{rests['id']}").json()

    def rests_again(seen: Mapping[str, Any]) -> bool:
        waits = [one for one in seen["steps"] if one["title"] == "Wait for the VIM"]
        return len(waits) == 2 and seen["state"] == "FAILED_TEMP" and waits[1]["state"] == "FAILED"

    rests = tenants.until(looked_at, rests_again)
    assert "1 vCPU asked for, 0 free" in rests["error"]["detail"]
    others_leave(tenants, "only")
    look(tenants, "only")
    assert tenants.native("POST", f"/operations/{rests['id']}/retry").status_code == 202
    tenants.in_state(rests["id"], "COMPLETED")
    assert held(tenants) == ({only: 1}, {only: 1})
    others_take(tenants, "only", 3)
    third = instantiate(tenants, other_id, vim="only")
    assert third["state"] == "FAILED_TEMP"
    assert tenants.native("POST", f"/operations/{third['id']}/rollback").status_code == 202
    tenants.in_state(third["id"], "ROLLED_BACK")
    assert held(tenants) == ({only: 1}, {only: 1})
    assert tenants.native("GET", f"/vnfs/{other_id}").json()["state"] == "NOT_INSTANTIATED"
    assert tenants.native("DELETE", f"/vnfs/{other_id}").status_code == 204


def scaled_out(service: Service, vnf_id: str, steps: int) -> Mapping[str, Any]:
    """The operation, once it has ended or rests."""
    body = {"type": "SCALE_OUT", "aspect_id": "servers", "steps": steps}
    answer = service.native("POST", f"/vnfs/{vnf_id}/scale", json=body)
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def retried(service: Service, operation_id: str, waited: int) -> Mapping[str, Any]:
    """The operation, once it has waited so often for its VIM and rests again."""
    assert service.native("POST", f"/operations/{operation_id}/retry").status_code == 202

    def rests_again(seen: Mapping[str, Any]) -> bool:
        waits = [one for one in seen["steps"] if one["title"] == "Wait for the VIM"]
        return len(waits) == waited and seen["state"] == "FAILED_TEMP" and waits[-1]["state"] == "FAILED"

    return service.until(lambda: service.native("GET", f"/operations/{operation_id}").json(), rests_again)


@pytest.mark.parametrize("ends", ["retry", "rollback"])
def test_what_grows_and_is_turned_away_holds_no_more_than_what_stands(tenants: Service, ends: str) -> None:
    """Others could use what a growth holds that rests for want of room, and its VIM shall not be left with
    half of it. A retry places anew what was to come."""
    only = vim_of(tenants, "only", 5)
    vnf_id, other_id = tenants.create_vnf(), tenants.create_vnf()
    assert instantiate(tenants, vnf_id)["state"] == "COMPLETED"
    others_take(tenants, "only", 3)
    rests = scaled_out(tenants, vnf_id, 3)
    assert rests["state"] == "FAILED_TEMP"
    assert "No valid host was found" in rests["error"]["detail"]
    assert "Nothing of what was to come is held" in rests["error"]["detail"]
    assert held(tenants) == ({only: 1}, {only: 1})
    assert standing(tenants, "only") == 1
    assert instantiate(tenants, other_id)["state"] == "COMPLETED"
    assert held(tenants) == ({only: 2}, {only: 2})
    rests = retried(tenants, rests["id"], 2)
    assert "1 vCPU asked for, 0 free" in rests["error"]["detail"]
    assert held(tenants) == ({only: 2}, {only: 2})
    if ends == "rollback":
        assert tenants.native("POST", f"/operations/{rests['id']}/rollback").status_code == 202
        tenants.in_state(rests["id"], "ROLLED_BACK")
        assert held(tenants) == ({only: 2}, {only: 2})
        assert standing(tenants, "only") == 2
        others_leave(tenants, "only")
        look(tenants, "only")
        assert scaled_out(tenants, vnf_id, 3)["state"] == "COMPLETED"
    else:
        # Our books have room by now, and the VIM has not.
        others_leave(tenants, "only")
        look(tenants, "only")
        tenants.until(lambda: zone_of(tenants, "only"), lambda zone: zone["vcpus_used"] == 2)
        others_take(tenants, "only", 2)
        rests = retried(tenants, rests["id"], 3)
        assert "No valid host was found" in rests["error"]["detail"]
        assert held(tenants) == ({only: 2}, {only: 2})
        others_leave(tenants, "only")
        look(tenants, "only")
        assert tenants.native("POST", f"/operations/{rests['id']}/retry").status_code == 202
        tenants.in_state(rests["id"], "COMPLETED")
    assert held(tenants) == ({only: 5}, {only: 5})
    assert standing(tenants, "only") == 5
    assert tenants.native("GET", f"/vnfs/{vnf_id}").json()["scale_levels"] == {"servers": 3}


def test_what_others_use_is_counted_beside_what_we_have_placed_since(tenants: Service) -> None:
    """The VIM's count is of the last inventory, and our books are of this moment: whoever takes the larger of
    the two sends a second one where the first has taken the last place."""
    shared = vim_of(tenants, "shared", 10)
    assert instantiate(tenants, tenants.create_vnf())["state"] == "COMPLETED"
    others_take(tenants, "shared", 7)
    look(tenants, "shared")
    assert zone_of(tenants, "shared")["vcpus_used"] == 8
    more = [instantiate(tenants, tenants.create_vnf()) for _ in range(3)]
    # The third was not even sent there, where it would have been turned away.
    assert [one["state"] for one in more] == ["COMPLETED", "COMPLETED", "ROLLED_BACK"]
    assert "1 vCPU asked for, 0 free" in more[2]["error"]["detail"]
    assert held(tenants) == ({shared: 3}, {shared: 3})


@pytest.mark.slow
def test_of_two_hundred_beside_another_tenant_exactly_those_stand_for_whom_there_is_room(
    tenants: Service,
) -> None:
    """150 places by our books, of which another tenant takes 20 after we have looked, and 5 on another VIM:
    the VIM turns away whom we placed too many, some of them find the 5, and the others hold nothing."""
    narrow, spare = vim_of(tenants, "narrow", 150), vim_of(tenants, "spare", 5)
    vnf_ids = [tenants.create_vnf() for _ in range(200)]
    others_take(tenants, "narrow", 20)

    def begin(vnf_id: str) -> str:
        answer = tenants.native("POST", f"/vnfs/{vnf_id}/instantiate", json={})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    with ThreadPoolExecutor(16) as threads:
        operation_ids = list(threads.map(begin, vnf_ids))
    ended = [tenants.ended(one) for one in operation_ids]
    states = Counter(one["state"] for one in ended)
    assert states["COMPLETED"] == 135, states
    assert states["COMPLETED"] + states["FAILED_TEMP"] + states["ROLLED_BACK"] == 200
    for vim in ("narrow", "spare"):
        look(tenants, vim)
    # By the VIMs' own count, the other tenant's 20 included.
    assert [zone_of(tenants, one)["vcpus_used"] for one in ("narrow", "spare")] == [150, 5]
    assert held(tenants) == ({narrow: 130, spare: 5}, {narrow: 130, spare: 5})
    turned_away = [one for one in ended if one["state"] == "FAILED_TEMP"]
    assert turned_away
    assert all("narrow: turned-away" in one["error"]["detail"] for one in turned_away)
