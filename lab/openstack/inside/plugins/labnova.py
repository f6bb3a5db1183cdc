"""A virt driver without hypervisor, but with NUMA cells, dedicated CPUs, huge pages and SR-IOV functions.

Nova's own fake driver has none of these, leaves snapshots queued for ever, forgets its guests with every
restart, and reports another node each time, so that nova-compute refuses its second start (2023.1). Sizes
come from LAB_COMPUTE (JSON), so that a test can have a small site.
"""

import io
import json
import os
import threading
import uuid
from pathlib import Path

import nova.conf
import os_resource_classes as orc
from nova.image import glance
from nova.objects import fields as obj_fields
from nova.objects import network_metadata, numa
from nova.pci import utils as pci_utils
from nova.virt import fake
from oslo_serialization import jsonutils

SIZE = {
    "cells": 2,
    "shared": 32,
    "dedicated": 16,
    "mem_mb": 131072,
    "pages_1g": 32,
    "pages_2m": 8192,
    "vfs": 8,
    "disk_gb": 2000,
}
SIZE.update(json.loads(os.environ.get("LAB_COMPUTE", "{}")))

CONF = nova.conf.CONF


def mac_of(address, **_):
    """The MAC of a device that no kernel knows, made of its address on the bus."""
    return "52:54:00:" + ":".join(address.replace(".", ":").split(":")[1:])[:8]


def function_number(address):
    return int(address.rsplit(".", 1)[1])


pci_utils.get_mac_by_pci_address = mac_of
pci_utils.get_vf_num_by_pci_address = function_number


def node_uuid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


class Guests(dict):
    """Guests by their UUID, kept in a file: they outlive a restart of nova-compute, as real ones do."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        # Nova works on several guests at once.
        self._saving = threading.Lock()
        if path.exists():
            for uid, (name, state) in json.loads(path.read_text()).items():
                super().__setitem__(uid, fake.FakeInstance(name, state, uid))

    def save(self):
        with self._saving:
            part = self.path.with_suffix(".new")
            guests = {uid: (guest.name, guest.state) for uid, guest in list(self.items())}
            part.write_text(json.dumps(guests))
            part.replace(self.path)

    def __setitem__(self, uid, guest):
        super().__setitem__(uid, guest)
        self.save()

    def __delitem__(self, uid):
        super().__delitem__(uid)
        self.save()

    def pop(self, *args):
        guest = super().pop(*args)
        self.save()
        return guest


class LabDriver(fake.FakeDriver):
    """What nova-compute drives at every host of the laboratory."""

    capabilities = fake.FakeDriver.capabilities | {"supports_pcpus": True}
    vcpus = SIZE["cells"] * SIZE["shared"]
    memory_mb = SIZE["cells"] * SIZE["mem_mb"]
    local_gb = SIZE["disk_gb"]

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self.instances = Guests(Path(CONF.state_path) / "guests.json")

    def power_off(self, *args, **kwargs):
        super().power_off(*args, **kwargs)
        self.instances.save()

    def power_on(self, *args, **kwargs):
        super().power_on(*args, **kwargs)
        self.instances.save()

    def _numa(self):
        per, cells = SIZE["shared"] + SIZE["dedicated"], []
        for i in range(SIZE["cells"]):
            first = i * per
            shared = set(range(first, first + SIZE["shared"]))
            dedicated = set(range(first + SIZE["shared"], first + per))
            small_kb = (SIZE["mem_mb"] - SIZE["pages_1g"] * 1024 - SIZE["pages_2m"] * 2) * 1024
            cells.append(
                numa.NUMACell(
                    id=i,
                    cpuset=shared,
                    pcpuset=dedicated,
                    memory=SIZE["mem_mb"],
                    cpu_usage=0,
                    memory_usage=0,
                    pinned_cpus=set(),
                    siblings=[{c} for c in sorted(shared | dedicated)],
                    mempages=[
                        numa.NUMAPagesTopology(size_kb=4, total=small_kb // 4, used=0),
                        numa.NUMAPagesTopology(size_kb=2048, total=SIZE["pages_2m"], used=0),
                        numa.NUMAPagesTopology(size_kb=1048576, total=SIZE["pages_1g"], used=0),
                    ],
                    network_metadata=network_metadata.NetworkMetadata(physnets=set(), tunneled=False),
                    socket=i,
                )
            )
        return numa.NUMATopology(cells=cells)

    def _pci(self):
        return [*(device for port in (1, 2) for device in self._functions(port)), *self._accelerators()]

    def _accelerators(self):
        """Cards of which a guest gets a whole one, one per NUMA cell."""
        for cell in (0, 1):
            yield {
                "vendor_id": "8086",
                "product_id": "37c8",
                "status": "available",
                "numa_node": cell,
                "address": f"0000:{16 + cell:02x}:00.0",
                "dev_type": obj_fields.PciDeviceType.STANDARD,
                "parent_addr": None,
                "label": "label_8086_37c8",
            }

    def _functions(self, port):
        """A physical function and its virtual ones, which hang on the NUMA cell of that number."""
        physical = f"0000:{port:02x}:00.0"
        shared = {"vendor_id": "8086", "status": "available", "numa_node": port - 1}
        yield shared | {
            "address": physical,
            "product_id": "1572",
            "dev_type": obj_fields.PciDeviceType.SRIOV_PF,
            "parent_addr": None,
            "label": "label_8086_1572",
        }
        for number in range(SIZE["vfs"]):
            yield shared | {
                "address": f"0000:{port:02x}:{1 + number // 8:02x}.{number % 8}",
                "product_id": "154c",
                "dev_type": obj_fields.PciDeviceType.SRIOV_VF,
                "parent_addr": physical,
                "label": "label_8086_154c",
                "parent_ifname": f"{self._host}-ens{port}",
            }

    def get_available_resource(self, nodename):
        status = super().get_available_resource(nodename)
        status["numa_topology"] = self._numa()._to_json()
        if "uuid" in status:  # 2023.1 and later: must survive a restart of the service
            status["uuid"] = node_uuid(nodename)
        status["pci_passthrough_devices"] = jsonutils.dumps(self._pci())
        return status

    def get_nodenames_by_uuid(self, refresh=False):  # noqa: ARG002 - Nova's signature
        return {node_uuid(n): n for n in self.get_available_nodes()}

    def update_provider_tree(self, provider_tree, nodename, allocations=None):
        super().update_provider_tree(provider_tree, nodename, allocations)
        inv = dict(provider_tree.data(nodename).inventory)
        total = SIZE["cells"] * SIZE["dedicated"]
        inv[orc.PCPU] = {
            "total": total,
            "min_unit": 1,
            "max_unit": total,
            "step_size": 1,
            "allocation_ratio": 1.0,
            "reserved": 0,
        }
        provider_tree.update_inventory(nodename, inv)

    def snapshot(self, context, instance, image_id, update_task_state):
        """The in-tree driver uploads nothing, so the image would stay queued for ever."""
        super().snapshot(context, instance, image_id, update_task_state)
        api = glance.API()
        image = api.get(context, image_id)
        image.update(status="active", disk_format="raw", container_format="bare")
        api.update(context, image_id, image, io.BytesIO(b"snapshot of %s\n" % instance.uuid.encode()))
