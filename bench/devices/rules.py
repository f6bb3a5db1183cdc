"""A thousand firewall rules by each adapter that takes them, against plain use of its transport.

Both put the same native text on the same device, which has none of it, on a connection of their own; in turn,
so that whatever else the machine does meets both. Planned, applied and confirmed by the adapter directly:
neither the service nor its database is in it. After each the adapter is asked whether anything is left to
change.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.devices.contenders import CONTENDERS, Contender, Device
from bench.figures import Figure, NotMeasured
from farsite.model.configuration import Configuration
from farsite.model.ids import new_id
from farsite.store.encoding import decode
from farsite.vnfs.adapter import Wanted

_CONFIRM_WITHIN_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Seconds of one change by an adapter, from no connection to none."""

    plan_s: float
    """To fetch and to compare."""
    apply_s: float
    confirm_s: float

    @property
    def whole_s(self) -> float:
        return self.plan_s + self.apply_s + self.confirm_s


def measure(*, is_quick: bool) -> Iterator[Figure]:
    """A ratio per adapter."""
    count, pairs = (100, 2) if is_quick else (1000, 5)
    for contender in CONTENDERS.values():
        yield asyncio.run(_compared(contender, count, pairs))


def document(count: int, *, network: int = 10) -> Configuration:
    """So many rules: each has a source of its own in NETWORK.0.0.0/8 and one of fifty ports."""
    rules = [
        {
            "name": f"rule-{number:04}",
            "protocol": "tcp",
            "source": f"{network}.{number >> 8}.{number & 255}.0/24",
            "destination_ports": [str(8000 + number % 50)],
        }
        for number in range(count)
    ]
    return decode(Configuration, {"firewall": {"rules": rules}})


async def _compared(contender: Contender, count: int, pairs: int) -> Figure:
    wanted = Wanted(document=document(count))
    ours: list[Taken] = []
    plain_s: list[float] = []
    async with contender.start() as device:
        await device.empty()
        await _by_adapter(device, wanted)  # nothing is warm at the first
        text = device.text(wanted, await _told(device))
        for number in range(pairs):
            for is_ours in (True, False) if number % 2 == 0 else (False, True):
                await device.empty()
                if is_ours:
                    ours.append(await _by_adapter(device, wanted))
                else:
                    plain_s.append(await _plainly(device, text))
                await _see_that_it_runs(contender, device, wanted)
    return _figure(contender, count, ours, plain_s)


def _figure(contender: Contender, count: int, ours: Sequence[Taken], plain_s: Sequence[float]) -> Figure:
    ratios = [one.whole_s / plain for one, plain in zip(ours, plain_s, strict=True)]
    middle = statistics.median
    parts = {
        "plan": middle(one.plan_s for one in ours),
        "apply": middle(one.apply_s for one in ours),
        "confirm": middle(one.confirm_s for one in ours),
    }
    return Figure(
        what=f"{contender.what}: {count:,} rules by the adapter, against {contender.plain}",
        value=middle(ratios),
        unit="times",
        note=f"{min(ratios):.2g} to {max(ratios):.2g} of {len(ratios)} pairs; "
        f"{middle(one.whole_s for one in ours):.2f} s against {middle(plain_s):.2f} s "
        f"({', '.join(f'{name} {took:.2f}' for name, took in parts.items())}); beyond "
        f"that it {contender.more}",
    )


async def _by_adapter(device: Device, wanted: Wanted) -> Taken:
    change_id = new_id()
    times = [time.monotonic()]
    adapter = device.open()
    try:
        plan = await adapter.plan(wanted, await adapter.fetch())
        times.append(time.monotonic())
        await adapter.apply(wanted, plan, change_id=change_id, confirm_within_s=_CONFIRM_WITHIN_S)
        times.append(time.monotonic())
        await adapter.confirm(change_id)
    finally:
        await adapter.close()
    times.append(time.monotonic())
    return Taken(plan_s=times[1] - times[0], apply_s=times[2] - times[1], confirm_s=times[3] - times[2])


async def _plainly(device: Device, text: str) -> float:
    started = time.monotonic()
    await device.send(text)
    return time.monotonic() - started


async def _told(device: Device) -> str:
    """The text of the rules as the device tells it."""
    adapter = device.open()
    try:
        return (await adapter.fetch()).texts["firewall"]
    finally:
        await adapter.close()


async def _see_that_it_runs(contender: Contender, device: Device, wanted: Wanted) -> None:
    adapter = device.open()
    try:
        plan = await adapter.plan(wanted, await adapter.fetch())
    finally:
        await adapter.close()
    left = "".join(one.diff for one in plan.differences)
    if left:
        raise NotMeasured(f"{contender.what} does not run the rules that were sent: {left[:300]}")
