"""Every registered verb. The shared fault test drives each of them by its being listed here."""

from farsite.lifecycle.heal_vnf import HEAL_VNF
from farsite.lifecycle.instantiate_ns import INSTANTIATE_NS
from farsite.lifecycle.instantiate_vnf import INSTANTIATE_VNF
from farsite.lifecycle.scale_vnf import SCALE_VNF
from farsite.lifecycle.terminate_ns import TERMINATE_NS
from farsite.lifecycle.terminate_vnf import TERMINATE_VNF
from farsite.lifecycle.world import World
from farsite.workflow.saga import Saga

VERBS: dict[str, Saga[World]] = {
    saga.verb: saga
    for saga in (INSTANTIATE_VNF, SCALE_VNF, HEAL_VNF, TERMINATE_VNF, INSTANTIATE_NS, TERMINATE_NS)
}
