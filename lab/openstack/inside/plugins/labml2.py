"""An ML2 mechanism driver for a site without agents: every port is bound at once and ACTIVE.

The tree's own `logger` binds nothing, and `test` binds on hosts of fixed names only.
"""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api

VIF = {
    portbindings.VNIC_NORMAL: portbindings.VIF_TYPE_OVS,
    portbindings.VNIC_DIRECT: portbindings.VIF_TYPE_HW_VEB,
    portbindings.VNIC_MACVTAP: portbindings.VIF_TYPE_HW_VEB,
    portbindings.VNIC_DIRECT_PHYSICAL: portbindings.VIF_TYPE_HOSTDEV_PHY,
}


class LabMechanismDriver(api.MechanismDriver):
    """Binds normal ports as Open vSwitch would, and direct ones as an SR-IOV card."""

    def initialize(self):
        pass

    @property
    def connectivity(self):
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context):
        vnic = context.current.get(portbindings.VNIC_TYPE) or portbindings.VNIC_NORMAL
        vif = VIF.get(vnic)
        if vif is None or not context.segments_to_bind:
            return
        segment = context.segments_to_bind[0]
        details = {portbindings.CAP_PORT_FILTER: True}
        if vif == portbindings.VIF_TYPE_OVS:
            details[portbindings.OVS_HYBRID_PLUG] = False
        else:
            details["vlan"] = str(segment.get("segmentation_id") or 0)
        context.set_binding(segment[api.ID], vif, details, status=constants.PORT_STATUS_ACTIVE)
