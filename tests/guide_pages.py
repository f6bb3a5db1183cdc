"""The user guide as its reader works through it: each command is typed in a shell, in the order of the page.

A ` ```console ` block holds commands after `$ ` (continued after `> `) and what they print. In the printed
part `...` stands for anything, on a line of its own for any lines, and the width of gaps means nothing; a
command with nothing printed below it may print what it likes. ` ```console exit=1 ` says how the commands
end, and ` ```console service ` is typed in another terminal and runs on.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
TRIED_ELSEWHERE = frozenset({"alarms.md", "catalogue.md", "day-zero.md"})
"""By `tests/cli/test_alarm_guide.py`, `tests/cli/test_catalogue_guide.py` and
`tests/vnfs/test_first_contact.py`."""
COMMAND_WITHIN_S = 300.0
START_WITHIN_S = 120.0
_FENCE = re.compile(r"^```(\w*) ?(.*)$")
_ENV_LINE = re.compile(r"^(export|unset) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a page, with what it shall print; an empty `printed` leaves that open."""

    page: str
    line: int
    command: str
    printed: tuple[str, ...] = ()
    exit_code: int = 0
    is_service: bool = False

    @property
    def place(self) -> str:
        return f"docs/guide/{self.page}:{self.line}"


def read_page(name: str, *, until: str = "") -> list[Step]:
    """The commands of a page, those before the line `until` only if that is given."""
    found: list[Step] = []
    info: str | None = None
    for number, line in enumerate((GUIDE / name).read_text().splitlines(), 1):
        if until and line == until:
            return found
        fence = _FENCE.match(line)
        if fence:
            is_console = info is None and fence[1] == "console"
            info = fence[2] if is_console else None
        elif info is not None:
            _read_line(found, name, number, line, info)
    assert not until, f'{name} has no line "{until}"'
    return found


def _read_line(found: list[Step], page: str, number: int, line: str, info: str) -> None:
    if line.startswith("$ "):
        wanted = re.search(r"exit=(\d+)", info)
        found.append(
            Step(
                page=page, line=number, command=line[2:], exit_code=int(wanted[1]) if wanted else 0,
                is_service="service" in info.split(),
            )
        )  # fmt: skip
        return
    last = found.pop()
    if line.startswith("> ") and not last.printed:
        command = f"{last.command}\n{line[2:]}"
        found.append(_with(last, command=command))
    else:
        found.append(_with(last, printed=(*last.printed, line)))


def _with(step: Step, *, command: str = "", printed: tuple[str, ...] = ()) -> Step:
    return Step(
        page=step.page, line=step.line, command=command or step.command, printed=printed or step.printed,
        exit_code=step.exit_code, is_service=step.is_service,
    )  # fmt: skip


def is_as_printed(printed: tuple[str, ...], seen: str) -> bool:
    """Whether a command printed what the page says."""
    pattern = "".join(_line_pattern(line) for line in printed if line.strip())
    lines = [_squeezed(line) for line in seen.splitlines() if line.strip()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _line_pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*"
    return ".*".join(re.escape(part) for part in _squeezed(line).split("...")) + r"\n"


def _squeezed(line: str) -> str:
    return " ".join(line.split())


class Reader:
    """Somebody at a shell, in a directory with a `clouds.yaml`, who types what the guide says.

    `files` are what else the directory holds, `programs` what else there is to run, and `names` what the
    guide calls things of the reader's own clouds and what they are called there.
    """

    def __init__(
        self, *, files: Mapping[str, str], names: Mapping[str, str], programs: Mapping[str, Path]
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fsg-", dir="/tmp"))
        for name, text in files.items():
            (self.directory / name).write_text(text)
        (self.directory / "bin").mkdir()
        for name, program in programs.items():
            (self.directory / "bin" / name).symlink_to(program)
        self._names = names
        self._exports: list[str] = []
        self._services: list[subprocess.Popen[bytes]] = []
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "FARSITE_"))}
        bin_directory = str(Path(sys.executable).parent)
        self._environment = {
            **kept,
            "HOME": str(self.directory),
            "PATH": f"{bin_directory}:{self.directory / 'bin'}:{kept['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "FARSITE_LISTEN_PORT": str(_free_port()),
        }
        self._environment.pop("XDG_DATA_HOME", None)

    @property
    def data_dir(self) -> Path:
        return self.directory / ".local" / "share" / "farsite"

    def follow(self, steps: list[Step]) -> None:
        """Type every command and compare what it prints; what differs is told at the end, all together."""
        assert steps, "the page has no command"
        differing = [told for step in steps if (told := self.type(step))]
        assert not differing, "\n\n".join(differing)

    def type(self, step: Step) -> str:
        """Type a command. What differs from the page in what it prints, empty when nothing does.

        Raises:
            AssertionError: it does not end as the page says, so that nothing after it need be tried.
        """
        command = self._named(step.command)
        if step.is_service:
            self._serve(command)
            return ""
        if _ENV_LINE.match(command):
            self._exports.append(command)
            return ""
        script = "\n".join([*self._exports, command])
        started = time.monotonic()
        # Standard input ends at once: a command that asks something would wait for ever.
        run = subprocess.run(
            ["bash", "-c", script], cwd=self.directory, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=COMMAND_WITHIN_S, check=False,
        )  # fmt: skip
        took = f"{time.monotonic() - started:.1f} s"
        told = f"{step.place}: $ {command}\n{run.stdout}\nexit code {run.returncode} after {took}"
        print(told)  # the whole session, for whoever reads a failure
        assert run.returncode == step.exit_code, f"{told}; the page says {step.exit_code}"
        printed = tuple(self._named(line) for line in step.printed)
        if not printed or is_as_printed(printed, run.stdout):
            return ""
        return f"{told}\n-- the page says --\n" + "\n".join(printed)

    def _named(self, text: str) -> str:
        for given, own in self._names.items():
            text = re.sub(rf"\b{re.escape(given)}\b", own, text)
        return text

    def _serve(self, command: str) -> None:
        if self._services:
            return  # a reader of the next page has it running already
        log = (self.directory / "serve.log").open("ab")
        service = subprocess.Popen(
            ["bash", "-c", "\n".join([*self._exports, f"exec {command}"])],
            cwd=self.directory, env=self._environment, stdout=log, stderr=log,
        )  # fmt: skip
        self._services.append(service)
        url, give_up_at = self.data_dir / "url", time.monotonic() + START_WITHIN_S
        while not (url.is_file() and _answers(self._environment["FARSITE_LISTEN_PORT"])):
            log_text = (self.directory / "serve.log").read_text(errors="replace")
            assert service.poll() is None, f"the service ended: {log_text}"
            assert time.monotonic() < give_up_at, f"the service did not start: {log_text}"
            time.sleep(0.1)

    def leave(self) -> None:
        """Stop what was started, remove what Linux sites left on this host, and the directory."""
        for service in self._services:
            service.send_signal(signal.SIGTERM)
        for service in self._services:
            try:
                service.wait(15)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        if (self.data_dir / "run" / "sites").is_dir():
            module = "farsite.vims.drivers.linux.agent.remove"
            subprocess.run([sys.executable, "-m", module, str(self.data_dir / "run")], check=True, timeout=60)
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: str) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", int(port))) == 0


def pages() -> Iterator[str]:
    """The pages of the guide that hold commands, without those that are tried elsewhere."""
    for path in sorted(GUIDE.glob("*.md")):
        if "```console" in path.read_text() and path.name not in TRIED_ELSEWHERE:
            yield path.name
