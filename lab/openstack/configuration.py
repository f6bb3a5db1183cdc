"""The configuration files of a site's services, and why they say what they say.

Intervals are short, so that a fault is noticed in seconds. No agent runs: ports are bound by a mechanism
driver of ours, guests and volumes by fake drivers. `keystonemiddleware` keeps tokens for five minutes, as in
the field.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.openstack import bus
from lab.openstack.database import Database
from lab.openstack.layout import INSIDE, SERVICE_PASSWORD, Layout, Site

Options = Mapping[str, object]
Sections = Mapping[str, Options]
FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "AggregateInstanceExtraSpecsFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    # Not among Nova's defaults, and what NUMA and SR-IOV need.
    "NUMATopologyFilter",
    "PciPassthroughFilter",
    "SameHostFilter",
    "DifferentHostFilter",
)
BACK_ENDS = ("lab", "lab2")
"""Cinder's; who wants volumes apart needs two."""
SILENT: Options = {"driver": "noop"}
NOTIFYING: Options = {"driver": "messagingv2", "topics": bus.TOPIC}
POOL: Options = {"max_pool_size": 5, "max_overflow": 20, "connection_recycle_time": 600}
RABBIT: Options = {"heartbeat_in_pthread": "false", "rabbit_qos_prefetch_count": 50}


def write_ini(path: Path, sections: Sections) -> None:
    """Write an oslo.config file; a list becomes an option given several times."""
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for name, value in options.items():
            values: Sequence[object] = value if isinstance(value, list) else [value]
            lines += [f"{name} = {one}" for one in values]
        lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


