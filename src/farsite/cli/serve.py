"""`farsite serve`: one process of the orchestrator with its API."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from farsite.api.app import make_app
from farsite.cli.supervision import Supervisor
from farsite.compose import Farsite, cannot_write
from farsite.model.errors import Refused
from farsite.settings import Settings, read_settings

_MOST_FILES = 100_000
_STOP_WITHIN_S = 30.0
_COLLECTED_AFTER = (20_000, 20, 20)
"""Objects more than at the last collection of garbage, and collections of a generation, after which the next
is collected. Python's own 700 are fewer than a process that watches hundreds of VIMs has under way at any
moment. So what is under way was looked at all the time, and with it, every few seconds, all that stays: a
quarter of a second each time with 300 VIMs, in which nothing else ran."""
_IDLE_S = 75
"""Longer than clients and load balancers keep idle connections (5 s in most): whoever closes second may be
sending a request at that moment, and cannot know whether it was done."""
_SWITCH_S = 0.0005
_LOOPBACK = ("127.", "::1", "localhost")


def serve(
    *,
    data_dir: Path | None = None,
    database_url: str | None = None,
    host: str | None = None,
    port: int | None = None,
    allow_remote: bool = False,
    log_format: str = "text",
) -> int:
    """Run the orchestrator until it is stopped (SIGTERM or Ctrl-C).

    Parameters
    ----------
    data_dir
        Directory for the database, keys, archives and site agents.
    database_url
        PostgreSQL to use instead of the embedded SQLite: postgresql://USER@HOST/DATABASE.
    host
        Address to listen on; anything but loopback also needs --allow-remote.
    port
        TCP port; 0 takes a free one.
    allow_remote
        Listen on an address that others can reach. Put TLS in front.
    log_format
        text or json.
    """
    _configure_logs(log_format)
    # A thread that comes back from the database waits this long for one that computes. At Python's own 5 ms,
    # a dozen statements on the way of an alarm are the whole of what its consumer may wait.
    sys.setswitchinterval(_SWITCH_S)
    if database_url is not None and not database_url.strip():
        print(
            "--database-url is empty, perhaps for a variable that is not set. Give the address of a "
            "PostgreSQL, or leave the option out for SQLite in the data directory.",
            file=sys.stderr,
        )
        return 1
    try:
        settings = read_settings(
            data_dir=data_dir, database_url=database_url, listen_host=host, listen_port=port
        )
        if not settings.listen_host.startswith(_LOOPBACK) and not allow_remote:
            print(
                f"{settings.listen_host} can be reached from outside and this process speaks plain HTTP. "
                f"Put TLS in front and add --allow-remote, or listen on 127.0.0.1.",
                file=sys.stderr,
            )
            return 1
        _allow_connections()
        listener = _listen(settings)
        # A port that was left to chance is known from here on.
        farsite = Farsite(replace(settings, listen_port=listener.getsockname()[1]))
        app = make_app(farsite.context)
    except (Refused, OSError) as refusal:
        print(getattr(refusal, "detail", "") or str(refusal), file=sys.stderr)
        return 1
    try:
        asyncio.run(_run(farsite, app, listener))
    except Refused as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    except Exception as trouble:
        if not (why := cannot_write(trouble)):
            raise
        print(f"{why} Make room there, or have it mended, and start again.", file=sys.stderr)
        return 1
    return 0


def _allow_connections() -> None:
    """Take as many open files as the system lets us have: a shell's 1,024 are used up by 1,000 VIMs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _MOST_FILES), most))


def _listen(settings: Settings) -> socket.socket:
    """The listening socket, bound before anything is started so that a taken port changes nothing."""
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    # The protocol by name: asyncio turns off Nagle's algorithm only where it reads it there, and an answer
    # in two packets would otherwise wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.listen_host, settings.listen_port))
    except OSError as error:
        raise OSError(
            f"Cannot listen on {settings.listen_host} port {settings.listen_port}: {error.strerror}. "
            f"Stop what uses it, or choose another with --port."
        ) from error
    listener.listen(512)
    listener.setblocking(False)
    return listener


async def _run(farsite: Farsite, app: Callable[..., Any], listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
            timeout_keep_alive=_IDLE_S,
        )
    )
    supervisor = Supervisor()
    telling = asyncio.create_task(
        supervisor.keep_telling(lambda: farsite.not_ready_because() or "It wants requests."),
        name="supervisor",
    )
    await farsite.start()
    # `main` put it off until now; what the start has made stays, and is not looked at again.
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)
    gc.enable()
    host, port = listener.getsockname()[:2]
    _write_address(farsite.settings, f"http://{f'[{host}]' if ':' in host else host}:{port}")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _ask_to_stop, farsite, server, supervisor)
    supervisor.tell("READY=1")
    try:
        await server._serve([listener])  # pyright: ignore[reportPrivateUsage]  # `serve` would take the signals
    finally:
        supervisor.tell("STOPPING=1")
        await farsite.stop()
        telling.cancel()


def _ask_to_stop(farsite: Farsite, server: uvicorn.Server, supervisor: Supervisor) -> None:
    """Tell load balancers first, and go on serving until they have heard; the second time stop at once."""
    notice_s = 0.0 if farsite.is_stopping else farsite.settings.stop_notice_s
    farsite.is_stopping = True
    supervisor.tell("STOPPING=1")
    # For the same reason connections end with an answer from now on, as long as the notice lasts.
    server.config.encoded_headers.append((b"connection", b"close"))
    # Threads that wait for a database that is away would keep the process for as long as that is.
    deadline = threading.Timer(notice_s + _STOP_WITHIN_S, _give_up_stopping)
    deadline.daemon = True
    deadline.start()
    asyncio.get_running_loop().call_later(notice_s, _stop_serving, farsite, server)


def _give_up_stopping() -> None:
    print(
        "The stop took too long, perhaps for a database that is away. What ran is taken up by others, or at "
        "the next start.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def _stop_serving(farsite: Farsite, server: uvicorn.Server) -> None:
    farsite.context.serving_ends.set()
    server.should_exit = True


def _write_address(settings: Settings, url: str) -> None:
    """Leave the address where the command line finds it."""
    with contextlib.suppress(OSError):
        (settings.data_dir / "url").write_text(url + "\n")
    with contextlib.suppress(OSError):
        print(f"Farsite listens on {url}; data in {settings.data_dir}.", flush=True)


class _Log(structlog.PrintLogger):
    """Writes what can be written: a full disk below a log must stop nothing else."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _configure_logs(log_format: str) -> None:
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Log(sys.stderr),
        cache_logger_on_first_use=True,
    )
