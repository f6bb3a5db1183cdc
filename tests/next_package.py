"""A later package of a sample, for changing the package of what stands."""

import hashlib
import io
import zipfile

from farsite.functions.packaging import sample_files

NEXT_INSPECTOR = "2e34b97f-0000-5e6a-bb28-3a524899d1c0"
"""Its VNFD."""
NEXT_PRODUCT = "Farsite inspector next"


def next_inspector() -> bytes:
    """A later package of the inspector: another version of another product, which starts otherwise."""
    return changed(
        "inspector",
        (b"1d23a86f-9d31-5e6a-bb28-3a524899d1c0", NEXT_INSPECTOR.encode()),
        (b"Farsite inspector", NEXT_PRODUCT.encode()),
        (b"'1.0'", b"'2.0'"),
        (b'"name": "eicar"', b'"name": "eicar-next"'),
    )


def changed(sample: str, *changes: tuple[bytes, bytes]) -> bytes:
    """The archive of a sample with some texts replaced in all its files, and a manifest that fits."""
    files = sample_files(sample)
    manifest = f"{sample}.mf"
    head = files.pop(manifest).partition(b"\nSource:")[0]
    for old, new in changes:
        head = head.replace(old, new)
        files = {path: content.replace(old, new) for path, content in files.items()}
    entries = b"".join(
        f"\nSource: {path}\nAlgorithm: SHA-256\nHash: {hashlib.sha256(content).hexdigest()}\n".encode()
        for path, content in files.items()
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in {**files, manifest: head + entries}.items():
            archive.writestr(path, content)
    return written.getvalue()
