"""Our own compact statement of SOL001's types: names, parents, properties and what values they take.

Facts of ETSI GS NFV-SOL 001, versions 2.5.1 to 4.4.1 (common, VNFD, NSD and PNFD types), as one union,
because a package seldom says which version it follows: whatever any version allows is allowed, and a
property or constraint is demanded only where every version demands it. The alternative, one statement
per version, would be eleven times as long and would still have to be guessed for most packages.
The test suite compares this text with ETSI's files, version by version.

The language, one type per paragraph:

    KIND NAME [< PARENT] [SINCE[..LAST]]      names of `tosca.KIND.nfv.` without that prefix
        PROPERTY[!]: VALUES                   `!` when every version requires it and none has a default
        capability NAME: TYPE
        requirement NAME: CAPABILITY [of NODE] LEAST..MOST
        targets: / members: / operations: names

VALUES are a type with constraints, alternatives separated by `|`, and `list of` or `map of` others.
`size`, `time`, `frequency` and `bitrate` are TOSCA's scalar units; `{a, b}` lists the valid values.
SINCE is the lowest version number that has the type. Two things are ours: the affinity scope `vim`, and block
storages among the targets of anti-affinity.
"""

STATEMENT = r"""
# data types
data AdditionalServiceData [4.2.1]
    portData!: list of ServicePortData
    serviceData: ServiceData | string
data AddressData [2.5.1]
    address_type!: string {mac_address, ip_address}
    l2_address_data: L2AddressData
    l3_address_data: L3AddressData
data BootData [2.7.1]
    vim_specific_properties: BootDataVimSpecificProperties
    kvp_data: KvpData
    content_or_file_data: ContentOrFileData
data BootDataVimSpecificProperties [2.7.1]
    vim_type: string
    properties!: map of string
data ChecksumData [2.6.1]
    algorithm!: string {sha-224, sha-256, sha-384, sha-512}
    hash!: string
data CivicAddressElement [2.5.1]
    ca_type!: string
    ca_value!: string
data ConnectivityType [2.5.1]
    layer_protocols!: list of string {ethernet, mpls, odu2, ipv4, ipv6, pseudo-wire}
    flow_pattern: string {line, tree, mesh}
data ContentOrFileData [2.7.1]
    data: map of string
    content: string
    source_path: string
    destination_path: string
data CpProtocolData [2.5.1]
    associated_layer_protocol!: string {ethernet, mpls, odu2, ipv4, ipv6, pseudo-wire}
    address_data: list of AddressData
data ExtendedResourceData [4.2.1]
    extended_resource!: map len>=1 len<=1 of string
    amount!: integer
data GeographicCoordinates [2.8.1]
    latitude_uncertainty: string
    latitude!: string
    longitude_uncertainty: string
    longitude!: string
    altitude_type!: string
    altitude_uncertainty: string
    altitude!: string
data Hugepages [4.2.1]
    hugepage_size!: size
    requested_size!: size
data InputOpCoordParams [3.7.1]
data InstantiationLevel [2.5.1]
    description!: string
    scale_info: map of ScaleInfo
data InterfaceDetails [2.5.1]
    uri_components: UriComponents
    interface_specific_data: map of string
data IpAllocationPool [2.5.1]
    start_ip_address!: string
    end_ip_address!: string
data KvpData [2.7.1]
    data: map of string
data L2AddressData [2.5.1]
    mac_address_assignment!: boolean
data L2ProtocolData [2.5.1]
    name: string
    network_type: string {flat, vlan, vxlan, gre}
    vlan_transparent: boolean
    mtu: integer >0
    segmentation_id: string
data L3AddressData [2.5.1]
    ip_address_assignment: boolean
    ip_address_assignment_subtype: string {dynamic, vnf_pkg, external}
    floating_ip_activated!: boolean
    ip_address_type: string {ipv4, ipv6}
    number_of_ip_address: integer >0
    fixed_ip_address: list of string
data L3ProtocolData [2.5.1]
    name: string
    ip_version!: string {ipv4, ipv6}
    cidr!: string
    ip_allocation_pools: list of IpAllocationPool
    gateway_ip: string
    dhcp_enabled: boolean
    ipv6_address_mode: string {slaac, dhcpv6-stateful, dhcpv6-stateless}
data LinkBitrateRequirements [2.5.1]
    root!: integer >=0
    leaf: integer >=0
data LocationInfo [2.5.1]
    country_code!: string
    civic_address_element: list of CivicAddressElement
    geographic_coordinates: GeographicCoordinates
data LogicalNodeData [2.5.1]
    logical_node_requirements: map of string
data Mask [2.7.1]
    starting_point!: integer
    length!: integer
    value!: string
data MaxNumberOfImpactedInstances [3.6.1]
    group_size: integer
    max_number_of_impacted_instances!: integer
data McioIdentificationData [4.3.1]
    name!: string
    type!: string {Deployment, StatefulSet}
data MinNumberOfPreservedInstances [3.6.1]
    group_size: integer
    min_number_of_preserved_instances!: integer
data NfviMaintenanceInfo [3.6.1]
    impact_notification_lead_time!: time
    is_impact_mitigation_requested: boolean
    supported_migration_type: list of string {no_migration, offline_migration, live_migration}
    max_undetectable_interruption_time: time
    min_recovery_time_between_impacts: time
    max_number_of_impacted_instances: list of MaxNumberOfImpactedInstances
    min_number_of_preserved_instances: list of MinNumberOfPreservedInstances
data NsDataFlowMirroring [4.3.1]
    mirroring_job_name!: string
    description: string
data NsIpAllocationPool [3.5.1]
    start_ip_address!: string
    end_ip_address!: string
data NsL2ProtocolData [3.5.1]
    name: string
    network_type: string {flat, vlan, vxlan, gre}
    vlan_transparent: boolean
    mtu: integer >0
    segmentation_id: string
data NsL3ProtocolData [3.5.1]
    name: string
    ip_version!: string {ipv4, ipv6}
    cidr!: string
    ip_allocation_pools: list of NsIpAllocationPool
data NsLevels [3.5.1]
    description!: string
data NsMonitoringParameter [2.7.1]
    name!: string
    performance_metric!: string {byte_incoming_sap, byte_outgoing_sap, packet_incoming_sap,
        packet_outgoing_sap, byte_incoming, byte_outgoing, packet_incoming, packet_outgoing}
    collection_period: time
data NsOperationAdditionalParameters [2.7.1]
data NsProfile [2.6.1]
    ns_instantiation_level: string
    target_ns_scale_level: map of NsScaleInfo
    min_number_of_instances!: integer >=0
    max_number_of_instances!: integer >=0
    version_dependency: list of VersionDependency
    flavour_id: string
data NsScaleInfo [4.4.1]
    scale_level!: integer >=0
data NsScalingAspect [3.5.1]
    name!: string
    description!: string
    ns_scale_levels!: map of NsLevels
data NsVirtualLinkProtocolData [3.5.1]
    associated_layer_protocol!: string {ethernet, mpls, odu2, ipv4, ipv6, pseudo-wire}
    l2_protocol_data: NsL2ProtocolData
    l3_protocol_data: NsL3ProtocolData
data NsVirtualLinkQos < Qos [2.5.1]
    priority: integer
data NsVlProfile [2.5.1]
    max_bitrate_requirements!: LinkBitrateRequirements
    min_bitrate_requirements!: LinkBitrateRequirements
    qos: NsVirtualLinkQos
    service_availability_level: integer >=1
    virtual_link_protocol_data: list of NsVirtualLinkProtocolData
    data_flow_mirroring: list of NsDataFlowMirroring
    service_availability: ServiceAvailability
data OauthServerInfo [2.7.1]
data OutputOpCoordParams [3.5.1]
data Qos [2.5.1]
    latency!: time >0s
    packet_delay_variation!: time >=0s
    packet_loss_ratio: float 0.0..1.0
data RequestedAdditionalCapability [2.5.1]
    requested_additional_capability_name!: string
    support_mandatory!: boolean
    min_requested_additional_capability_version: string
    preferred_requested_additional_capability_version: string
    target_performance_parameters!: map of string
data ScaleInfo [2.5.1]
    scale_level!: integer >=0
data ScaleNsByStepsData [3.7.1]
    scaling_direction!: string {scale_out, scale_in}
    aspect!: string
    number_of_steps: integer >0
data ScaleNsToLevelData [3.7.1]
    instantiation_level: string
    ns_scale_info: map of integer >=0
data ScalingAspect [2.5.1]
    name!: string
    description!: string
    max_scale_level!: integer >=0
    step_deltas: list of string
data ServiceAvailability [2.5.1..2.8.1]
    level!: string {level1, level2, level3}
data ServiceData [4.4.1]
    host: string
    path: list of string
data ServicePortData [4.2.1]
    name!: string
    protocol!: string {tcp, udp, sctp}
    port!: integer >=0
    portConfigurable!: boolean
data SwImageData [2.5.1..4.2.1]
    name!: string
    version!: string
    provider: string
    checksum!: ChecksumData | string
    container_format!: string {aki, ami, ari, bare, docker, ova, ovf}
    disk_format!: string {aki, ami, ari, iso, qcow2, raw, vdi, vhd, vhdx, vmdk}
    min_disk!: size
    min_ram: size
    size!: size
    operating_system: string
    supported_virtualisation_environments: list of string
data UriAuthority [2.5.1]
    user_info: string
    host: string
    port: string
data UriComponents [2.5.1]
    scheme!: string
    authority: UriAuthority
    path: string
    query: string
    fragment: string
data VduLevel [2.5.1]
    number_of_instances!: integer >=0
data VduProfile [2.5.1]
    min_number_of_instances!: integer >=0
    max_number_of_instances!: integer >=0
    nfvi_maintenance_info: NfviMaintenanceInfo
data VersionDependency [4.3.1]
    dependent_constituent_id!: string
    version_dependency_statement!: list of VersionDependencyStatement
data VersionDependencyStatement [4.3.1]
    descriptor_id!: list of string
data VipCpLevel [3.7.1]
    number_of_instances!: integer >=0
data VirtualBlockStorageData [2.5.1]
    size_of_storage!: size
    vdu_storage_requirements: map of string
    rdma_enabled: boolean
data VirtualCpu [2.5.1]
    cpu_architecture: string
    num_virtual_cpu!: integer >0
    virtual_cpu_clock: frequency
    virtual_cpu_oversubscription_policy: string
    vdu_cpu_requirements: map of string
    virtual_cpu_pinning: VirtualCpuPinning
data VirtualCpuPinning [2.5.1]
    virtual_cpu_pinning_policy: string {static, dynamic}
    virtual_cpu_pinning_rule: list of string
data VirtualFileStorageData [2.5.1]
    size_of_storage!: size
    file_system_protocol!: string
data VirtualLinkBitrateLevel [2.5.1]
    bitrate_requirements!: LinkBitrateRequirements
data VirtualLinkMonitoringParameter [2.5.1]
    name!: string
    performance_metric!: string {byte_incoming, byte_outgoing, packet_incoming, packet_outgoing,
        packet_outgoing_virtual_link, packet_incoming_virtual_link}
    collection_period: time >0s
data VirtualLinkProtocolData [2.5.1]
    associated_layer_protocol!: string {ethernet, mpls, odu2, ipv4, ipv6, pseudo-wire}
    l2_protocol_data: L2ProtocolData
    l3_protocol_data: L3ProtocolData
data VirtualMemory [2.5.1]
    virtual_mem_size!: size
    virtual_mem_oversubscription_policy: string
    vdu_mem_requirements: map of string
    numa_enabled: boolean
    huge_pages_requirements: list of Hugepages
data VirtualNetworkInterfaceRequirements [2.5.1]
    name: string
    description: string
    network_interface_requirements!: map of string
    nic_io_requirements: LogicalNodeData
    support_mandatory: boolean
data VirtualObjectStorageData [2.5.1]
    max_size_of_storage: size
data VlProfile [2.5.1]
    max_bitrate_requirements!: LinkBitrateRequirements
    min_bitrate_requirements!: LinkBitrateRequirements
    qos: Qos
    virtual_link_protocol_data: list of VirtualLinkProtocolData
data VnfAdditionalConfigurableProperties [2.5.1]
    is_writable_anytime: boolean
data VnfChangeCurrentPackageOperationConfiguration [3.3.1]
data VnfChangeExtConnectivityOperationConfiguration [2.5.1]
data VnfChangeFlavourOperationConfiguration [2.5.1]
data VnfConfigurableProperties [2.5.1]
    is_autoscale_enabled: boolean
    is_autoheal_enabled: boolean
    vnfm_interface_info: list of VnfmInterfaceInfo | VnfmInterfaceInfo
    vnfm_oauth_server_info: OauthServerInfo
    vnf_oauth_server_info: OauthServerInfo
    additional_configurable_properties: VnfAdditionalConfigurableProperties
data VnfCreateSnapshotOperationConfiguration [3.3.1]
data VnfHealOperationConfiguration [2.5.1]
    causes: list of string
data VnfInfoModifiableAttributes [2.5.1]
    extensions: VnfInfoModifiableAttributesExtensions
    metadata: VnfInfoModifiableAttributesMetadata
data VnfInfoModifiableAttributesExtensions [2.5.1]
data VnfInfoModifiableAttributesMetadata [2.5.1]
data VnfInstantiateOperationConfiguration [2.5.1]
    target_scale_levels_supported: boolean
data VnfLcmOpCoord [3.5.1]
    description: string
    endpoint_type: string {mgmt, vnf}
    coordination_stage: string {start, end}
    input_parameters: InputOpCoordParams
    output_parameters: OutputOpCoordParams
data VnfLcmOperationsConfiguration [2.5.1]
    instantiate: VnfInstantiateOperationConfiguration
    scale: VnfScaleOperationConfiguration
    scale_to_level: VnfScaleToLevelOperationConfiguration
    change_flavour: VnfChangeFlavourOperationConfiguration
    heal: VnfHealOperationConfiguration
    terminate: VnfTerminateOperationConfiguration
    operate: VnfOperateOperationConfiguration
    change_ext_connectivity: VnfChangeExtConnectivityOperationConfiguration
    change_current_package: VnfChangeCurrentPackageOperationConfiguration
    create_snapshot: VnfCreateSnapshotOperationConfiguration
    revert_to_snapshot: VnfRevertToSnapshotOperationConfiguration
data VnfMonitoringParameter [2.5.1]
    name!: string
    performance_metric!: string {v_cpu_usage_mean_vnf, v_cpu_usage_peak_vnf, v_memory_usage_mean_vnf,
        v_memory_usage_peak_vnf, v_disk_usage_mean_vnf, v_disk_usage_peak_vnf, byte_incoming_vnf_ext_cp,
        byte_outgoing_vnf_ext_cp, packet_incoming_vnf_ext_cp, packet_outgoing_vnf_ext_cp}
    collection_period: time >0s
data VnfOperateOperationConfiguration [2.5.1]
    min_graceful_stop_timeout!: time
    max_recommended_graceful_stop_timeout: time
data VnfOperationAdditionalParameters [2.5.1]
data VnfPackageChangeComponentMapping [3.3.1]
    component_type!: string {vdu, cp, virtual_link, virtual_storage, instantiation_level, scaling_aspect,
        deployment_flavour}
    source_id!: string
    destination_id!: string
    description: string
data VnfPackageChangeSelector [3.3.1]
    source_descriptor_id!: string
    destination_descriptor_id!: string
    source_flavour_id!: string
data VnfProfile [2.5.1]
    instantiation_level: string
    target_vnf_scale_level_info: map of ScaleInfo
    min_number_of_instances!: integer >=0
    max_number_of_instances!: integer >=0
    service_availability_level: integer >=1
    version_dependency: list of VersionDependency
data VnfRevertToSnapshotOperationConfiguration [3.3.1]
data VnfScaleOperationConfiguration [2.5.1]
    scaling_by_more_than_one_step_supported: boolean
data VnfScaleToLevelOperationConfiguration [2.5.1]
    arbitrary_target_levels_supported!: boolean
data VnfTerminateOperationConfiguration [2.5.1]
    min_graceful_termination_timeout!: time
    max_recommended_graceful_termination_timeout: time
data VnfcAdditionalConfigurableProperties [2.5.1]
data VnfcConfigurableProperties [2.5.1]
    additional_vnfc_configurable_properties: VnfcAdditionalConfigurableProperties
data VnfcMonitoringParameter [2.5.1]
    name!: string
    performance_metric!: string {v_cpu_usage_mean_vnf, v_cpu_usage_peak_vnf, v_memory_usage_mean_vnf,
        v_memory_usage_peak_vnf, v_disk_usage_mean_vnf, v_disk_usage_peak_vnf, byte_incoming_vnf_int_cp,
        byte_outgoing_vnf_int_cp, packet_incoming_vnf_int_cp, packet_outgoing_vnf_int_cp,
        v_cpu_usage_mean, v_cpu_usage_peak, v_memory_usage_mean, v_memory_usage_peak, v_disk_usage_mean,
        v_disk_usage_peak, v_net_byte_incoming, v_net_byte_outgoing, v_net_packet_incoming,
        v_net_packet_outgoing, usage_mean_vStorage, usage_peak_vStorage}
    collection_period: time >0s
data VnfmInterfaceInfo [2.7.1]
    interface_name!: string {vnf_lcm, vnf_pm, vnf_fm}
    details: InterfaceDetails
    credentials: map of string
data scaleNsByStepsData [3.5.1..3.6.1]
    scaling_direction!: string {scale_out, scale_in}
    aspect!: string
    number_of_steps: integer >0
data scaleNsToLevelData [3.5.1..3.6.1]
    instantiation_level: string
    ns_scale_info: map of integer

# capability types
capability AssociableVdu < tosca.capabilities.Node [4.2.1]
capability ContainerDeployable < tosca.capabilities.Node [4.2.1]
capability Forwarding [2.7.1]
capability TrunkBindable < tosca.capabilities.Node [3.5.1]
capability VirtualBindable < tosca.capabilities.Node [2.5.1]
capability VirtualCompute < tosca.capabilities.Node [2.5.1]
    logical_node: map of LogicalNodeData
    requested_additional_capabilities: map of RequestedAdditionalCapability
    compute_requirements: map of string
    virtual_memory!: VirtualMemory
    virtual_cpu!: VirtualCpu
    virtual_local_storage: list of VirtualBlockStorageData
capability VirtualLinkable < tosca.capabilities.Node [2.5.1]
capability VirtualStorage [2.5.1]

# relationship types
relationship AttachesTo [2.5.1]
relationship DeploysTo < tosca.relationships.DependsOn [4.2.1]
relationship ForwardTo [2.7.1]
relationship MciopAssociates < tosca.relationships.DependsOn [4.2.1]
relationship TrunkBindsTo < tosca.relationships.DependsOn [3.5.1]
relationship VipVirtualLinksTo < tosca.relationships.DependsOn [2.7.1]
relationship VirtualBindsTo < tosca.relationships.DependsOn [2.5.1]
relationship VirtualLinksTo < tosca.relationships.DependsOn [2.5.1]

# interface types
interface ChangeCurrentVnfPackage [3.3.1]
interface NsVnfIndicator [3.5.1]
interface Nslcm [2.5.1]
    operations: instantiate_start, instantiate, instantiate_end, terminate_start, terminate,
        terminate_end, update_start, update, update_end, scale_start, scale, scale_end, heal_start, heal,
        heal_end
interface VnfIndicator [2.7.1]
interface Vnflcm [2.5.1]
    operations: instantiate, instantiate_start, instantiate_end, terminate, terminate_start,
        terminate_end, modify_information, modify_information_start, modify_information_end,
        change_flavour, change_flavour_start, change_flavour_end, change_external_connectivity,
        change_external_connectivity_start, change_external_connectivity_end, operate, operate_start,
        operate_end, heal, heal_start, heal_end, scale, scale_start, scale_end, scale_to_level,
        scale_to_level_start, scale_to_level_end, create_snapshot, create_snapshot_start,
        create_snapshot_end, revert_to_snapshot, revert_to_snapshot_start, revert_to_snapshot_end,
        change_current_package, change_current_package_start, change_current_package_end

# artifact types
artifact tosca.artifacts.Implementation.nfv.Mistral < tosca.artifacts.Implementation [2.5.1]
artifact HelmChart < tosca.artifacts.File [4.2.1]
artifact SwImage < tosca.artifacts.Deployment.Image [2.5.1]
    name: string
    version: string
    provider: string
    checksum: ChecksumData
    container_format: string {aki, ami, ari, bare, docker, ova, ovf}
    disk_format: string {aki, ami, ari, iso, qcow2, raw, vdi, vhd, vhdx, vmdk}
    min_disk: size >=0B
    min_ram: size >=0B
    size: size
    operating_system: string
    supported_virtualisation_environments: list of string

# node types
node Cp [2.5.1]
    layer_protocols!: list of string {ethernet, mpls, odu2, ipv4, ipv6, pseudo-wire}
    ip_stack_mode: string {ipv4_xor_ipv6, ipv4_or_ipv6, tunnel_ipv6_over_ipv4, tunnel_ipv4_over_ipv6}
    role: string {root, leaf}
    description: string
    protocol: list of CpProtocolData
    trunk_mode: boolean
node Forwarding [2.7.1]
    capability virtual_linkable: VirtualLinkable
    capability forwarding: Forwarding
    requirement virtual_link: VirtualLinkable 1..1
node Mciop [4.2.1]
    requirement associatedVdu: AssociableVdu of Vdu.OsContainerDeployableUnit 1..*
node NFP [2.7.1]
    requirement nfp_position: Forwarding of NfpPosition 1..*
node NS [2.5.1]
    descriptor_id!: string
    designer!: string
    version!: string
    name!: string
    invariant_id!: string
    ext_invariant_id: string
    flavour_id: string
    ns_profile: NsProfile
    service_availability_level: integer >=1
    priority: integer >=0
    strict_nsd_constituent_onboarding: boolean
    requirement virtual_link: VirtualLinkable of NsVirtualLink 0..1
node NfpPosition [2.7.1]
    forwarding_behaviour: string {all, lb, ff}
    forwarding_behaviour_input_parameters: map of string
    capability forwarding: Forwarding
    requirement element: Forwarding of NfpPositionElement 1..*
node NfpPositionElement [2.7.1]
    capability forwarding: Forwarding
    requirement profile_element: Forwarding 1..2
node NsVirtualLink [2.5.1]
    vl_profile!: NsVlProfile
    connectivity_type!: ConnectivityType
    test_access: list of string {passive_monitoring, active_loopback}
    description: string
    capability virtual_linkable: VirtualLinkable
node PNF [2.5.1]
    descriptor_id!: string
    function_description!: string
    provider!: string
    version!: string
    descriptor_invariant_id!: string
    ext_invariant_id: string
    name!: string
    geographical_location_info: LocationInfo
    version_dependency: list of VersionDependency
    requirement virtual_link: VirtualLinkable 0..1
node PnfExtCp < Cp [2.5.1]
    requirement external_virtual_link: VirtualLinkable 0..1
node Sap < Cp [2.5.1]
    capability forwarding: Forwarding
    requirement external_virtual_link: VirtualLinkable 0..1
    requirement internal_virtual_link: VirtualLinkable 1..1
node VNF [2.5.1]
    descriptor_id!: string
    ext_invariant_id: string
    descriptor_version!: string
    provider!: string
    product_name!: string
    software_version!: string
    product_info_name: string
    product_info_description: string
    vnfm_info!: list of string
    localization_languages: list of string
    default_localization_language: string
    configurable_properties: VnfConfigurableProperties
    modifiable_attributes: VnfInfoModifiableAttributes
    lcm_operations_configuration: VnfLcmOperationsConfiguration
    monitoring_parameters: map of VnfMonitoringParameter | list of VnfMonitoringParameter
    flavour_id!: string
    flavour_description!: string
    vnf_profile: VnfProfile
    requirement virtual_link: VirtualLinkable 0..1
node Vdu.Compute [2.5.1]
    name!: string
    description!: string
    boot_order: boolean | list of string
    nfvi_constraints: map of string | list of string
    monitoring_parameters: map of VnfcMonitoringParameter | list of VnfcMonitoringParameter
    configurable_properties: VnfcConfigurableProperties
    vdu_profile!: VduProfile
    boot_data: BootData | string
    sw_image_data: SwImageData
    capability virtual_compute: VirtualCompute
    capability virtual_binding: VirtualBindable
    requirement virtual_storage: VirtualStorage 0..*
node Vdu.OsContainer [4.2.1]
    name!: string
    description!: string
    requested_cpu_resources: integer >=0
    cpu_resource_limit: integer >=0
    requested_memory_resources: size
    memory_resource_limit: size
    requested_ephemeral_storage_resources: size
    ephemeral_storage_resource_limit: size
    extended_resource_requests: list len>=1 of ExtendedResourceData
    huge_pages_resources: list of Hugepages
    cpu_pinning_requirements: VirtualCpuPinning
    capability container_deployable: ContainerDeployable
node Vdu.OsContainerDeployableUnit [4.2.1]
    name!: string
    description!: string
    logical_node: map of LogicalNodeData
    requested_additional_capabilities: map of RequestedAdditionalCapability
    nfvi_constraints: map of string
    configurable_properties: VnfcConfigurableProperties
    vdu_profile!: VduProfile
    mcio_constraint_params: list of string {affinity_nfvi_pop, affinity_zone, affinity_zone_group,
        affinity_nfvi_node, affinity_cis_node, anti_affinity_nfvi_pop, anti_affinity_zone,
        anti_affinity_zone_group, anti_affinity_nfvi_node, anti_affinity_cis_node,
        local_affinity_nfvi_pop, local_affinity_zone, local_affinity_zoneGroup, local_affinity_nfvi_node,
        local_affinity_cis_node, local_anti_affinity_nfvi_pop, local_anti_affinity_zone,
        local_anti_affinity_zone_group, local_anti_affinity_nfvi_node, local_anti_affinity_cis_node,
        node_additional_capability_ssd, node_additional_capability_dpdk, node_additional_capability_sriov,
        node_additional_capability_gpu, node_additional_capability_fpga,
        node_additional_capability_cpu_pin, node_capability_logical_numa, node_pool}
    mcio_identification_data: McioIdentificationData
    capability virtual_binding: VirtualBindable
    capability associable: AssociableVdu
    requirement virtual_storage: VirtualStorage 0..*
    requirement container: ContainerDeployable 1..*
node Vdu.VirtualBlockStorage [2.5.1]
    virtual_block_storage_data!: VirtualBlockStorageData
    per_vnfc_instance: boolean
    nfvi_maintenance_info: NfviMaintenanceInfo
    sw_image_data: SwImageData
    capability virtual_storage: VirtualStorage
node Vdu.VirtualFileStorage [2.5.1]
    virtual_file_storage_data!: VirtualFileStorageData
    per_vnfc_instance: boolean
    nfvi_maintenance_info: NfviMaintenanceInfo
    capability virtual_storage: VirtualStorage
    requirement virtual_link: VirtualLinkable 1..1
node Vdu.VirtualObjectStorage [2.5.1]
    virtual_object_storage_data!: VirtualObjectStorageData
    per_vnfc_instance: boolean
    nfvi_maintenance_info: NfviMaintenanceInfo
    capability virtual_storage: VirtualStorage
node VduCp < Cp [2.5.1]
    bitrate_requirement: integer >=0
    virtual_network_interface_requirements: list of VirtualNetworkInterfaceRequirements
    order: integer >=0
    vnic_type: string {normal, macvtap, direct, baremetal, virtio-forwarder, direct-physical, smart-nic,
        bridge, ipvlan, loopback, macvlan, ptp, vlan, host-device, virtio}
    capability trunk_binding: TrunkBindable
    requirement virtual_link: VirtualLinkable 1..1
    requirement virtual_binding: VirtualBindable 0..1
node VduSubCp < VduCp [3.5.1]
    segmentation_type: string {vlan, inherit}
    segmentation_id: integer >=0
    requirement trunk_binding: TrunkBindable of VduCp 1..1
node VipCp < Cp [2.7.1]
    dedicated_ip_address: boolean
    vip_function!: string {high_availability, load_balance}
    requirement target: tosca.capabilities.Node of VduCp 1..*
    requirement virtual_link: VirtualLinkable 1..1
node VirtualCp < Cp [4.2.1]
    additionalServiceData: list of AdditionalServiceData
    address_pool_name_configurable: boolean
    requirement target: tosca.capabilities.Node of Vdu.OsContainerDeployableUnit 1..*
    requirement virtual_link: VirtualLinkable 0..1
node VnfExtCp < Cp [2.5.1]
    virtual_network_interface_requirements: list of VirtualNetworkInterfaceRequirements
    requirement external_virtual_link: VirtualLinkable 0..1
    requirement internal_virtual_link: VirtualLinkable 1..1
node VnfVirtualLink [2.5.1]
    connectivity_type!: ConnectivityType
    description: string
    test_access: list of string {passive_monitoring, active_loopback}
    vl_profile!: VlProfile
    monitoring_parameters: map of VirtualLinkMonitoringParameter | list of VirtualLinkMonitoringParameter
    nfvi_maintenance_info: NfviMaintenanceInfo
    externally_managed: string
    capability virtual_linkable: VirtualLinkable

# group types
group NsPlacementGroup [2.7.1]
    description!: string
    members: VNF, NsVirtualLink, NS, Forwarding, Sap
group PlacementGroup [2.5.1]
    description!: string
    members: Vdu.Compute, Vdu.OsContainerDeployableUnit, VnfVirtualLink, Mciop, VNF, NsVirtualLink, NS
group VNFFG [2.7.1]
    description!: string
    members: NFP, VNF, PNF, NS, NsVirtualLink, NfpPositionElement

# policy types
policy Abstract.SecurityGroupRule [2.7.1]
    description: string
    direction: string {ingress, egress}
    ether_type: string {ipv4, ipv6}
    protocol: string {hopopt, icmp, igmp, ggp, ipv4, st, tcp, cbt, egp, igp, bbn_rcc_mon, nvp_ii, pup,
        argus, emcon, xnet, chaos, udp, mux, dcn_meas, hmp, prm, xns_idp, trunk_1, trunk_2, leaf_1,
        leaf_2, rdp, irtp, iso_tp4, netblt, mfe_nsp, merit_inp, dccp, 3pc, idpr, xtp, ddp, idpr_cmtp,
        tp++, il, ipv6, sdrp, ipv6_route, ipv6_frag, idrp, rsvp, gre, dsr, bna, esp, ah, i_nlsp, swipe,
        narp, mobile, tlsp, skip, ipv6_icmp, ipv6_no_nxt, ipv6_opts, cftp, sat_expak, kryptolan, rvd,
        ippc, sat_mon, visa, ipcv, cpnx, cphb, wsn, pvp, br_sat_mon, sun_nd, wb_mon, wb_expak, iso_ip,
        vmtp, secure_vmtp, vines, ttp, iptm, nsfnet_igp, dgp, tcf, eigrp, ospfigp, sprite_rpc, larp, mtp,
        ax.25, ipip, micp, scc_sp, etherip, encap, gmtp, ifmp, pnni, pim, aris, scps, qnx, a/n, ip_comp,
        snp, compaq_peer, ipx_in_ip, vrrp, pgm, l2tp, ddx, iatp, stp, srp, uti, smp, sm, ptp, isis, fire,
        crtp, crudp, sscopmce, iplt, sps, pipe, sctp, fc, rsvp_e2e_ignore, mobility, udp_lite, mpls_in_ip,
        manet, hip, shim6, wesp, rohc}
    port_range_min: integer >=0 <=65535
    port_range_max: integer >=0 <=65535
policy AffinityRule < tosca.policies.Placement [2.5.1]
    scope!: string {nfvi_node, zone, zone_group, nfvi_pop, network_link_and_node, container_namespace,
        cis_node, vim}
    nfvi_maintenance_group_info: NfviMaintenanceInfo
    targets: Vdu.Compute, VnfVirtualLink, group PlacementGroup, Mciop, Vdu.OsContainerDeployableUnit, VNF,
        NsVirtualLink, NS
policy AntiAffinityRule < tosca.policies.Placement [2.5.1]
    scope!: string {nfvi_node, zone, zone_group, nfvi_pop, network_link_and_node, container_namespace,
        cis_node, vim}
    nfvi_maintenance_group_info: NfviMaintenanceInfo
    targets: Vdu.Compute, VnfVirtualLink, group PlacementGroup, Mciop, Vdu.OsContainerDeployableUnit, VNF,
        NsVirtualLink, NS, Vdu.VirtualBlockStorage
policy DataFlowInfo [4.3.1]
    data_flow_info_id!: string
    associated_mirroring_job_name!: string
    direction!: string {in, out, both}
    targets: Forwarding, Sap
policy InstantiationLevels [2.5.1]
    levels!: map of InstantiationLevel
    default_level: string
policy LcmCoordinationAction [3.5.1]
    action_name!: string
    action: VnfLcmOpCoord
policy LcmCoordinationsForLcmOperation [3.5.1]
    vnf_lcm_operation!: string {instantiate, scale, scale_to_level, change_flavour, terminate, heal,
        operate, change_ext_conn, modify_info, create_snapshot, revert_to_snapshot}
    actions: list of string
    referenced_coordination_actions: list of string
policy NfpRule [2.7.1]
    ether_destination_address: string
    ether_source_address: string
    ether_type: string {ipv4, ipv6}
    vlan_tag: list of string
    protocol: string
    dscp: string
    source_port_range: range 0..65535
    destination_port_range: range 0..65535
    source_ip_address_prefix: string
    destination_ip_address_prefix: string
    extended_criteria: list of Mask
    targets: NFP
policy NsAffinityRule < tosca.policies.Placement [2.7.1]
    scope!: string {nfvi_node, zone, zone_group, nfvi_pop, network_link_and_node, container_namespace,
        l2_network, vim}
    targets: VNF, NsVirtualLink, NS, group NsPlacementGroup, Sap, Forwarding
policy NsAntiAffinityRule < tosca.policies.Placement [2.7.1]
    scope!: string {nfvi_node, zone, zone_group, nfvi_pop, network_link_and_node, container_namespace,
        l2_network, vim}
    targets: VNF, NsVirtualLink, NS, group NsPlacementGroup, Sap, Forwarding
policy NsAutoScale [3.5.1]
    targets: NS
policy NsInstantiationLevels [3.5.1]
    ns_levels!: map len>=1 of NsLevels
    default_level: string
policy NsMonitoring [2.7.1]
    ns_monitoring_parameters!: map len>=1 of NsMonitoringParameter | list len>=1 of NsMonitoringParameter
    targets: NS
policy NsScalingAspects [3.5.1]
    aspects!: map len>=1 of NsScalingAspect
policy NsSecurityGroupRule < Abstract.SecurityGroupRule [2.7.1]
    targets: Sap
policy NsToInstantiationLevelMapping [3.5.1]
    number_of_instances!: map len>=1 of integer
    targets: NS
policy NsToLevelMapping [3.5.1]
    aspect!: string
    number_of_instances!: map len>=1 of integer
    targets: NS
policy PnfSecurityGroupRule < Abstract.SecurityGroupRule [2.7.1]
    targets: PnfExtCp
policy ScalingAspects [2.5.1]
    aspects!: map of ScalingAspect
policy SecurityGroupRule < Abstract.SecurityGroupRule [2.5.1]
    targets: VduCp, VnfExtCp, Vdu.OsContainerDeployableUnit, PnfExtCp
policy SupportedVnfInterface [2.5.1]
    interface_name!: string {vnf_indicator, vnf_configuration, vnf_lcm_coordination}
    details: InterfaceDetails
    targets: VnfExtCp, VduCp
policy VduInitialDelta [2.5.1]
    initial_delta!: VduLevel
    targets: Vdu.Compute, Vdu.OsContainerDeployableUnit
policy VduInstantiationLevels [2.5.1]
    levels!: map of VduLevel
    targets: Vdu.Compute, Vdu.OsContainerDeployableUnit
policy VduScalingAspectDeltas [2.5.1]
    aspect!: string
    deltas!: map of VduLevel
    targets: Vdu.Compute, Vdu.OsContainerDeployableUnit
policy VipCpInitialDelta [3.7.1]
    initial_delta!: VipCpLevel
    targets: VipCp
policy VipCpInstantiationLevels [3.7.1]
    levels!: map len>=1 of VipCpLevel
    targets: VipCp
policy VipCpScalingAspectDeltas [3.7.1]
    aspect!: string
    deltas!: map len>=1 of VipCpLevel
    targets: VipCp
policy VirtualLinkBitrateInitialDelta [2.5.1]
    initial_delta!: VirtualLinkBitrateLevel
    targets: VnfVirtualLink
policy VirtualLinkBitrateScalingAspectDeltas [2.5.1]
    aspect!: string
    deltas!: map of VirtualLinkBitrateLevel
    targets: VnfVirtualLink
policy VirtualLinkInstantiationLevels [2.5.1]
    levels!: map of VirtualLinkBitrateLevel
    targets: VnfVirtualLink
policy VirtualLinkToInstantiationLevelMapping [3.5.1]
    bit_rate_requirements!: map len>=1 of LinkBitrateRequirements
    targets: NsVirtualLink
policy VirtualLinkToLevelMapping [3.5.1]
    aspect!: string
    bit_rate_requirements!: map len>=1 of LinkBitrateRequirements
    targets: NsVirtualLink
policy VnfIndicator [3.3.1]
    source!: string {vnf, em, both_vnf_and_em}
    targets: VNF
policy VnfMonitoring [2.7.1]
    vnf_monitoring_parameters!: map len>=1 of VnfMonitoringParameter | list len>=1 of
        VnfMonitoringParameter
    targets: VNF
policy VnfPackageChange [3.3.1]
    selector!: list len>=1 of VnfPackageChangeSelector | VnfPackageChangeSelector
    modification_qualifier!: string {up, down}
    additional_modification_description: string
    component_mappings: list of VnfPackageChangeComponentMapping
    destination_flavour_id!: string
    actions: list of string
    referenced_coordination_actions: list of string
    targets: VNF
policy VnfToInstantiationLevelMapping [3.5.1]
    number_of_instances!: map len>=1 of integer
    targets: VNF
policy VnfToLevelMapping [3.5.1]
    aspect!: string
    number_of_instances!: map len>=1 of integer
    targets: VNF
"""
