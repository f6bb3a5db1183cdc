"""Every registered verb. The shared fault test drives each of them by its being listed here."""

from farsite.lifecycle.change_vnf_connectivity import CHANGE_VNF_CONNECTIVITY
from farsite.lifecycle.change_vnf_package import CHANGE_VNF_PACKAGE
from farsite.lifecycle.configure_vnf import CONFIGURE_VNF
from farsite.lifecycle.heal_vnf import HEAL_VNF
from farsite.lifecycle.instantiate_ns import INSTANTIATE_NS
from farsite.lifecycle.instantiate_vnf import INSTANTIATE_VNF
from farsite.lifecycle.operate_vnf import OPERATE_VNF
from farsite.lifecycle.preempt_vnf import PREEMPT_VNF
from farsite.lifecycle.restore_vnf import RESTORE_VNF
from farsite.lifecycle.scale_vnf import SCALE_VNF
from farsite.lifecycle.terminate_ns import TERMINATE_NS
from farsite.lifecycle.terminate_vnf import TERMINATE_VNF
from farsite.lifecycle.upgrade_group import UPGRADE_GROUP
from farsite.lifecycle.upgrade_vnf import UPGRADE_VNF
from farsite.lifecycle.world import World
from farsite.workflow.saga import Saga

VERBS: dict[str, Saga[World]] = {
    saga.verb: saga
    for saga in (
        INSTANTIATE_VNF,
        SCALE_VNF,
        HEAL_VNF,
        OPERATE_VNF,
        PREEMPT_VNF,
        CHANGE_VNF_CONNECTIVITY,
        CHANGE_VNF_PACKAGE,
        CONFIGURE_VNF,
        RESTORE_VNF,
        UPGRADE_VNF,
        TERMINATE_VNF,
        INSTANTIATE_NS,
        TERMINATE_NS,
        UPGRADE_GROUP,
    )
}
