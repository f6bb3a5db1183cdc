"""The flow table: bounded, symmetric, and forgetting only what it may."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from farsite.functions.flows import FRAGMENT_TIMEOUT_S, FlowTable, FragmentTable
from farsite.functions.frames import FIN, TCP, UDP, flow_key, reverse_key

keys = st.builds(
    lambda protocol, a, b, p, q: flow_key(protocol, bytes((10, 0, 0, a)), bytes((10, 0, 1, b)), p, q),
    st.sampled_from((TCP, UDP, 1)),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(1, 4),
)


class TableMachine(RuleBasedStateMachine):
    """Any order of opening, seeing, closing and sweeping keeps the table whole."""

    @initialize(capacity=st.integers(1, 8))
    def make(self, capacity):
        self.table = FlowTable(capacity)
        self.now = 0.0

    @rule(side=st.integers(0, 1), key=keys)
    def open(self, side, key):
        flow = self.table.open(side, key, self.now)
        assert self.table.find(side, key) is flow
        assert self.table.find(1 - side, reverse_key(key)) is flow

    @rule(side=st.integers(0, 1), key=keys, flags=st.sampled_from((0, FIN)))
    def see(self, side, key, flags):
        flow = self.table.find(side, key)
        if flow is not None:
            flow.note(side, self.now, flags)

    @rule(side=st.integers(0, 1), key=keys)
    def close(self, side, key):
        flow = self.table.find(side, key)
        if flow is not None:
            self.table.close(flow)
            self.table.close(flow)
            assert self.table.find(side, key) is None

    @rule(seconds=st.floats(0, 4000), count=st.integers(0, 20))
    def wait_and_sweep(self, seconds, count):
        self.now += seconds
        before = [flow for flow in self.table.by_side[0].values() if not flow.is_idle(self.now)]
        self.table.sweep(self.now, count)
        assert all(flow in self.table.by_side[0].values() for flow in before), "a living flow was forgotten"

    @invariant()
    def is_whole(self):
        if not hasattr(self, "table"):
            return
        inside, outside = self.table.by_side
        assert len(inside) == len(outside) == len(self.table) <= self.table.capacity
        assert {id(flow) for flow in inside.values()} == {id(flow) for flow in outside.values()}
        assert all(outside[reverse_key(key)] is flow for key, flow in inside.items())


TestFlowTable = TableMachine.TestCase
TestFlowTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.floats(0, 100), min_size=3, max_size=12, unique=True))
def test_a_full_table_forgets_the_longest_idle_flow(times):
    """A flood of new flows must not push out those that are in use."""
    table = FlowTable(len(times))
    flows = [table.open(0, flow_key(UDP, b"\1\1\1\1", b"\2\2\2\2", n, 53), 0.0) for n in range(len(times))]
    for flow, seen in zip(flows, times, strict=True):
        flow.note(0, seen)
    idle = [flow for flow in flows if flow.is_idle(100.0, table.timeouts)]
    table.open(0, flow_key(UDP, b"\3\3\3\3", b"\2\2\2\2", 1, 53), 100.0)
    left = {flow for flow in flows if table.find(0, flow.key) is flow}
    gone = set(flows) - left
    assert gone == (set(idle) or {min(flows, key=lambda flow: flow.last_seen)})


def test_a_closing_connection_is_forgotten_soon_and_an_established_one_is_kept():
    """Idle connections live for an hour; finished and never answered ones would fill the table."""
    table = FlowTable(16)
    flow = table.open(0, flow_key(TCP, b"\1\1\1\1", b"\2\2\2\2", 1, 80), 0.0)
    assert flow.is_idle(11.0)
    flow.note(1, 0.0)
    assert not flow.is_idle(3000.0)
    flow.note(0, 1.0, FIN)
    assert not flow.is_idle(10.0)
    assert flow.is_idle(12.0)


@given(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=1), st.booleans()), max_size=50))
def test_fragments_share_the_fate_of_the_first_one(first_fragments):
    """A rule that drops a packet must drop all of it, and an accepted one must arrive whole."""
    table = FragmentTable(8)
    latest: dict[tuple[int, bytes], bool] = {}
    for side, key, verdict in first_fragments:
        table.record(side, key, verdict, 1.0)
        latest[side, key] = verdict
        assert table.verdict(side, key, 2.0) is verdict
    assert len(table) <= 8
    for (side, key), verdict in latest.items():
        assert table.verdict(side, key, 2.0) in (verdict, None)
        assert table.verdict(side, key, 2.0 + FRAGMENT_TIMEOUT_S) is None
    table.sweep(2.0 + FRAGMENT_TIMEOUT_S)
    assert len(table) == 0
