"""Real processes of Farsite that are really killed, started quickly.

Importing everything takes longer than the rest of a scenario, so one fork server per test worker imports
once and forks a child per life of an orchestrator. It has no threads when it forks.
"""

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from fault_lab import Kill, Lab, Sabotage, quiet

from farsite.settings import Settings

LIFE_S = 60.0
"""How long a child may live before it gives up by itself, so that none outlives a broken test run. Where VIMs
take their time, `life` is told more."""

_PRELOADED = [
    "farsite.compose", "farsite.functions.packaging", "farsite.vims.drivers.simulated.driver", "psycopg",
    "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg", "fault_lab", "fault_scenarios",
]  # fmt: skip

Work = Callable[..., Awaitable[object]]
"""`async def work(lab, ...)`, a function of a module; what it returns must be picklable."""


@dataclass
class Tally:
    """How many orchestrators were killed."""

    kills: int = 0
    by_kind: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, kind: str) -> None:
        self.kills += 1
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1


TALLY = Tally()


def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    # The fork server looks for the modules of the tests where we do.
    here = os.path.dirname(__file__)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, paths)])
    return context


def life(
    settings: Settings,
    work: Work,
    *arguments: object,
    kill: Kill | None = None,
    sabotage: Sabotage | None = None,
    kind: str = "",
    within_s: float = LIFE_S,
) -> object:
    """One life of an orchestrator: start, do the work, and end without a stop.

    Returns what the work returned, or `KILLED` when the process died by SIGKILL on the way.
    """
    context = _server()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_live,
        args=(theirs, settings, work, arguments, kill, sabotage or Sabotage(), within_s),
        daemon=True,
    )
    process.start()
    theirs.close()
    answer: tuple[str, object] | None = None
    try:
        if ours.poll(within_s):
            answer = ours.recv()
    except EOFError:
        answer = None
    finally:
        ours.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    if answer is None:
        assert process.exitcode == -signal.SIGKILL, f"the orchestrator ended with {process.exitcode}"
        TALLY.count(kind or "step")
        return KILLED
    outcome, result = answer
    assert outcome == "done", result
    return result


KILLED = "killed"
DYING_S = 5.0


def _live(
    pipe: Connection,
    settings: Settings,
    work: Work,
    arguments: tuple[object, ...],
    kill: Kill | None,
    sabotage: Sabotage,
    within_s: float,
) -> None:
    quiet(settings.data_dir / "log.txt")

    async def whole_life() -> None:
        asyncio.get_running_loop().call_later(within_s, os._exit, 3)
        try:
            lab = Lab(settings, sabotage)
            await lab.start(kill)
            done = await work(lab, *arguments)
            if kill is not None:
                # After the last step the end can be seen a moment before we die of it.
                await asyncio.sleep(DYING_S)
            pipe.send(("done", done))
        except BaseException:
            pipe.send(("failed", traceback.format_exc()))
        # No stop and no orderly end of the loop: the next life finds everything as after a crash.
        os._exit(0)

    asyncio.run(whole_life())
