"""Changes the software of a function over a shell, by the section `software` of its dictionary.

An upgrade is a guarded change like that of a configuration, by the same `guard.sh` under the same lock: its
one file says which version shall run, and beside it the guard keeps the configuration of before. So whatever
dies, the device itself brings version and configuration of before back, and a configuration cannot be
changed meanwhile.
"""

import hashlib
import re
import shlex
from collections.abc import Sequence

from farsite.model.errors import Invalid, NotSupported, VnfFault
from farsite.model.software import DeviceSoftware, InstalledSoftware, SoftwareImage
from farsite.vnfs.adapter import ErrorCode, Probed
from farsite.vnfs.dictionary import Software
from farsite.vnfs.shell_adapter import ShellAdapter, packed, section, sections
from farsite.vnfs.software import ImageContent

_PIECE = 4 * 1024 * 1024
_RUNNING = ".software"
_ELSEWHERE = 77


class ShellSoftware(ShellAdapter):
    """One device whose dictionary may have a section `software`; see `Upgrades` for what each call means."""

    async def software(self) -> DeviceSoftware:
        """Which versions lie there, and which runs; see `Upgrades.software`."""
        of = self._software()
        script = self._state_script(of)
        ran = await self._run(script)
        if ran.status:
            raise self._fault("cannot say what it runs", ran.words)
        found = sections(ran.output)
        running = found.pop(_RUNNING, "").strip()
        if not running:
            raise self._fault("does not say which version is at work", ran.words)
        texts = "".join(f"=== {name}\n{text}" for name, text in sorted(found.items()))
        listed = await self._run(
            "\n".join(
                (
                    *section("installed", self._command(of.installed)),
                    *section("previous", self._command(of.previous) or ":"),
                )
            )
        )
        if listed.status:
            raise self._fault("cannot say which versions are installed", listed.words)
        told = sections(listed.output)
        return DeviceSoftware(
            running=running,
            previous=told.get("previous", "").strip(),
            installed=tuple(
                InstalledSoftware(
                    version=one["version"],
                    sha256=one.groupdict().get("sha256") or "",
                )
                for one in re.finditer(of.version, told.get("installed", ""), re.MULTILINE)
            ),
            against=hashlib.sha256(ran.output.encode()).hexdigest(),
            configuration=hashlib.sha256(texts.encode()).hexdigest(),
        )

    async def examine(self, image: SoftwareImage | None) -> Sequence[Probed]:
        """What an upgrade needs; see `Upgrades.examine`."""
        of = self._software()
        looked = [await self._is_quiet()]
        if image is not None:
            looked.append(await self._has_room(image, of))
        for one in of.ready:
            ran = await self._run(self._command(one.command))
            looked.append(
                Probed(name=one.name, is_well=not ran.status, said="" if not ran.status else ran.words[:500])
            )
        return looked

    async def receive(
        self,
        image: SoftwareImage,
        content: ImageContent,
        *,
        change_id: str,  # noqa: ARG002  (of the Protocol)
    ) -> None:
        """Bring the image there, from where it broke off; see `Upgrades.receive`."""
        self._software()
        for is_last in (False, True):
            offset = await self._received(image)
            while piece := await content.read(offset, _PIECE):
                await self._append(image, offset, piece)
                offset += len(piece)
            found = await self._digest_there(image)
            if found == image.sha256:
                return
            # A part that was there before may be of something else: once more from the start.
            await self._run(f"rm -f {self._incoming(image)}")
            if is_last:
                raise VnfFault(
                    f"{self._device} received the image {image.name} with the digest {found}, not "
                    f"{image.sha256}, twice. Nothing was changed. See that the image is whole where it "
                    f"lies, and that its digest is the right one.",
                    about={"code": ErrorCode.INVALID},
                )

    async def install(
        self,
        image: SoftwareImage,
        *,
        change_id: str,  # noqa: ARG002  (of the Protocol)
    ) -> str:
        """Install it beside what runs; see `Upgrades.install`."""
        of = self._software()
        # Whoever asks again has no image there any more.
        known = (await self.software()).version_of(image)
        if known:
            return known
        there = self._incoming(image)
        ran = await self._run(
            f"IMAGE={there} SHA256={image.sha256}\n(\n{self._command(of.install)}\n)\nstatus=$?\n"
            f"[ $status -ne 0 ] || rm -f {there}\nexit $status",
            timeout_s=max(self._timeout_s, 120.0),
        )
        if ran.status:
            raise self._fault(
                f"does not take the image {image.name}; the version of before runs, untouched", ran.words
            )
        lines = ran.output.strip().splitlines()
        if not lines:
            raise self._fault(f"did not say which version is in the image {image.name}", ran.words)
        return lines[-1]

    async def upgrade(self, version: str, against: str, *, change_id: str, confirm_within_s: float) -> None:
        """Make it run, unconfirmed; see `Upgrades.upgrade`."""
        of = self._software()
        ran = await self._guarded(
            "apply",
            change_id,
            str(max(1, round(confirm_within_s))),
            against,
            given=self._upgrade_archive(of, version),
            timeout_s=max(self._timeout_s, confirm_within_s),
        )
        match ran.status:
            case 0:
                return
            case 65:
                raise self._fault(
                    f"finds that version {version} cannot run with its configuration; nothing was changed",
                    ran.words,
                )
            case 66:
                raise self._fault(
                    f"could not activate version {version}; version and configuration of before run again",
                    ran.words,
                )
            case 69:
                raise self._fault(
                    f"could neither activate version {version} nor the one of before, whose files are in "
                    f"place again",
                    ran.words,
                )
            case _:
                raise self._refusal(ran.status, change_id, ran.words)

    async def discard(
        self,
        image: SoftwareImage,
        version: str,
        *,
        change_id: str,  # noqa: ARG002  (of the Protocol)
    ) -> None:
        """Remove what was brought; see `Upgrades.discard`."""
        of = self._software()
        remove = f"VERSION={shlex.quote(version)}\n{self._command(of.remove)}" if version else ":"
        ran = await self._run(f"rm -f {self._incoming(image)}\n{remove}")
        if ran.status:
            raise self._fault(f"cannot remove version {version}", ran.words)

    # What these are made of.

    def _software(self) -> Software:
        of = self._folder.dictionary.software
        if of is None:
            raise NotSupported(
                f"Adapter {self._folder.dictionary.name} cannot upgrade {self._folder.dictionary.product}: "
                f"its dictionary has no section software. Replace the function by one of another package: "
                f"farsite vnf change-package."
            )
        if not self._command(of.directory):
            names = ", ".join(re.findall(r"\{\{ *(\w+)", of.directory))
            raise Invalid(
                f"The software of {self._device} is not kept in versions. Set the parameter {names} of its "
                f"management to the directory that has them: farsite vnf config manage --parameter {names}="
            )
        return of

    def _state_script(self, of: Software) -> str:
        running = "\n".join(section(_RUNNING, self._command(of.running)))
        return f"{self._fetch_script(self._folder.dictionary.places)}{running}\n"

    def _incoming(self, image: SoftwareImage) -> str:
        return shlex.quote(f"{self._directory}/incoming/{image.sha256}")

    async def _is_quiet(self) -> Probed:
        # Asking for any outcome has a change taken back whose time is over.
        await self._guarded("outcome", "none")
        ran = await self._run(f"cat {shlex.quote(self._directory)}/pending 2>/dev/null; :")
        pending = ran.output.strip()
        return Probed(
            name="no other change is at work",
            is_well=not pending,
            said=f"change {pending} is neither confirmed nor taken back" if pending else "",
        )

    async def _has_room(self, image: SoftwareImage, of: Software) -> Probed:
        directory = self._command(of.directory)
        places = ((f"{self._directory}/incoming", 1.0), (directory, of.room))
        lacking: list[str] = []
        for path, times in places:
            quoted = shlex.quote(path)
            ran = await self._run(f"mkdir -p {quoted} && df -Pk {quoted} | awk 'NR == 2 {{print $4}}'")
            if ran.status or not ran.output.strip().isdecimal():
                lacking.append(f"{path}: {ran.words or 'the room there is not told'}")
                continue
            free, needed = int(ran.output) * 1024, round(image.size_bytes * times)
            if free < needed:
                lacking.append(f"{path} has {free / 2**20:.1f} MiB free and {needed / 2**20:.1f} are needed")
        return Probed(name="room for the image", is_well=not lacking, said="; ".join(lacking))

    async def _received(self, image: SoftwareImage) -> int:
        there = self._incoming(image)
        ran = await self._run(
            f"umask 077; mkdir -p {shlex.quote(self._directory)}/incoming && "
            f"{{ [ ! -e {there} ] && echo 0 || stat -c %s {there}; }}"
        )
        if ran.status:
            raise self._fault(f"cannot take the image {image.name}; nothing was changed", ran.words)
        return int(ran.output)

    async def _append(self, image: SoftwareImage, offset: int, piece: bytes) -> None:
        there = self._incoming(image)
        ran = await self._run(
            f'umask 077; [ "$(stat -c %s {there} 2>/dev/null || echo 0)" = {offset} ] || '
            f"{{ cat >/dev/null; exit {_ELSEWHERE}; }}; cat >>{there}",
            given=piece,
        )
        if ran.status:
            if self._folder.meaning(ran.words) is not ErrorCode.FULL and "No space left" not in ran.words:
                raise self._fault(
                    f"broke off at {offset} of {image.size_bytes} bytes of the image {image.name}; nothing "
                    f"was changed",
                    ran.words,
                )
            await self._run(f"rm -f {there}")
            raise VnfFault(
                f"{self._device} has no room for the image {image.name}: {offset} of {image.size_bytes} "
                f"bytes had arrived below {self._directory}/incoming and were removed. The version of "
                f"before runs, nothing else was changed. It says: {ran.words}. Make room and upgrade again.",
                about={"code": ErrorCode.FULL},
            )

    async def _digest_there(self, image: SoftwareImage) -> str:
        ran = await self._run(f"sha256sum {self._incoming(image)}", timeout_s=max(self._timeout_s, 300.0))
        return ran.output.split()[0] if not ran.status and ran.output.strip() else f"unknown ({ran.words})"

    def _upgrade_archive(self, of: Software, version: str) -> bytes:
        """What `guard.sh` takes: the file that says which version, and of the configuration only where it
        lies, so that it is kept and brought back."""
        places = self._folder.dictionary.places
        chosen = self._command(of.chosen)
        numbered = [(str(index), place) for index, place in enumerate(places, start=1)]
        check = self._command(of.check) if of.check else ":"
        # Where a version was laid there by hand, nothing says yet which one runs; going back reads it.
        named = f"[ -s {shlex.quote(chosen)} ] || (\n{self._command(of.running)}\n) >{shlex.quote(chosen)}"
        return packed(
            {
                "fetch": self._state_script(of),
                "check": f"{named}\nVERSION=$(cat 0)\n{check}\n",
                "activate": f"VERSION=$(cat {shlex.quote(chosen)}) || exit 1\n{self._command(of.activate)}\n",
                "files": f"0 0644 {chosen}\n"
                + "".join(f"{number} {place.mode} {self._path(place)}\n" for number, place in numbered),
                "was": "".join(f"{number} {place.name}\n" for number, place in numbered if place.fetch),
                "new/0": f"{version}\n",
            }
        )
