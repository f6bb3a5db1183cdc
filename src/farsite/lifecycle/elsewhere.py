"""What becomes of an instantiation that its VIM turned away for want of room.

Placement goes by what a VIM told last, and others take room beside us meanwhile: whether there is any, only
the VIM's own scheduler knows. When it says no, the attempt is taken away from that VIM again, what was
claimed there is given back, the VIM's figures are read anew, and the function is placed once more, where it
may go; each VIM is asked once in an attempt. Where there is no other place the operation rests and holds
nothing anywhere, and a retry begins with a placement.
"""

from collections.abc import Callable

from farsite.lifecycle import deploying, placing
from farsite.lifecycle.world import Op
from farsite.model.errors import NoRoom, NotEnough
from farsite.model.ids import VimId
from farsite.store import operations
from farsite.store.database import Connection

_TURNED_AWAY = "turned away"


async def wait_here_or_elsewhere(
    op: Op, place: Callable[[Connection, Op], object], give_back: Callable[[Connection, Op], None]
) -> object:
    """Wait until the VIM that was chosen, or another that has room, holds the recorded deployment.

    `place` chooses and records a place, `give_back` undoes that. Repeating goes on where it was.

    Raises:
        NoRoom: no VIM that it may go to has room; says why for each. Nothing is held any more.
        VimFault: the VIM failed otherwise, with its own words and the failing resource.
    """
    while True:
        vnf = await deploying.recorded(op)
        if vnf.deployment is None or vnf.vim_id is None:
            await op.world.database.run(_place_anew, op, place)
            await deploying.deploy(op)
            continue
        try:
            return await deploying.wait_until_ready(op)
        except NoRoom as refusal:
            await deploying.undeploy_and_wait(op)
            await placing.look_again(op, vnf.vim_id)
            await op.world.database.run(_leave, op, vnf.vim_id, refusal.detail, give_back)


def _leave(
    connection: Connection,
    op: Op,
    vim_id: VimId,
    words: str,
    give_back: Callable[[Connection, Op], None],
) -> None:
    def do() -> str:
        give_back(connection, op)
        return words

    operations.once(connection, op.operation, f"{_TURNED_AWAY}#{op.attempt}/{vim_id}", do)


def _place_anew(connection: Connection, op: Op, place: Callable[[Connection, Op], object]) -> None:
    words = turned_away(connection, op)
    try:
        operations.once(
            connection, op.operation, f"placed anew#{op.attempt}.{len(words)}", lambda: place(connection, op)
        )
    except NotEnough as nowhere:
        said = " ".join([*words.values(), nowhere.detail])
        raise NoRoom(
            f"{said} Nothing is held meanwhile; retry when there is room (farsite op retry {op.id}), or roll "
            f"back.",
            about=nowhere.about,
        ) from nowhere


def turned_away(connection: Connection, op: Op) -> dict[VimId, str]:
    """The VIMs that turned this attempt away, with their words."""
    prefix = f"{_TURNED_AWAY}#{op.attempt}/"
    found = operations.effects_of(connection, op.id, prefix)
    return {VimId(effect.removeprefix(prefix)): str(words) for effect, words in found.items()}
