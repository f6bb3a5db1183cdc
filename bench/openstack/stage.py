"""Who takes part in a benchmark: the site, Farsite with the VIM registered, Tacker if it is there, and for
each shape of the package the contenders that have it, warm."""

from bench.openstack.contest import Contender, watch
from bench.openstack.floor import PlainHeat, recipe
from bench.openstack.package import Shape
from bench.openstack.peers.installation import TackerPeer
from bench.openstack.peers.tacker import Tacker
from bench.openstack.product import Api, Farsite, onboard, register
from bench.openstack.site import Account, Site
from bench.orchestrator import Service

_VIM = "measured"


class Stage:
    """One site, one project, and those who deploy in it."""

    def __init__(self, *, site: Site, account: Account, running: Service, peer: TackerPeer | None) -> None:
        self.site = site
        self.account = account
        self.running = running
        self.peer = peer
        self.api = Api(running)
        self.cloud = account.connect()
        self._is_registered = False
        self._contenders: dict[Shape, list[Contender]] = {}

    def contenders(self, shape: Shape) -> list[Contender]:
        """Plain Heat, Farsite and, where it can deploy the shape, Tacker; each has had a turn already.

        Raises:
            NotMeasured: one of them cannot do it at all.
        """
        if shape not in self._contenders:
            self._contenders[shape] = list(self._enter(shape))
        return self._contenders[shape]

    def _enter(self, shape: Shape) -> list[Contender]:
        if not self._is_registered:
            register(self.api, _VIM, self.account)
            self._is_registered = True
        ours = Farsite(self.api, onboard(self.api, shape), _VIM)
        found: list[Contender] = [self._floor(ours), ours]
        if self.peer is not None and shape is not Shape.DERIVED:
            found.append(Tacker(self.peer, self.account, shape))
        for contender in (found[0], *found[2:]):
            contender.turn(1)
        return found

    def _floor(self, ours: Farsite) -> PlainHeat:
        """The floor makes what Farsite makes, so Farsite goes first."""
        vnfs = ours.create(1)
        operations = [ours.instantiate(one) for one in vnfs]
        watch(operations, ours.completed)
        (name,) = [one.name for one in self.cloud.orchestration.stacks()]
        made = recipe(self.cloud, name)
        operations = [ours.terminate(one) for one in vnfs]
        watch(operations, ours.completed)
        ours.forget(vnfs)
        return PlainHeat(self.cloud, made)
