"""The sample packages: SOL004 archives of the built-in VNFs, and the NSD of a service that chains them; an
appliance made of the programs of a Linux site's host; and, for OpenStack sites, a guest of any image that the
site has and an NSD that puts it on several sites.

Their sources lie in `packages/NAME`, as an author would write them, less what a build computes: the hashes
in the manifest, the checksum of the code behind a `builtin:` image, and the type definitions that an NSD
shares with the VNFDs. Building is deterministic (nothing is compressed, as compressors differ): the same
sources give the same bytes.

The initial configuration document of a function is its VDU's `boot_data.content_or_file_data.content`.

Source: ETSI GS NFV-SOL 004 (VNF package), ETSI GS NFV-SOL 007 (NSD file structure).
"""

import hashlib
import io
import zipfile
from pathlib import Path

_FUNCTIONS = Path(__file__).parent
_PACKAGES = _FUNCTIONS / "packages"
_BUILT_WITH: dict[str, tuple[str, ...]] = {
    "chain-demo": ("firewall", "inspector", "probe", "webserver"),
    "three-sites": ("guest", "webserver"),
}
"""Whose type definitions an NSD archive carries too."""
_FOR_CLOUDS = frozenset(("guest", "three-sites"))
"""Samples that need an OpenStack site."""
_FOR_HOSTS = frozenset(("appliance",))
"""Samples that need programs of a Linux site's host."""
_DIGEST_MARK = "{{function_digest}}"
_NOT_CODE = frozenset(("packaging.py",))
_EPOCH = (2026, 1, 1, 0, 0, 0)


def vnf_sample_names() -> tuple[str, ...]:
    """Names of the VNF packages of built-in functions."""
    return tuple(name for name in sample_names() if name not in _FOR_CLOUDS.union(_FOR_HOSTS, _BUILT_WITH))


def nsd_sample_names() -> tuple[str, ...]:
    """Names of the NSD archives that need nothing but built-in functions."""
    return tuple(sorted(_BUILT_WITH.keys() - _FOR_CLOUDS))


def sample_names() -> tuple[str, ...]:
    """Names of all samples, VNF packages and NSD archives."""
    return tuple(sorted(path.name for path in _PACKAGES.iterdir() if path.is_dir()))


def build_sample(name: str) -> bytes:
    """The archive of a sample, as bytes of a zip file; the same bytes every time.

    Raises:
        KeyError: there is no such sample.
    """
    if name not in sample_names():
        raise KeyError(f'There is no sample "{name}". Samples: {", ".join(sample_names())}.')
    files = sample_files(name)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return written.getvalue()


def sample_files(name: str) -> dict[str, bytes]:
    """The files of a sample by their path in the archive: TOSCA.meta first, the manifest last."""
    root = _PACKAGES / name
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    for vnf in _BUILT_WITH.get(name, ()):
        types = f"Definitions/{vnf}_types.yaml"
        files[types] = (_PACKAGES / vnf / types).read_bytes()
    digest = function_digest().encode()
    files = {path: content.replace(_DIGEST_MARK.encode(), digest) for path, content in files.items()}
    manifest = f"{name}.mf"
    head = files.pop(manifest)
    first = "TOSCA-Metadata/TOSCA.meta"
    ordered = {first: files.pop(first), **dict(sorted(files.items()))}
    return {**ordered, manifest: head + b"".join(_manifest_entry(*file) for file in ordered.items())}


def function_digest() -> str:
    """SHA-256 of the code of the built-in functions, as hex: which code a `builtin:` image stands for."""
    found = hashlib.sha256()
    for path in sorted(_FUNCTIONS.glob("*.py")):
        if path.name not in _NOT_CODE:
            found.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _manifest_entry(path: str, content: bytes) -> bytes:
    return f"\nSource: {path}\nAlgorithm: SHA-256\nHash: {hashlib.sha256(content).hexdigest()}\n".encode()
