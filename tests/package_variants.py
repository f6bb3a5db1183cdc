"""Variants of the sample packages, so that tests that share a catalogue do not meet in it."""

import io
import json
import zipfile

from farsite.functions.packaging import sample_files


def another(sample: str, vnfd_id: str) -> bytes:
    """A sample under a VNFD id of its own, without the manifest that states the hashes of the original."""
    files = sample_files(sample)
    manifest = f"{sample}.mf"
    old = _descriptor_id(files)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in files.items():
            if path == manifest:
                continue
            kept = [line for line in content.split(b"\n") if manifest.encode() not in line]
            archive.writestr(path, b"\n".join(kept).replace(old, vnfd_id.encode()))
    return written.getvalue()


def booting_with(vnfd_id: str, boot_data: object, *, image: str = "builtin:webserver") -> bytes:
    """The web server's package with other boot data and another image."""
    packed = io.BytesIO(another("webserver", vnfd_id))
    written = io.BytesIO()
    with zipfile.ZipFile(packed) as given, zipfile.ZipFile(written, "w") as archive:
        for path in given.namelist():
            text = given.read(path).decode()
            if path == "Definitions/webserver.yaml":
                before, _, rest = text.partition("        # The initial configuration document")
                _, _, after = rest.partition("      capabilities:\n")
                stated = f"        boot_data: {json.dumps(boot_data)}\n      capabilities:\n"
                text = (before + stated + after).replace("builtin:webserver", image)
            archive.writestr(path, text)
    return written.getvalue()


def _descriptor_id(files: dict[str, bytes]) -> bytes:
    for content in files.values():
        for line in content.decode(errors="replace").splitlines():
            value = line.partition(":")[2].strip().strip("\"'")
            if line.strip().startswith("descriptor_id:") and len(value) == 36:
                return value.encode()
    raise AssertionError("the sample states no descriptor_id")
