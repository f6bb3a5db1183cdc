"""A project of a test's own at a site: made before, looked through and removed after.

What a test leaves behind on an OpenStack is a fault of the orchestrator, so the project is asked for it
resource by resource, by an administrator who needs nothing that the test may have broken.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from laboratory import Account, LabSite
from openstack import exceptions
from openstack.connection import Connection

GONE_WITHIN_S = 120.0
POLL_S = 0.2
ROLES = ("member", "heat_stack_owner")
NO_LIMITS = {"instances": -1, "cores": -1, "ram": -1, "server_groups": 100, "server_group_members": 100}


class Project:
    """A project with one user, who is a member and may own stacks, and who sees the network `mgmt`."""

    def __init__(self, site: LabSite) -> None:
        self.site = site
        self.name = f"test-{uuid.uuid4().hex[:10]}"
        self.account: Account = replace(
            site.nfv, username=self.name, password=uuid.uuid4().hex, project_name=self.name
        )
        self._root = site.admin.connect()
        identity = self._root.identity
        project = identity.create_project(name=self.name, domain_id="default")
        self.project_id: str = project.id
        try:
            user = identity.create_user(
                name=self.name, password=self.account.password, domain_id="default", default_project=project
            )
            self.user_id: str = user.id
            for role in ROLES:
                identity.assign_project_role_to_user(project, user, identity.find_role(role))
            # The administrator works inside the project too, to see and to remove what is in it.
            identity.assign_project_role_to_user(
                project, self._root.current_user_id, identity.find_role("admin")
            )
            self.admin: Connection = replace(site.admin, project_name=self.name).connect()
            self._root.compute.put(
                f"/os-quota-sets/{self.project_id}", json={"quota_set": NO_LIMITS}
            ).raise_for_status()
            network = self._root.network.find_network("mgmt", ignore_missing=False)
            self._rbac = self._root.network.create_rbac_policy(
                object_type="network",
                object_id=network.id,
                action="access_as_shared",
                target_project_id=self.project_id,
            )
            self._flavours_before = self._flavours()
        except BaseException:
            identity.delete_project(self.project_id)
            raise

    def connect(self, **more: Any) -> Connection:
        """A connection as the project's user."""
        return self.account.connect(**more)

    def _flavours(self) -> set[str]:
        """Flavours that only this project may use, or whose name or description names the project.

        Those that everybody may use and that say nothing of the project belong to nobody.
        """
        mine: set[str] = set()
        for flavour in self._root.compute.flavors(details=True, is_public=None):
            if flavour.is_public:
                if self.project_id in f"{flavour.name} {flavour.description}":
                    mine.add(flavour.id)
                continue
            try:
                access = self._root.compute.get_flavor_access(flavour)
            except exceptions.HttpException as error:
                # Somebody else's, removed since the list was made; Nova may call that an error of its own.
                if error.status_code == 404 or "FlavorNotFound" in str(error):
                    continue
                raise
            if any(entry["tenant_id"] == self.project_id for entry in access):
                mine.add(flavour.id)
        return mine

    def _kinds(self) -> Iterator[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
        """What may be left: its word, how it is listed, how one is removed. Users of a thing come first."""
        c = self.admin
        own = {"project_id": self.project_id}
        yield "stack", self._stacks, lambda x: c.orchestration.delete_stack(x)
        yield "server", lambda: c.compute.servers(details=False), lambda x: c.compute.delete_server(x)
        yield (
            "server group",
            lambda: c.compute.server_groups(),
            lambda x: c.compute.delete_server_group(x),
        )
        yield "key pair", lambda: c.compute.keypairs(), lambda x: c.compute.delete_keypair(x)
        if c.has_service("volumev3"):
            yield (
                "snapshot",
                lambda: c.block_storage.snapshots(),
                lambda x: c.block_storage.delete_snapshot(x),
            )
            yield "volume", lambda: c.block_storage.volumes(), lambda x: c.block_storage.delete_volume(x)
        yield (
            "image",
            lambda: c.image.images(owner=self.project_id),
            lambda x: c.image.delete_image(x),
        )
        for path, word in (
            ("port_chains", "port chain"),
            ("flow_classifiers", "flow classifier"),
            ("port_pair_groups", "port pair group"),
            ("port_pairs", "port pair"),
        ):
            yield (
                word,
                lambda path=path: self._chaining(path),
                lambda x, path=path: c.network.delete(f"/sfc/{path}/{x['id']}"),
            )
        yield "floating IP", lambda: c.network.ips(**own), lambda x: c.network.delete_ip(x)
        yield "trunk", lambda: c.network.trunks(**own), lambda x: c.network.delete_trunk(x)
        yield "router", lambda: c.network.routers(**own), self._delete_router
        yield "port", lambda: self._ports(), lambda x: c.network.delete_port(x)
        yield "network", lambda: c.network.networks(**own), lambda x: c.network.delete_network(x)
        yield (
            "security group",
            lambda: (x for x in c.network.security_groups(**own) if x.name != "default"),
            lambda x: c.network.delete_security_group(x),
        )
        yield (
            "QoS policy",
            lambda: c.network.qos_policies(**own),
            lambda x: c.network.delete_qos_policy(x),
        )
        yield (
            "flavour",
            lambda: (
                self._root.compute.get_flavor(flavour)
                for flavour in sorted(self._flavours() - self._flavours_before)
            ),
            lambda x: self._root.compute.delete_flavor(x),
        )

    def _stacks(self) -> list[Any]:
        # Heat lists an administrator the stacks of all projects; whose they are shows in their links only.
        mine = f"/{self.project_id}/stacks/"
        return [
            one
            for one in self.admin.orchestration.stacks()
            # It lists one for a moment after it has deleted it, too.
            if mine in one.links[0]["href"] and one.status != "DELETE_COMPLETE"
        ]

    def _ports(self) -> Iterator[Any]:
        # A router's own ports go with its interfaces.
        for port in self.admin.network.ports(project_id=self.project_id):
            if not (port.device_owner or "").startswith("network:"):
                yield port

    def _delete_router(self, router: Any) -> None:
        network = self.admin.network
        for port in network.ports(device_id=router.id):
            if port.device_owner == "network:router_interface":
                network.remove_interface_from_router(router, port_id=port.id)
        network.delete_router(router)

    def _chaining(self, path: str) -> list[dict[str, Any]]:
        answer = self.admin.network.get(f"/sfc/{path}", params={"project_id": self.project_id})
        # A site without networking-sfc has no such things.
        return answer.json()[path] if answer.status_code == 200 else []

    def leftovers(self) -> list[str]:
        """Everything that is in the project, a line each: `server vdu-1 3f2a...`."""
        return [
            f"{word} {thing['name']} {thing['id']}"
            for word, list_all, _ in self._kinds()
            for thing in list_all()
        ]

    def sweep(self) -> None:
        """Remove everything that is in the project, and wait until it is gone.

        Raises:
            TimeoutError: something is still there after two minutes; names it.
        """
        give_up_at = time.monotonic() + GONE_WITHIN_S
        for word, list_all, delete in self._kinds():
            asked: set[str] = set()
            while things := list(list_all()):
                for thing in things:
                    # Asked again only after a refusal: it slows a stack's deletion down.
                    if thing["id"] not in asked:
                        asked.add(thing["id"])
                        try:
                            delete(thing)
                        except exceptions.ConflictException:
                            asked.discard(thing["id"])
                        except exceptions.NotFoundException:
                            continue
                if time.monotonic() > give_up_at:
                    names = ", ".join(f"{thing['name']} {thing['id']}" for thing in things)
                    raise TimeoutError(f"{word} still there after {GONE_WITHIN_S:.0f} s: {names}")
                time.sleep(POLL_S)

    def remove(self) -> list[str]:
        """Remove the project with its user and everything in it; what had been left in it."""
        left = self.leftovers()
        if left:
            self.sweep()
        self._root.network.delete_rbac_policy(self._rbac)
        # Neutron makes it by itself in every project, and keeps it when the project goes.
        for group in self._root.network.security_groups(project_id=self.project_id):
            self._root.network.delete_security_group(group)
        self._root.identity.delete_user(self.user_id)
        self._root.identity.delete_project(self.project_id)
        self.admin.close()
        self._root.close()
        return left
