"""SIGKILL of the orchestrator at every turn of an instantiation that its VIM turned away for want of room."""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping

import pytest
from fault_grounds import Grounds
from fault_lab import Lab, check_nothing_is_stuck, inject, vim_id
from fault_processes import KILLED, life

from farsite.lifecycle import deploying, elsewhere, placing
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.world import Op
from farsite.model.ids import new_id
from farsite.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("grounds", ["sqlite", "postgresql"], indirect=True),
]
ALL_OF_IT = 16_384


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def die_outside(*_: object, **__: object) -> None:
    die()


def die_of_the_second(deploy: Callable[[Op], Awaitable[object]]) -> Callable[[Op], Awaitable[object]]:
    async def strike(op: Op) -> None:
        if (await deploying.recorded(op)).vim_id == vim_id("south"):
            die()
        await deploy(op)

    return strike


CUTS: Mapping[str, Callable[[], None]] = {
    "it is taken away": lambda: setattr(deploying, "undeploy_and_wait", die_outside),
    "the VIM is looked at": lambda: setattr(placing, "look_again", die_outside),
    "its room is given back": lambda: setattr(elsewhere, "_leave", die),
    "it is placed anew": lambda: setattr(elsewhere, "_place_anew", die),
    "the other VIM is asked": lambda: setattr(deploying, "deploy", die_of_the_second(deploying.deploy)),
}


async def create(lab: Lab) -> str:
    await lab.watched()
    return await lab.create_vnf()


async def begin(lab: Lab, vnf_id: str, operation_id: str, cut: str) -> str:
    """Decide on what was told a moment ago, have others take it, and die before what `cut` says."""
    await lab.watched()
    await inject(lab.settings, "north", "others", vcpus=ALL_OF_IT)
    CUTS[cut]()
    await lab.begin("instantiate_vnf", vnf_id, InstantiateVnf(), operation_id=operation_id)
    return (await lab.settled(operation_id)).state.value


async def go_on(lab: Lab, vnf_id: str, operation_id: str) -> tuple[str, str]:
    operation = await lab.settled(operation_id)
    await check_nothing_is_stuck(lab)
    vnf = await lab.vnf(vnf_id)
    return operation.state.value, str(vnf.vim_id)


def settings_of(grounds: Grounds) -> Settings:
    # What a VIM has is read at the start of a life, and not again while we decide.
    return grounds.settings(grounds.copy(), inventory_period_s=3600)


@pytest.mark.parametrize("cut", CUTS)
def test_whoever_dies_while_it_is_turned_away_it_stands_elsewhere_once(grounds: Grounds, cut: str) -> None:
    """Its room on the first VIM is given back once, on the second it is claimed once, and nothing of it is
    left where it was turned away."""
    settings, operation_id = settings_of(grounds), new_id()
    vnf_id = life(settings, create)
    assert life(settings, begin, vnf_id, operation_id, cut) == KILLED
    assert life(settings, go_on, vnf_id, operation_id) == ("COMPLETED", vim_id("south"))
