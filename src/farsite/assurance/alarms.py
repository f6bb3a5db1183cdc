"""Every alarm Farsite can raise: cause, effect, severity, and what the operator does.

Raising goes through `raised`, which takes an entry of this table, so an alarm that is not listed here
cannot be raised. Source of the words: ITU-T X.733 annex A (probable causes), SOL003 clause 7.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farsite.lifecycle.deploying import PREEMPTED
from farsite.model.alarm import Alarm, EventType, PerceivedSeverity
from farsite.model.ids import AlarmId, ProjectId, id_in_time


class Impact(StrEnum):
    """What an alarm says of the service of its object, for the figures of availability."""

    NONE = "none"
    COMPONENT = "component"
    """One component is away; the service is down when none is left."""
    SERVICE = "service"
    """The object does not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmType:
    """One kind of alarm."""

    name: str
    object_kind: str
    event_type: EventType
    probable_cause: str
    severity: PerceivedSeverity
    effect: str
    remedy: str
    faulty_resource_type: str = ""
    hold_off_s: float | None = None
    """Seconds the condition must last before healing starts; None: never healed by itself."""
    impact: Impact = Impact.NONE


VNFC_DIED = AlarmType(
    name="vnfc-died",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Software program abnormally terminated",
    severity=PerceivedSeverity.MAJOR,
    effect="The VNFC carries no traffic; chains go on over the instances that are left.",
    remedy="Nothing while healing works; see farsite op list. Otherwise: farsite vnf heal VNF.",
    faulty_resource_type="COMPUTE",
    hold_off_s=0.0,
    impact=Impact.COMPONENT,
)
LINK_DOWN = AlarmType(
    name="vnfc-link-down",
    object_kind="vnf",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Loss of signal",
    severity=PerceivedSeverity.MAJOR,
    effect="A port of the VNFC has no link; chains go on over the instances that are left.",
    remedy="Find who took the interface down. It is healed by replacing the VNFC if it stays down.",
    faulty_resource_type="NETWORK",
    hold_off_s=1.0,
    impact=Impact.COMPONENT,
)
DATAPATH_LOST = AlarmType(
    name="vnfc-datapath-lost",
    object_kind="vnf",
    event_type=EventType.QOS_ALARM,
    probable_cause="Loss of frame",
    severity=PerceivedSeverity.MAJOR,
    effect="The VNFC lives but passes no packets; chains go on over the instances that are left.",
    remedy="See the function's log (farsite vnf show). It is healed by replacing the VNFC if it lasts.",
    faulty_resource_type="NETWORK",
    hold_off_s=1.0,
    impact=Impact.COMPONENT,
)
HEAL_BUDGET_SPENT = AlarmType(
    name="heal-budget-spent",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Threshold crossed",
    severity=PerceivedSeverity.CRITICAL,
    effect="The VNF failed again and again; it is no longer healed automatically.",
    remedy="Find out why it dies, then farsite vnf heal VNF, which also clears this alarm.",
)
VNF_PREEMPTED = AlarmType(
    name=PREEMPTED,
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Resource at or nearing capacity",
    severity=PerceivedSeverity.CRITICAL,
    effect="Nothing of the VNF stands: its room was given to a more important one, which the details name.",
    remedy="Add room, or wait: it comes back by itself when there is room on its VIM. At once, if there is: "
    "farsite vnf heal VNF.",
    hold_off_s=0.0,
    impact=Impact.SERVICE,
)
MASS_FAILURE = AlarmType(
    name="mass-failure",
    object_kind="vim",
    event_type=EventType.EQUIPMENT_ALARM,
    probable_cause="Equipment malfunction",
    severity=PerceivedSeverity.CRITICAL,
    effect="So many VNFCs died on the VIM at once that the VIM itself is suspect; healing there waits.",
    remedy="Look at the VIM's hosts. Healing goes on by itself when the deaths stop.",
    faulty_resource_type="COMPUTE",
)
VIM_UNREACHABLE = AlarmType(
    name="vim-unreachable",
    object_kind="vim",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Connection establishment error",
    severity=PerceivedSeverity.CRITICAL,
    effect="Nothing can be changed on the VIM; what runs there goes on, unwatched.",
    remedy="See farsite vim show VIM for the failing service and reason.",
)
VIM_DEGRADED = AlarmType(
    name="vim-degraded",
    object_kind="vim",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Software error",
    severity=PerceivedSeverity.MINOR,
    effect="A service of the VIM that is not vital fails; some operations may fail there.",
    remedy="See farsite vim show VIM for the failing service and reason.",
)
VIM_PATH_LOST = AlarmType(
    name="vim-path-lost",
    object_kind="vim",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Communications subsystem failure",
    severity=PerceivedSeverity.MINOR,
    effect="The VIM is heard over one of its two paths only. While it is the second, the VIM is watched, but "
    "operations, which go over the first, fail there.",
    remedy="See farsite vim show VIM for the path and its reason; look at the network that it goes over.",
)
LOOP_LAG = AlarmType(
    name="loop-lag",
    object_kind="farsite",
    event_type=EventType.QOS_ALARM,
    probable_cause="Response time excessive",
    severity=PerceivedSeverity.WARNING,
    effect="This process answers and watches late.",
    remedy="Give it more processor, or run more processes on PostgreSQL.",
)
RESOURCES_LOW = AlarmType(
    name="resources-low",
    object_kind="farsite",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Resource at or nearing capacity",
    severity=PerceivedSeverity.MAJOR,
    effect="This process has little left of what the part names: disk, room in its data directory; database, "
    "whose disk took no writes; files, file descriptors. With none, nothing is accepted and nothing is "
    "recorded; what is read is answered, and what was accepted goes on when there is some again.",
    remedy="Make room where the details say, or raise the limit of open files of the service (LimitNOFILE).",
)
NODE_LOST = AlarmType(
    name="node-lost",
    object_kind="farsite",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Software program abnormally terminated",
    severity=PerceivedSeverity.MAJOR,
    effect="A process of Farsite is gone. The others have taken over its operations and its VIMs.",
    remedy="Start it again, or see why its supervisor did not: farsite node list. Cleared when a process "
    "of that name works, or a day later.",
)
ALERTS_TRUNCATED = AlarmType(
    name="alerts-truncated",
    object_kind="source",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Information missing",
    severity=PerceivedSeverity.WARNING,
    effect="An Alertmanager left alerts out of a group that it posted; nobody here knows of them.",
    remedy="Raise max_alerts of its webhook_config (0: no bound), or group by more labels. "
    "It clears with the next group that comes whole.",
)
MESSAGES_LOST = AlarmType(
    name="messages-lost",
    object_kind="farsite",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Information missing",
    severity=PerceivedSeverity.WARNING,
    effect="Messages of syslog or traps of SNMP came faster than they were taken, and some were thrown away; "
    "what they told, nobody here knows.",
    remedy="Have senders send less, or over TCP, which lets them wait; see "
    "farsite_listener_messages_total. It clears when none was lost for a minute.",
)
RULES_REFUSED = AlarmType(
    name="rules-refused",
    object_kind="farsite",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Configuration or customization error",
    severity=PerceivedSeverity.WARNING,
    effect="The file with the rules of a listener was changed and cannot be read; the rules before count on.",
    remedy="Mend what the details name. The file is read again as soon as it changes.",
)
THRESHOLD_CROSSED = AlarmType(
    name="threshold-crossed",
    object_kind="object",
    event_type=EventType.QOS_ALARM,
    probable_cause="Threshold crossed",
    severity=PerceivedSeverity.MAJOR,
    effect="A metric met the condition of a threshold of this project; its severity is the threshold's.",
    remedy="The details hold the condition; see the metrics of the object, and farsite alarm threshold list.",
)