class Configuration:
    """Writes the files of one site."""

    def __init__(self, layout: Layout, site: Site) -> None:
        self._layout = layout
        self._site = site
        self._etc = layout.etc(site)
        self._state = layout.state(site)
        self._database = Database(layout)
        self._auth: Options = {
            "auth_type": "password",
            "auth_url": site.auth_url,
            "username": "service",
            "password": SERVICE_PASSWORD,
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": site.name,
        }
        self._tokens: Options = {
            **self._auth,
            "www_authenticate_uri": site.auth_url,
            "service_token_roles_required": "true",
            "service_token_roles": "admin",
            "token_cache_time": 300,
        }
        self._messaging: Options = {
            "debug": "false",
            "transport_url": bus.url(layout, site),
            "log_file": "",
            "use_stderr": "true",
            "rpc_response_timeout": 60,
            "executor_thread_pool_size": 16,
        }

    def write(self) -> None:
        """Write all files, and make the directories that they name."""
        for name in ("images", "staging", "tasks", "nova", "neutron", "cinder"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        nova = self.nova()
        files: dict[str, Sections] = {
            "placement.conf": self.placement(),
            "glance-api.conf": self.glance(),
            "nova.conf": nova,
            # A compute host must not see the databases.
            "nova-compute.conf": {
                name: options for name, options in nova.items() if name not in ("database", "api_database")
            },
            "neutron.conf": self.neutron(),
            "heat.conf": self.heat(),
        }
        if self._site.has_keystone:
            files["keystone.conf"] = self.keystone()
        if self._layout.has_cinder:
            files["cinder.conf"] = self.cinder()
        for name, sections in files.items():
            write_ini(self._etc / name, sections)

    def _connection(self, database: str) -> Options:
        return {**POOL, "connection": self._database.url(self._site, database)}

    def _lock_path(self, name: str) -> Options:
        return {"lock_path": self._state / name}

    def keystone(self) -> Sections:
        return {
            "DEFAULT": {"use_stderr": "true", "max_token_size": 512},
            "database": self._connection("keystone"),
            "token": {"provider": "fernet", "expiration": 14400},
            "fernet_tokens": {"key_repository": self._state / "fernet"},
            "fernet_receipts": {"key_repository": self._state / "fernet"},
            "credential": {"key_repository": self._state / "credential"},
            "identity": {"password_hash_rounds": 4},
            # oslo_cache.dict gives out what it holds, and Keystone changes it: credentials of Heat's users
            # could not be deleted any more (KeyError encrypted_blob).
            "cache": {"enabled": "true", "backend": "dogpile.cache.memory_pickle"},
            "oslo_messaging_notifications": SILENT,
        }

    def placement(self) -> Sections:
        return {
            "DEFAULT": {"use_stderr": "true"},
            "api": {"auth_strategy": "keystone"},
            "placement_database": self._connection("placement"),
            "keystone_authtoken": self._tokens,
        }

    def glance(self) -> Sections:
        site = self._site
        return {
            "DEFAULT": {
                **self._messaging,
                "bind_host": site.address,
                "bind_port": site.port("glance"),
                "workers": 0,
                "enabled_backends": "lab:file",
                "enabled_import_methods": "[glance-direct,web-download]",
                "node_staging_uri": f"file://{self._state / 'staging'}",
                "worker_self_reference_url": site.url("glance"),
            },
            "database": self._connection("glance"),
            "glance_store": {"default_backend": "lab"},
            "lab": {"filesystem_store_datadir": self._state / "images"},
            "os_glance_staging_store": {"filesystem_store_datadir": self._state / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": self._state / "tasks"},
            "keystone_authtoken": self._tokens,
            "paste_deploy": {"flavor": "keystone", "config_file": INSIDE / "paste" / "glance-paste.ini"},
            "oslo_messaging_notifications": SILENT,
        }

    def nova(self) -> Sections:
        site = self._site
        devices = [
            json.dumps(
                {
                    "vendor_id": "8086",
                    "product_id": "154c",
                    "address": f"0000:{number:02x}:*.*",
                    "physical_network": f"sriov{number}",
                }
            )
            for number in (1, 2)
        ]
        accelerator = {"vendor_id": "8086", "product_id": "37c8"}
        alias = accelerator | {"name": "qat", "device_type": "type-PCI"}
        return {
            "DEFAULT": {
                **self._messaging,
                "my_ip": site.address,
                "state_path": self._state / "nova",
                "osapi_compute_listen": site.address,
                "osapi_compute_listen_port": site.port("nova"),
                "osapi_compute_workers": 1,
                "compute_driver": "labnova.LabDriver",
                "vif_plugging_is_fatal": "false",
                "vif_plugging_timeout": 0,
                # With two hosts and an anti-affinity group a resize has no other host.
                "allow_resize_to_same_host": "true",
                "report_interval": 5,
                "service_down_time": 15,
                "reserved_host_memory_mb": 0,
                "reserved_host_disk_mb": 0,
                "cpu_allocation_ratio": 4.0,
                "ram_allocation_ratio": 1.0,
                "disk_allocation_ratio": 1.0,
                "instance_usage_audit": "false",
                "sync_power_state_interval": -1,
                "update_resources_interval": 15,
            },
            "api": {"auth_strategy": "keystone"},
            "api_database": self._connection("nova_api"),
            "database": self._connection("nova"),
            "wsgi": {"api_paste_config": INSIDE / "paste" / "nova-paste.ini", "keep_alive": "true"},
            "keystone_authtoken": self._tokens,
            "service_user": {**self._auth, "send_service_user_token": "true"},
            "placement": self._auth,
            "neutron": {**self._auth, "service_metadata_proxy": "false"},
            "glance": {"api_servers": site.url("glance")},
            "cinder": {
                **self._auth,
                "os_region_name": site.name,
                "catalog_info": "volumev3::publicURL",
            },
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": -1},
            "filter_scheduler": {
                "available_filters": "nova.scheduler.filters.all_filters",
                "enabled_filters": ",".join(FILTERS),
            },
            "conductor": {"workers": 1},
            "compute": {
                "live_migration_wait_for_vif_plug": "false",
                "cpu_shared_set": "",
                "resource_provider_association_refresh": 0,
            },
            "pci": {
                "device_spec": [*devices, json.dumps(accelerator)],
                "alias": json.dumps(alias),
                "report_in_placement": "true",
            },
            "vnc": {"enabled": "false"},
            "os_vif_ovs": {"isolate_vif": "false"},
            "oslo_concurrency": self._lock_path("nova"),
            "oslo_messaging_rabbit": RABBIT,
            "oslo_messaging_notifications": NOTIFYING,
            "notifications": {"notification_format": "both", "notify_on_state_change": "vm_state"},
            "upgrade_levels": {},
        }

    def neutron(self) -> Sections:
        return {
            "DEFAULT": {
                **self._messaging,
                "state_path": self._state / "neutron",
                "core_plugin": "ml2",
                "service_plugins": "router,qos,trunk,port_forwarding,flow_classifier,sfc",
                "api_paste_config": INSIDE / "paste" / "neutron-paste.ini",
                "auth_strategy": "keystone",
                "allow_overlapping_ips": "true",
                "dhcp_agent_notification": "false",
                "host": f"{self._site.name}-net",
                "notify_nova_on_port_status_changes": "true",
                "notify_nova_on_port_data_changes": "true",
                "global_physnet_mtu": 9000,
                "path_mtu": 9000,
                "dns_domain": "lab.",
                "vlan_transparent": "false",
            },
            "database": self._connection("neutron"),
            "keystone_authtoken": self._tokens,
            "nova": self._auth,
            "placement": self._auth,
            "ml2": {
                "type_drivers": "flat,vlan,vxlan,local",
                "tenant_network_types": "vxlan",
                # Ours binds; the other one is what the trunk and QoS plug-ins look for.
                "mechanism_drivers": "lab,openvswitch",
                "extension_drivers": "port_security,qos",
            },
            "ml2_type_flat": {"flat_networks": "*"},
            "ml2_type_vlan": {"network_vlan_ranges": "physnet1:100:999,sriov1:100:999,sriov2:100:999"},
            "ml2_type_vxlan": {"vni_ranges": "1:100000"},
            "securitygroup": {"enable_security_group": "true", "firewall_driver": "noop"},
            "sfc": {"drivers": "dummy"},
            "flowclassifier": {"drivers": "dummy"},
            "quotas": {
                "quota_port": 5000,
                "quota_network": 1000,
                "quota_subnet": 1000,
                "quota_router": 1000,
                "quota_security_group": 1000,
                "quota_security_group_rule": 10000,
                "quota_rbac_policy": 1000,
                "quota_port_chain": -1,
                "quota_port_pair": -1,
                "quota_port_pair_group": -1,
                "quota_flow_classifier": -1,
            },
            "oslo_concurrency": self._lock_path("neutron"),
            "oslo_messaging_rabbit": RABBIT,
            "oslo_messaging_notifications": SILENT,
        }

    def heat(self) -> Sections:
        site = self._site
        cloud_formation = site.url("heat-cfn")
        keys = ("auth_type", "auth_url", "username", "password", "user_domain_name")
        return {
            "DEFAULT": {
                **self._messaging,
                "num_engine_workers": 1,
                # A stack that waits for a nested one holds a thread. With 16, ten stacks of three nested ones
                # each wait for each other for ever, and say nothing.
                "executor_thread_pool_size": self._layout.heat_threads,
                "region_name_for_services": site.name,
                "heat_metadata_server_url": cloud_formation,
                "heat_waitcondition_server_url": f"{cloud_formation}/v1/waitcondition",
                "stack_user_domain_name": "heat",
                "stack_domain_admin": "heat_domain_admin",
                "stack_domain_admin_password": SERVICE_PASSWORD,
                "deferred_auth_method": "trusts",
                "auth_encryption_key": "0123456789abcdef" * 2,
                "max_stacks_per_tenant": 1000,
                # Not five, with pauses that grow: a refusal of Nova would be told after 80 s.
                "action_retry_limit": 1,
                "plugin_dirs": "",
                "environment_dir": self._state / "none",
                "template_dir": self._state / "none",
                "encrypt_parameters_and_properties": "false",
                "convergence_engine": "true",
                "server_keystone_endpoint_type": "public",
            },
            "heat_all": {"enabled_services": "engine,api,api_cfn"},
            # None would fork one API process per core, each of 180 MiB (heat-all, until 2024).
            "heat_api": {"bind_host": site.address, "bind_port": site.port("heat"), "workers": 1},
            "heat_api_cfn": {"bind_host": site.address, "bind_port": site.port("heat-cfn"), "workers": 1},
            "database": self._connection("heat"),
            "keystone_authtoken": self._tokens,
            "trustee": {key: self._auth[key] for key in keys},
            "clients": {"endpoint_type": "publicURL"},
            "clients_keystone": {"auth_uri": site.url("keystone")},
            "ec2authtoken": {"auth_uri": site.auth_url},
            "paste_deploy": {"api_paste_config": INSIDE / "paste" / "heat-paste.ini"},
            "oslo_messaging_rabbit": RABBIT,
            "oslo_messaging_notifications": NOTIFYING,
        }

    def cinder(self) -> Sections:
        site = self._site
        return {
            "DEFAULT": {
                **self._messaging,
                "my_ip": site.address,
                "state_path": self._state / "cinder",
                "auth_strategy": "keystone",
                "osapi_volume_listen": site.address,
                "osapi_volume_listen_port": site.port("cinder"),
                "osapi_volume_workers": 1,
                "api_paste_config": INSIDE / "paste" / "cinder-paste.ini",
                "enabled_backends": ",".join(BACK_ENDS),
                "default_volume_type": "__DEFAULT__",
                "glance_api_servers": site.url("glance"),
                "host": f"{site.name}-vol",
                "scheduler_default_filters": "AvailabilityZoneFilter,CapacityFilter,CapabilitiesFilter",
            },
            **{
                name: {"volume_driver": "lab_volume.LabVolumeDriver", "volume_backend_name": name}
                for name in BACK_ENDS
            },
            "database": self._connection("cinder"),
            "keystone_authtoken": self._tokens,
            "nova": self._auth,
            "service_user": {**self._auth, "send_service_user_token": "true"},
            "oslo_concurrency": self._lock_path("cinder"),
            "coordination": {"backend_url": f"file://{self._state / 'cinder'}"},
            "oslo_messaging_rabbit": RABBIT,
            "oslo_messaging_notifications": SILENT,
        }
