"""The agent's event loop and its methods, one function per method of `rpc`."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from farsite.model.deployment import Chain, Deployment, NetworkSpec
from farsite.vims.drivers.linux import rpc, wire
from farsite.vims.drivers.linux.agent import looking
from farsite.vims.drivers.linux.agent.holder import Held
from farsite.vims.drivers.linux.agent.launcher import Launcher
from farsite.vims.drivers.linux.agent.site import Setup, Site

Params = Mapping[str, object]
Method = Callable[[Site, Params], Awaitable[object]]


async def _ping(site: Site, _: Params) -> object:
    return site.health()


async def _look(site: Site, _: Params) -> object:
    return await looking.look(site)


async def _sees(site: Site, params: Params) -> object:
    return await looking.sees(site, [str(one) for one in cast(list[object], params["addresses"])])


async def _configure(site: Site, params: Params) -> object:
    site.configure(cast(Mapping[str, object], params["settings"]))
    return None


async def _capabilities(site: Site, _: Params) -> object:
    return wire.to_document(site.capabilities())


async def _zones(site: Site, _: Params) -> object:
    return [wire.to_document(zone) for zone in site.zones()]


async def _deploy(site: Site, params: Params) -> object:
    site.deployments.deploy(wire.from_document(Deployment, params["deployment"]))
    return None


async def _watch(site: Site, params: Params) -> object:
    return [wire.to_document(site.deployments.status(name)) for name in cast(list[str], params["names"])]


async def _undeploy(site: Site, params: Params) -> object:
    await site.deployments.undeploy(str(params["name"]))
    return None


async def _find(site: Site, params: Params) -> object:
    return [wire.to_document(resource) for resource in site.find(str(params["owner"]))]


async def _ensure_network(site: Site, params: Params) -> object:
    site.networks.ensure(wire.from_document(NetworkSpec, params["network"]))
    return None


async def _delete_network(site: Site, params: Params) -> object:
    site.networks.delete(str(params["network_id"]))
    return None


async def _apply_chain(site: Site, params: Params) -> object:
    site.chains.apply(wire.from_document(Chain, params["chain"]))
    return None


async def _delete_chain(site: Site, params: Params) -> object:
    site.delete_chain(str(params["chain_id"]))
    return None


async def _chain_counters(site: Site, params: Params) -> object:
    return [wire.to_document(each) for each in site.chains.counters(str(params["chain_id"]))]


async def _hear(site: Site, params: Params) -> object:
    states = cast(Mapping[str, str], params["states"])
    return site.chains.hear(str(params["chain_id"]), str(params["vim"]), states, int(str(params["at"])))


async def _console(site: Site, params: Params) -> object:
    return await asyncio.to_thread(site.console, str(params["vnfc_id"]))


METHODS: Mapping[str, Method] = {
    "ping": _ping,
    "look": _look,
    "sees": _sees,
    "configure": _configure,
    "capabilities": _capabilities,
    "zones": _zones,
    "deploy": _deploy,
    "watch": _watch,
    "undeploy": _undeploy,
    "find": _find,
    "ensure_network": _ensure_network,
    "delete_network": _delete_network,
    "apply_chain": _apply_chain,
    "delete_chain": _delete_chain,
    "chain_counters": _chain_counters,
    "hear": _hear,
    "console": _console,
}


def serve(
    setup: Setup, held: Held, launcher: Launcher, listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Run the site until the process is killed."""
    asyncio.run(_serve(setup, held, launcher, listener, ready))


async def _serve(
    setup: Setup, held: Held, launcher: Launcher, listener: socket.socket, ready: Callable[[], None]
) -> None:
    site = Site(setup, held, launcher)
    site.start()
    listener.setblocking(False)
    ready()
    loop = asyncio.get_running_loop()
    conversations: set[asyncio.Task[None]] = set()
    while True:
        stream, _ = await loop.sock_accept(listener)
        task = asyncio.ensure_future(_converse(site, rpc.Lines(stream)))
        conversations.add(task)
        task.add_done_callback(conversations.discard)


async def _converse(site: Site, lines: rpc.Lines) -> None:
    with contextlib.suppress(OSError):
        try:
            while (request := await lines.read()) is not None:
                await _answer(site, lines, request)
        except ValueError as error:
            await lines.write(rpc.refusal(error))
        finally:
            lines.close()


async def _answer(site: Site, lines: rpc.Lines, request: rpc.Document) -> None:
    name, params = str(request.get("method")), cast(Params, request.get("params") or {})
    try:
        match name:
            case "events":
                async for event in site.events(int(str(params["after"]))):
                    await lines.write({"result": wire.to_document(event)})
            case "reach":
                with await site.reach(str(params["vnfc_id"]), int(str(params["port"]))) as reached:
                    socket.send_fds(lines.socket, [b'{"result":null}\n'], [reached.fileno()])
            case _ if name in METHODS:
                await lines.write({"result": await METHODS[name](site, params)})
            case _:
                await lines.write(rpc.refusal(ValueError(f"the agent has no method {name}")))
    except ConnectionError:
        raise
    except Exception as error:  # an agent outlives every request
        sys.stderr.write(f"agent: {name}: {type(error).__name__}: {error}\n")
        await lines.write(rpc.refusal(error))