HOST_DOWN = AlarmType(
    name="host-down",
    object_kind="host",
    event_type=EventType.EQUIPMENT_ALARM,
    probable_cause="Equipment malfunction",
    severity=PerceivedSeverity.CRITICAL,
    effect="The VIM has lost the host, or everything of ours on it died at once; that is told by symptoms.",
    remedy="Look at the host. What ran there is healed elsewhere. Clears when the host is back. One that was "
    "forced down is taken back by hand, after its return: openstack compute service set --up.",
)
COMPUTE_SERVICE_DOWN = AlarmType(
    name="compute-service-down",
    object_kind="host",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Software program abnormally terminated",
    severity=PerceivedSeverity.MAJOR,
    effect="The VIM's service on the host does not report. What runs there goes on and cannot be changed; "
    "nothing is moved away, because the host itself answers or too little is known of it.",
    remedy="Restart the compute service of the host. Clears when it reports.",
    faulty_resource_type="COMPUTE",
)
DATA_PLANE_DOWN = AlarmType(
    name="host-data-plane-down",
    object_kind="host",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Local area network error",
    severity=PerceivedSeverity.CRITICAL,
    effect="The host can be managed, and the network of its functions reaches no other host, while others "
    "reach one another: what stands there serves nobody.",
    remedy="Look at the host's links and switch ports of the tenants' network. Clears when others answer.",
    faulty_resource_type="COMPUTE",
)
CONTROL_SERVICE_DOWN = AlarmType(
    name="control-service-down",
    object_kind="vim",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Software program abnormally terminated",
    severity=PerceivedSeverity.MAJOR,
    effect="A process of the VIM's control plane does not report; minor while another copy of it works.",
    remedy="Restart it; see farsite vim show VIM for its host and its copies. Clears when it reports.",
)
ZONE_DOWN = AlarmType(
    name="zone-down",
    object_kind="zone",
    event_type=EventType.EQUIPMENT_ALARM,
    probable_cause="Power problem",
    severity=PerceivedSeverity.CRITICAL,
    effect="Everything of ours on all hosts of an availability zone died within a short time.",
    remedy="Look for what its hosts share: power, a switch, storage. Clears when something lives there.",
)
VIM_DOWN = AlarmType(
    name="vim-down",
    object_kind="vim",
    event_type=EventType.EQUIPMENT_ALARM,
    probable_cause="Equipment malfunction",
    severity=PerceivedSeverity.CRITICAL,
    effect="Everything of ours in all zones of the VIM died within a short time.",
    remedy="See farsite vim show VIM, and the VIM's hosts. It clears when something lives there again.",
)
SITE_DOWN = AlarmType(
    name="site-down",
    object_kind="site",
    event_type=EventType.ENVIRONMENTAL_ALARM,
    probable_cause="Power problem",
    severity=PerceivedSeverity.CRITICAL,
    effect="Every VIM of the site is silent, or everything of ours in them died; all below are symptoms.",
    remedy="Ask the site. When it is lost for long, vital services belong elsewhere.",
)
VNF_DOWN = AlarmType(
    name="vnf-down",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Out of service",
    severity=PerceivedSeverity.CRITICAL,
    effect="No VNFC of the VNF is alive: it does nothing at all.",
    remedy="Nothing while healing works; see farsite vnf healing VNF. Otherwise: farsite vnf heal VNF.",
)
PATH_BROKEN = AlarmType(
    name="path-broken",
    object_kind="ns",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Loss of signal",
    severity=PerceivedSeverity.CRITICAL,
    effect="A hop of the forwarding path has no living instance, or an end of it is dead: no traffic passes.",
    remedy="See the correlated alarm for the cause; farsite ns show NS for the path.",
)
NS_DOWN = AlarmType(
    name="ns-down",
    object_kind="ns",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Out of service",
    severity=PerceivedSeverity.CRITICAL,
    effect="A VNF of the service has no living VNFC, or a path of it is broken.",
    remedy="See the correlated alarm for the cause.",
)
LATENT_FAULT = AlarmType(
    name="latent-fault-suspected",
    object_kind="host",
    event_type=EventType.EQUIPMENT_ALARM,
    probable_cause="Equipment malfunction",
    severity=PerceivedSeverity.WARNING,
    effect="More functions failed on the host within an hour than chance explains; more will.",
    remedy="Look at its memory, storage, cards and logs before it fails; move vital functions away.",
)

