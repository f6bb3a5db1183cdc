"""The engine of adapters whose method is `shell`: a dictionary and a shell make an adapter.

The device does the careful part itself, by `guard.sh`, in one command per verb: what was fetched is compared
again under a lock, the candidate is checked by the product's own program, what was there is kept, and a
process of the device takes the change back unless it is confirmed. So a session that breaks off leaves
nothing half done.
"""

import hashlib
import io
import re
import shlex
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from farsite.model.errors import Conflict, FarsiteError, VnfFault
from farsite.model.licence import Licence
from farsite.vnfs.adapter import (
    RETRIED,
    About,
    Backup,
    Difference,
    ErrorCode,
    Outcome,
    Plan,
    Probed,
    Running,
    Sample,
    Wanted,
)
from farsite.vnfs.between import Between, InterposedShell
from farsite.vnfs.dictionary import Folder, Place
from farsite.vnfs.licences import figures_of, lacking
from farsite.vnfs.shell import Ran, Shell
from farsite.vnfs.texts import diff, hidden, masked

GUARD = resources.files("farsite.vnfs").joinpath("guard.sh").read_bytes()
_GUARD_DIGEST = hashlib.sha256(GUARD).hexdigest()
_LACKS_GUARD = 91
_MARK = "=== "


class ShellAdapter:
    """One device, managed by the dictionary of its product."""

    def __init__(
        self,
        folder: Folder,
        shell: Shell,
        *,
        device: str,
        parameters: Mapping[str, str],
        keep_in: str = "/var/lib/farsite",
        timeout_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`device` is what people call it; `parameters` are laid over the adapter's defaults; what guards
        changes is kept on the device below `keep_in`; `timeout_s` bounds every single exchange with the
        device; `now` is POSIX time.

        Raises:
            Invalid: the adapter has no such parameter.
        """
        self._folder = folder
        self._shell = shell
        self._device = device
        self._parameters = folder.parameters(parameters)
        self._timeout_s = timeout_s
        self._now = now
        self._directory = f"{keep_in}/{folder.dictionary.name}"

    def interpose(self, between: Between) -> None:
        """Put something between this adapter and its device; see `Interposable`."""
        self._shell = InterposedShell(self._shell, between)
        clock = self._now
        self._now = lambda: between.now(clock)

    @property
    def about(self) -> About:
        return self._folder.about

    async def fetch(self) -> Running:
        """What runs now; see `Adapter.fetch`."""
        ran = await self._run(self._fetch_script(self._folder.dictionary.places))
        if ran.status:
            raise self._fault("cannot say what it runs", ran.words)
        return Running(
            texts={name: self._hidden(text) for name, text in sections(ran.output).items()},
            version=await self._version(),
            digest=hashlib.sha256(ran.output.encode()).hexdigest(),
        )

    async def back_up(self) -> Backup:
        """All that runs now; see `Adapter.back_up`."""
        places = self._folder.dictionary.places
        ran = await self._run(self._backup_script(places))
        if ran.status:
            raise self._fault("cannot say what it runs; there is no backup", ran.words)
        found = sections(ran.output)
        texts = {
            place.name: found[place.name] if place.fetch else _of_file(found[place.name]) for place in places
        }
        return Backup(texts=texts, version=await self._version())

    async def plan(self, wanted: Wanted, running: Running) -> Plan:
        """What would change, place by place; see `Adapter.plan`."""
        if wanted.backup is not None:
            await self._candidates(present(wanted.backup))
            told = {name: _as_fetched(text or "") for name, text in self._kept(wanted.backup).items()}
        else:
            told = await self._candidates(self._folder.render(wanted, self._parameters))
        differences = tuple(
            Difference(
                place=name,
                diff=masked(diff(name, running.texts.get(name, ""), self._hidden(text)), wanted.secrets),
            )
            for name, text in told.items()
        )
        return Plan(differences=differences, against=running.digest)

    async def apply(self, wanted: Wanted, plan: Plan, *, change_id: str, confirm_within_s: float) -> None:
        """Install and activate, unconfirmed; see `Adapter.apply`."""
        if wanted.backup is not None:
            kept = self._kept(wanted.backup)
            places = [place for place in self._folder.dictionary.places if place.name in kept]
            change = self._change(places, kept)
        else:
            texts = self._folder.render(wanted, self._parameters)
            change = self._change(self._folder.places_of(wanted.document), texts)
        ran = await self._guarded(
            "apply",
            change_id,
            str(max(1, round(confirm_within_s))),
            plan.against,
            given=packed(change),
            timeout_s=max(self._timeout_s, confirm_within_s),
        )
        if ran.status:
            raise self._refusal(ran.status, change_id, self._hidden(masked(ran.words, wanted.secrets)))

    async def confirm(self, change_id: str) -> None:
        """Keep the change; see `Adapter.confirm`."""
        ran = await self._guarded("confirm", change_id)
        if ran.status:
            raise self._refusal(ran.status, change_id, ran.words)

    async def revert(self, change_id: str) -> None:
        """Take the change back; see `Adapter.revert`."""
        ran = await self._guarded("revert", change_id)
        if ran.status == 69:
            raise self._fault("has the files of before again, and could not activate them", ran.words)
        if ran.status:
            raise self._refusal(ran.status, change_id, ran.words)

    async def outcome(self, change_id: str) -> Outcome:
        """What became of a change; see `Adapter.outcome`."""
        ran = await self._guarded("outcome", change_id)
        if ran.status:
            raise self._refusal(ran.status, change_id, ran.words)
        return Outcome(ran.output.strip())

    async def health(self) -> Sequence[Probed]:
        """Look at each service; see `Adapter.health`."""
        looked: list[Probed] = []
        for probe in self._folder.dictionary.health:
            ran = await self._run(self._command(probe.command))
            is_well = ran.status == 0 and bool(re.search(probe.expect, ran.output, re.MULTILINE))
            looked.append(Probed(name=probe.name, is_well=is_well, said="" if is_well else ran.words[:500]))
        return looked

    async def metrics(self) -> Sequence[Sample]:
        """The figures now; see `Adapter.metrics`."""
        answers: dict[str, Ran] = {}
        samples: list[Sample] = []
        for metric in self._folder.dictionary.metrics:
            command = self._command(metric.command)
            if command not in answers:
                answers[command] = await self._run(command)
            ran = answers[command]
            if ran.status:
                raise self._fault(f"cannot tell {metric.name}", ran.words)
            for found in re.finditer(metric.pattern, ran.output, re.MULTILINE):
                labels = {name: text or "" for name, text in found.groupdict().items() if name != "value"}
                samples.append(Sample(name=metric.name, value=float(found["value"]), labels=labels))
        if self._folder.dictionary.licences:
            samples += await figures_of(self, self._now())
        return samples

    async def licences(self) -> Sequence[Licence]:
        """Which it has; see `Licences.licences`."""
        section = self._folder.dictionary.licences
        if section is None:
            raise lacking(self.about)
        ran = await self._run(self._command(section.command))
        if ran.status:
            raise self._fault("cannot tell its licences", ran.words)
        told = self._folder.licences_in(ran.output, self._now())
        if told is None:
            raise self._fault("tells its licences in words that cannot be read", ran.output.strip()[:500])
        return told

    async def close(self) -> None:
        await self._shell.close()

    # How the device is asked.

    def _command(self, text: str) -> str:
        return self._folder.command(text, self._parameters)

    async def _run(self, command: str, *, given: bytes = b"", timeout_s: float = 0.0) -> Ran:
        return await self._shell.run(command, given=given, timeout_s=timeout_s or self._timeout_s)

    def _guard(self, verb: str, *words: str) -> str:
        """The command line of a call of the guard."""
        directory = shlex.quote(self._directory)
        return f"exec sh {directory}/guard {directory} {shlex.join((verb, *words))}"

    async def _guarded(self, verb: str, *words: str, given: bytes = b"", timeout_s: float = 0.0) -> Ran:
        directory = shlex.quote(self._directory)
        command = (
            f'[ "$(sha256sum {directory}/guard 2>/dev/null | cut -c 1-64)" = {_GUARD_DIGEST} ] || '
            f"{{ cat >/dev/null; exit {_LACKS_GUARD}; }}; {self._guard(verb, *words)}"
        )
        ran = await self._run(command, given=given, timeout_s=timeout_s)
        if ran.status != _LACKS_GUARD:
            return ran
        laid = await self._run(
            f"umask 077; mkdir -p {directory} && cat >{directory}/guard.new && "
            f"mv {directory}/guard.new {directory}/guard",
            given=GUARD,
        )
        if laid.status:
            raise self._fault(f"cannot keep what guards a change below {self._directory}", laid.words)
        return await self._run(command, given=given, timeout_s=timeout_s)

    def _hidden(self, text: str) -> str:
        """The text with a digest in place of each secret: who reads it sees that one changed, not what it "
        "is."""
        return _hidden(text, self._folder.dictionary.secrets)

    def _path(self, place: Place) -> str:
        return self._command(place.path)

    def _fetch_script(self, places: Sequence[Place]) -> str:
        lines: list[str] = []
        for place in places:
            path = shlex.quote(self._path(place))
            command = self._command(place.fetch) if place.fetch else f"[ ! -e {path} ] || cat {path}"
            lines += section(place.name, command)
        return "\n".join(lines) + "\n"

    def _backup_script(self, places: Sequence[Place]) -> str:
        """As `_fetch_script`; of a file also how it ends, and whether it is there."""
        lines: list[str] = []
        for place in places:
            path = shlex.quote(self._path(place))
            command = (
                self._command(place.fetch)
                if place.fetch
                else f"[ ! -e {path} ] || {{ cat {path} && echo .; }}"
            )
            lines += section(place.name, command)
        return "\n".join(lines) + "\n"

    def _kept(self, backup: Backup) -> Mapping[str, str | None]:
        """What a backup holds of the places that there are still."""
        names = {place.name for place in self._folder.dictionary.places}
        return {name: text for name, text in backup.texts.items() if name in names}

    async def _version(self) -> str:
        if not self._folder.dictionary.version:
            return ""
        told = await self._run(self._command(self._folder.dictionary.version))
        return told.output.strip().splitlines()[0] if told.output.strip() else ""

    async def _candidates(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """The texts in the form in which the device tells them, after its own check of them."""
        if not texts:
            # An empty document, or a backup of nothing: there is nothing that a product could judge.
            return {}
        lines = [
            "d=$(mktemp -d) || exit 73",
            "trap 'rm -rf \"$d\"' EXIT",
            'tar -xf - -C "$d" && cd "$d/new" || exit 73',
            'sh ../check >"$d/said" 2>&1 || { cat "$d/said"; exit 65; }',
        ]
        places = [place for place in self._folder.dictionary.places if place.name in texts]
        for place in places:
            canonical = self._command(place.canonical) if place.canonical else "cat"
            lines += section(place.name, f"{{ {canonical}\n}} <{place.name}")
        ran = await self._run("\n".join(lines), given=packed(self._change(places, texts, by_name=True)))
        if ran.status == 65:
            raise self._fault("finds the configuration wrong; nothing was changed", ran.words)
        if ran.status:
            raise self._fault("could not look at the configuration; nothing was changed", ran.words)
        return sections(ran.output)

    def _change(
        self, places: Sequence[Place], texts: Mapping[str, str | None], *, by_name: bool = False
    ) -> dict[str, str]:
        """What `guard.sh` takes: scripts, the list of files, contents (None: it shall not be there). `check`
        finds candidates by their names."""
        dictionary = self._folder.dictionary
        numbered = {place.name: str(index) for index, place in enumerate(places)}
        # The check sees candidates under their places' names; the guard installs by number.
        stands = [name for name, text in texts.items() if text is not None]
        named = "" if by_name else "".join(f"ln -f {numbered[name]} {name}; " for name in stands)
        check = self._command(dictionary.check) if stands else ""
        return {
            "fetch": self._fetch_script(dictionary.places),
            "check": f"{named}{check or ':'}\n",
            "activate": self._command(dictionary.activate) + "\n",
            "files": "".join(f"{numbered[p.name]} {p.mode} {self._path(p)}\n" for p in places),
            "was": "".join(f"{numbered[p.name]} {p.name}\n" for p in places if p.fetch),
            **{
                f"new/{name if by_name else numbered[name]}{'.absent' if text is None else ''}": text or ""
                for name, text in texts.items()
            },
        }

    # What its answers mean.

    def _fault(self, what: str, words: str) -> VnfFault:
        code = self._folder.meaning(words)
        again = "Repeating it may help." if RETRIED[code] else "Repeating it will not help."
        return VnfFault(
            f"{self._device} ({self._folder.dictionary.product}) {what}. It says: {words or 'nothing'}. "
            f"{again}",
            about={"code": code},
        )

    def _refusal(self, status: int, change_id: str, words: str) -> FarsiteError:
        match status:
            case 65:
                return self._fault("finds the configuration wrong; nothing was changed", words)
            case 66:
                return self._fault("could not activate the configuration; what was before is in place", words)
            case 69:
                return self._fault(
                    "could neither activate the configuration nor take it back; the files are those of "
                    "before",
                    words,
                )
            case 67:
                return Conflict(
                    f"Change {change_id} of {self._device} was taken back: it was not confirmed in time, "
                    f"or failed."
                )
            case 68:
                return Conflict(
                    f"Change {change_id} of {self._device} is confirmed; roll back to a version instead."
                )
            case 70:
                return Conflict(
                    f"What {self._device} runs was changed by somebody else since the plan was made. Plan "
                    f"again.",
                    about={"code": ErrorCode.CONFLICT},
                )
            case 73:
                return VnfFault(
                    f"{self._device} has no room for the change; nothing was changed. It says: {words}. "
                    f"Make room.",
                    about={"code": ErrorCode.FULL},
                )
            case 74:
                return self._fault("cannot say what it runs; nothing was changed", words)
            case 75:
                return Conflict(
                    f"{self._device} has another change at work ({words or 'just now'}). Confirm or "
                    f"revert that first.",
                    about={"code": ErrorCode.BUSY},
                )
            case _:
                return self._fault(f"ended a guarded change with status {status}", words)


def present(backup: Backup) -> Mapping[str, str]:
    """What a backup holds of the places where there was something."""
    return {name: text for name, text in backup.texts.items() if text is not None}


def _of_file(told: str) -> str | None:
    """A file's content, from a section with a dot after its end; None: there is no such file."""
    return told.removesuffix("\n").removesuffix(".") if told else None


def _as_fetched(text: str) -> str:
    """A place's text as `fetch` tells it, without empty lines at its end."""
    return f"{told}\n" if (told := text.rstrip("\n")) else ""


def packed(files: Mapping[str, str]) -> bytes:
    """A tar archive of texts by their paths."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in files.items():
            body = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), 0o600
            archive.addfile(entry, io.BytesIO(body))
    return content.getvalue()


def section(name: str, command: str) -> list[str]:
    """Shell lines that print what a command prints as a section; its failure is that of the whole."""
    return [
        f'out=$({command}\n) || {{ echo "$out"; exit 66; }}',
        f"echo '{_MARK}{name}'",
        "[ -z \"$out\" ] || printf '%s\\n' \"$out\" | sed 's/^/ /'",
    ]


def sections(output: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.split("\n"):
        if line.startswith(_MARK):
            lines = found.setdefault(line.removeprefix(_MARK), [])
        elif line:
            lines.append(line[1:])
    return {name: "".join(f"{line}\n" for line in its) for name, its in found.items()}


def _hidden(text: str, patterns: Sequence[str]) -> str:
    def digest(found: re.Match[str]) -> str:
        start, end = found.span("secret")
        whole, before = found[0], found.start()
        return f"{whole[: start - before]}{hidden(found['secret'])}{whole[end - before :]}"

    for pattern in patterns:
        text = re.sub(pattern, digest, text, flags=re.MULTILINE)
    return text
