"""Changes on trial: whatever is asked in whatever order, what runs is what was confirmed last, or what is on
trial for its time."""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.functions.changes import Changes
from farsite.functions.documents import DocumentError, DocumentFault
from farsite.functions.reactor import Reactor, Timer
from farsite.functions.web import Request


class Clockwork:
    """A reactor whose time a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Timer]] = []

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        self.timers.append((self.now + delay_s, timer))
        return timer

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for at, timer in self.timers if at <= self.now]
        self.timers = [(at, timer) for at, timer in self.timers if at > self.now]
        for timer in due:
            timer.callback()


class Dial:
    """A function with one number, which may not be negative."""

    def __init__(self) -> None:
        self.number = 0

    def configuration(self) -> Mapping[str, object]:
        return {"number": self.number}

    def configure(self, document: object) -> None:
        number = cast("dict[str, int]", document)["number"]
        if number < 0:
            raise DocumentError([DocumentFault("number", str(number), "0 or more")])
        self.number = number


class Bench:
    def __init__(self) -> None:
        self.clockwork, self.dial = Clockwork(), Dial()
        self.changes = Changes(cast(Reactor, self.clockwork), self.dial, now=lambda: self.clockwork.now)

    def ask(self, method: str, path: str, **body: object) -> tuple[int, Mapping[str, Any]]:
        request = Request(method, path, json.dumps(body).encode(), "127.0.0.1", 1)
        answer = self.changes.handle(request)
        assert answer is not None
        return answer.status, json.loads(answer.body)

    def begin(self, change_id: str, number: int, within_s: int = 10) -> int:
        configuration = {"number": number}
        return self.ask("PUT", "/change", id=change_id, configuration=configuration, within_s=within_s)[0]

    @property
    def outcome(self) -> str:
        return self.ask("GET", "/change")[1]["outcome"]


def test_what_nobody_confirms_is_taken_back_by_the_function_itself() -> None:
    """Whoever cut himself off can do nothing about it any more."""
    bench = Bench()
    assert bench.begin("a", 7, within_s=10) == 200
    assert (bench.dial.number, bench.outcome) == (7, "PENDING")
    bench.clockwork.pass_by(9.9)
    assert bench.dial.number == 7
    bench.clockwork.pass_by(0.2)
    assert (bench.dial.number, bench.outcome) == (0, "REVERTED")
    assert bench.ask("POST", "/change/confirm", id="a")[0] == 409


def test_what_is_refused_leaves_no_change_behind() -> None:
    """Else its maker would wait for an end of something that never began."""
    bench = Bench()
    with pytest.raises(DocumentError):
        bench.begin("a", -1)
    assert (bench.dial.number, bench.outcome) == (0, "NONE")
    assert bench.begin("b", 3) == 200


def test_a_second_change_waits_for_the_end_of_the_first() -> None:
    """Two on trial could not be taken back one by one."""
    bench = Bench()
    assert (bench.begin("a", 1), bench.begin("a", 1), bench.begin("b", 2)) == (200, 200, 409)
    assert bench.ask("POST", "/change/revert", id="b")[0] == 404
    assert bench.dial.number == 1


orders = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from("abc"), st.integers(0, 9)),
    st.tuples(st.sampled_from(("confirm", "revert")), st.sampled_from("abc")),
    st.tuples(st.just("wait"), st.integers(1, 15)),
)


@given(st.lists(orders, max_size=30))
def test_what_runs_is_what_was_confirmed_last_or_is_on_trial(given_orders: list[tuple[Any, ...]]) -> None:
    """Lost answers make people ask again, late and out of order."""
    bench = Bench()
    kept, on_trial, until = 0, None, 0.0
    for order in given_orders:
        match order:
            case "begin", change_id, number:
                last = bench.ask("GET", "/change")[1]["id"]
                status = bench.begin(change_id, number)
                if last != change_id:
                    assert status == (409 if on_trial is not None else 200)
                    if status == 200:
                        on_trial, until = number, bench.clockwork.now + 10
            case "wait", seconds:
                bench.clockwork.pass_by(seconds)
                if on_trial is not None and bench.clockwork.now >= until:
                    on_trial = None
            case verb, change_id:
                status, told = bench.ask("POST", f"/change/{verb}", id=change_id)
                if on_trial is not None and status == 200 and told["id"] == change_id:
                    kept = on_trial if verb == "confirm" else kept
                    on_trial = None
            case _:
                raise AssertionError(order)
        assert bench.dial.number == (kept if on_trial is None else on_trial)
        assert bench.changes.is_pending is (on_trial is not None)