FUNCTION_UNWELL = AlarmType(
    name="function-unwell",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Application subsystem failure",
    severity=PerceivedSeverity.MAJOR,
    effect="A service of the function does not work, by the function's own word or by trying it.",
    remedy="See farsite vnf config health VNF, and what changed last: farsite vnf config history VNF.",
)
FUNCTION_SILENT = AlarmType(
    name="function-silent",
    object_kind="vnf",
    event_type=EventType.COMMUNICATIONS_ALARM,
    probable_cause="Connection establishment error",
    severity=PerceivedSeverity.WARNING,
    effect="The inside of the function cannot be reached, so it can be neither watched nor configured.",
    remedy="See the detail: the way to the device, its host key, our key, the broker (farsite broker list).",
)
CONFIGURATION_DRIFTED = AlarmType(
    name="configuration-drifted",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Configuration or customization error",
    severity=PerceivedSeverity.WARNING,
    effect="Somebody else changed what the configuration document owns; the next change takes it back.",
    remedy="See farsite vnf config drift VNF; then reapply, or put it into the document.",
)
ANTI_AFFINITY_VIOLATED = AlarmType(
    name="anti-affinity-violated",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Configuration or customization error",
    severity=PerceivedSeverity.MAJOR,
    effect="The VNFC stands on the host, in the rack or in the zone of another that it was to be kept apart "
    "from, or a volume of it on the storage back end of another such: one fault may take both.",
    remedy="farsite vnf heal VNF --vnfc VNFC makes it anew where it stands apart; a healing policy with this "
    "alarm among its triggers does so by itself. If it comes again, the VIM does not keep what it is asked "
    "for: see its scheduler's filters.",
    faulty_resource_type="COMPUTE",
)
LINKS_TOGETHER = AlarmType(
    name="link-anti-affinity-violated",
    object_kind="vnf",
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="Configuration or customization error",
    severity=PerceivedSeverity.MAJOR,
    effect="The virtual link is carried by the physical network of another that it was to be kept apart "
    "from: one fault of a switch or a cable may take both.",
    remedy="No heal makes a network anew: have the VIM's operator move it, or terminate the VNF and "
    "instantiate it again. If it comes again, the VIM does not keep what it is asked for.",
    faulty_resource_type="NETWORK",
)

