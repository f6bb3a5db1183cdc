"""A function whose software is a small program in versions, for what has to be tried often: the adapter
`appliance`, its versions on this machine and images of others."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADAPTERS = Path(__file__).parent / "adapters"

# What its configuration says of a version comes true: it hates-2.0, refuses-2.0, cannot-read-2.0. A start may
# also write its configuration anew, as programs do that migrate it.
_PROGRAM = """#!/bin/sh
case $1 in
version) echo {version} ;;
reads) ! grep -q cannot-read-{version} "$2" || {{ echo "line 1: what is this?"; exit 1; }} ;;
start)
    ! grep -q refuses-{version} "$2" || {{ echo "no, not {version}" >&2; exit 1; }}
    [ {version} = 1.0 ] || ! grep -q migrate "$2" || echo "migrated to {version}" >>"$2"
    echo {version} ;;
serve) ! grep -q hates-{version} "$2" || {{ echo "{version} serves nobody"; exit 1; }} ;;
esac
"""


def tarball(files: Mapping[str, bytes | str], *, padding: int = 0) -> bytes:
    """An image: programs by their path. `padding` bytes of random looking content make it larger."""
    packed = io.BytesIO()
    blobs = {path: body.encode() if isinstance(body, str) else body for path, body in files.items()}
    if padding:
        blobs["share/padding"] = hashlib.shake_128(b"padding").digest(padding)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, body in blobs.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(body), 0o755
            archive.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


def image_of(version: str, *, padding: int = 0) -> bytes:
    return tarball({"bin/appliance": _PROGRAM.format(version=version)}, padding=padding)


@dataclass(frozen=True)
class Appliance:
    """One function's file and software on this machine."""

    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "text"

    @property
    def software(self) -> Path:
        return self.directory / "software"

    @property
    def parameters(self) -> dict[str, str]:
        return {"file": str(self.file), "software": str(self.software)}

    @property
    def running(self) -> str:
        return (self.software / "at-work").read_text().strip()

    @property
    def versions(self) -> set[str]:
        return {one.name for one in (self.software / "versions").iterdir()}

    def lay_out(self, text: str = "as ever\n") -> "Appliance":
        """As whoever built the function left it: version 1.0 at work."""
        self._lay("1.0")
        (self.software / "current").symlink_to("versions/1.0")
        (self.software / "at-work").write_text("1.0\n")
        self.file.write_text(text)
        return self

    def lay_beside(self, version: str) -> "Appliance":
        """Have another version lie there, as somebody put it by hand."""
        self._lay(version)
        return self

    def _lay(self, version: str) -> None:
        program = self.software / "versions" / version / "bin" / "appliance"
        program.parent.mkdir(parents=True)
        program.write_text(_PROGRAM.format(version=version))
        program.chmod(0o755)


@dataclass(frozen=True)
class Shelf:
    """Images at an address of this machine."""

    url: str
    directory: Path

    def put(self, name: str, content: bytes) -> dict[str, str]:
        """An image as requests name it."""
        (self.directory / name).write_bytes(content)
        return {"url": f"{self.url}/{name}", "sha256": hashlib.sha256(content).hexdigest()}


@contextmanager
def shelf(directory: Path) -> Iterator[Shelf]:
    """Images, offered while this lasts."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **more: object) -> None:
            super().__init__(*arguments, directory=str(directory), **more)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    directory.mkdir(exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield Shelf(f"http://127.0.0.1:{server.server_address[1]}", directory)
    finally:
        server.shutdown()
        serving.join(10)
        server.server_close()
