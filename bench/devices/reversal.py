"""How soon a device is back that a change has cut off, when nobody can reach it to take the change back.

A Linux router gets another management address, by which it cuts off whoever told it so; a firewall function
gets rules that drop everything. Nobody confirms. Late is how much later than its deadline the device was as
before: than the moment at which its own process that takes the change back was started, and the confirm time.
The router is asked for an echo every 5 ms, the function for its change without a pause.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from bench.devices.echoes import Echoes
from bench.devices.functions import FirewallFunction, firewall_function
from bench.devices.routers import MANAGED_BY, Router, routers
from bench.figures import Figure, NotMeasured, percentile
from farsite.model.configuration import Configuration
from farsite.model.errors import FarsiteError
from farsite.model.ids import new_id
from farsite.store.encoding import decode
from farsite.vnfs.adapter import Adapter, Outcome, Wanted

_CONFIRM_WITHIN_S = 3.0
_LATE_MOST_S = 30.0
_SILENT_S = 0.3


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """Milliseconds."""
    runs = 2 if is_quick else 10
    with routers(1) as (router,):
        router.pin()
        cuts = [asyncio.run(_router_cut_off(router)) for _ in range(runs)]
    yield from _figures(
        "Linux router over SSH, its management address replaced",
        [late_s for late_s, _ in cuts],
        f"away for {statistics.median(away_s for _, away_s in cuts):.2f} s (p50)",
    )
    late_s = asyncio.run(_function_that_drops_all(runs))
    yield from _figures("builtin:firewall, drops everything", late_s, "by its own word")


def _figures(what: str, late_s: Sequence[float], more: str) -> Iterator[Figure]:
    note = f"{len(late_s)} changes, to be confirmed within {_CONFIRM_WITHIN_S:g} s; {more}"
    late_ms = [one * 1000 for one in late_s]
    for name, value in (("p50", percentile(late_ms, 50)), ("worst", max(late_ms))):
        yield Figure(what=f"{what}: back after its deadline, {name}", value=value, unit="ms", note=note)


# -- A router -----------------------------------------------------------------------------------------------


async def _router_cut_off(router: Router) -> tuple[float, float]:
    """Seconds from its deadline until it answers again, and for how long it did not."""
    cuts = {"interfaces": [{"name": MANAGED_BY, "addresses": ["192.0.2.1/24"]}]}
    wanted = Wanted(document=decode(Configuration, cuts))
    change_id = new_id()
    adapter = router.open()
    try:
        plan = await adapter.plan(wanted, await adapter.fetch())
        with Echoes(router.address) as echoes:
            await _until(lambda: echoes.silent_for_s < _SILENT_S, "answers echoes")
            applying = asyncio.ensure_future(
                adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=_CONFIRM_WITHIN_S)
            )
            switch = router.switch_of(change_id)
            await _until(switch.exists, "has a process that takes the change back")
            armed_at = switch.stat().st_mtime
            await _until(lambda: echoes.silent_for_s > _SILENT_S, "is cut off")
            await _until(lambda: echoes.silent_for_s < _SILENT_S, "answers again")
        # Its session may live on, or have been given up meanwhile.
        with contextlib.suppress(FarsiteError):
            await applying
    finally:
        await adapter.close()
    await _see_that_it_was_taken_back(router.open(), change_id)
    left_at, back_at = echoes.outage()
    return back_at - (armed_at + _CONFIRM_WITHIN_S), back_at - left_at


async def _see_that_it_was_taken_back(adapter: Adapter, change_id: str) -> None:
    try:
        outcome = await adapter.outcome(change_id)
    finally:
        await adapter.close()
    if outcome is not Outcome.REVERTED:
        raise NotMeasured(f"The device was back, but its change is {outcome.value}.")


async def _until(holds: Callable[[], bool], what: str) -> None:
    async def held() -> bool:
        return holds()

    await _until_asked(held, what)


async def _until_asked(holds: Callable[[], Awaitable[bool]], what: str, *, pause_s: float = 0.002) -> None:
    give_up_at = time.monotonic() + _CONFIRM_WITHIN_S + _LATE_MOST_S
    while not await holds():
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"Not within {_CONFIRM_WITHIN_S + _LATE_MOST_S:g} s: the device {what}.")
        await asyncio.sleep(pause_s)


# -- A function of our own ----------------------------------------------------------------------------------


async def _function_that_drops_all(runs: int) -> list[float]:
    """Seconds from its deadline until it says that the change was taken back."""
    async with firewall_function() as function:
        return [await _taken_back(function) for _ in range(runs)]


async def _taken_back(function: FirewallFunction) -> float:
    wanted = Wanted(document=decode(Configuration, {"firewall": {"default_action": "drop"}}))
    change_id = new_id()
    adapter = function.open()
    try:
        plan = await adapter.plan(wanted, await adapter.fetch())
        await adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=_CONFIRM_WITHIN_S)
    finally:
        await adapter.close()
    until = float((await function.ask("GET", "/change"))["until"])

    async def is_back() -> bool:
        return (await function.ask("GET", "/change"))["outcome"] == Outcome.REVERTED.value

    await _until_asked(is_back, "has taken the change back", pause_s=0)
    return time.time() - until