CATALOGUE: Mapping[str, AlarmType] = {
    one.name: one
    for one in (
        VNFC_DIED,
        LINK_DOWN,
        DATAPATH_LOST,
        HEAL_BUDGET_SPENT,
        VNF_PREEMPTED,
        MASS_FAILURE,
        VIM_UNREACHABLE,
        VIM_DEGRADED,
        VIM_PATH_LOST,
        LOOP_LAG,
        RESOURCES_LOW,
        NODE_LOST,
        ALERTS_TRUNCATED,
        MESSAGES_LOST,
        RULES_REFUSED,
        THRESHOLD_CROSSED,
        HOST_DOWN,
        COMPUTE_SERVICE_DOWN,
        DATA_PLANE_DOWN,
        CONTROL_SERVICE_DOWN,
        ZONE_DOWN,
        VIM_DOWN,
        SITE_DOWN,
        VNF_DOWN,
        PATH_BROKEN,
        NS_DOWN,
        LATENT_FAULT,
        FUNCTION_UNWELL,
        FUNCTION_SILENT,
        CONFIGURATION_DRIFTED,
        ANTI_AFFINITY_VIOLATED,
        LINKS_TOGETHER,
    )
}


def raised(
    kind: AlarmType,
    *,
    project_id: ProjectId,
    object_id: str,
    location: str,
    at: datetime,
    part: str = "",
    details: tuple[str, ...] = (),
) -> Alarm:
    """An alarm of a listed kind. `part` is the faulty component of the object (a VNFC), if any.

    Time, location, type and severity are mandatory.
    """
    assert location, f"alarm {kind.name} of {object_id} without a location"
    return Alarm(
        id=AlarmId(id_in_time()),
        project_id=project_id,
        managed_object_id=object_id,
        object_kind=kind.object_kind,
        location=location,
        event_type=kind.event_type,
        probable_cause=kind.probable_cause,
        specific_problem=problem_of(kind, part),
        perceived_severity=kind.severity,
        raised_at=at,
        event_at=at,
        fault_type=kind.name,
        fault_details=details,
        faulty_resource=part,
        faulty_resource_type=kind.faulty_resource_type,
    )


def problem_of(kind: AlarmType, part: str = "") -> str:
    """The specific problem of an alarm: its name and the part it concerns."""
    return f"{kind.name}/{part}" if part else kind.name
