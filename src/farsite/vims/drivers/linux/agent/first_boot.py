"""What a VDU finds in its directory when it starts, as a guest of a cloud finds it on its config drive.

    user-data             the boot data of its descriptor, as it is; absent where there is none
    meta-data             instance-id (another one for every incarnation), local-hostname, and under `meta`
                          the key-value pairs of the boot data
    configuration.json    its ports and its initial configuration document

Boot data may hold keys and passwords, so all of it is for the VDU alone (mode 0600) and is never logged. A
VDU that is stopped and started again finds it as it was, beside what it wrote itself.

Source: cloud-init, data source NoCloud (names and keys); OpenStack's config drive (`meta`).
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from farsite.model.deployment import WantedVnfc
from farsite.model.errors import VimFault
from farsite.vims.drivers.linux import paths

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write(
    directory: Path,
    vnfc: WantedVnfc,
    *,
    ports: Sequence[Mapping[str, object]],
    hostname: str,
    files: Mapping[str, str],
    owner: int = 0,
) -> None:
    """Write the documents and the `files` of its program. `owner` is the host's user and group id of its root
    where it has users of its own; 0: ours.

    Raises:
        OSError: there is no room, or something that is no file lies in the way.
        VimFault: something that is no folder lies where one of the program's belongs.
    """
    paths.make_private(directory)
    if owner:
        os.chown(directory, owner, owner)
        # Its other users may pass through; on the host nobody gets as far as here.
        directory.chmod(0o711)
    written = {
        **files,
        "configuration.json": json.dumps({"ports": list(ports), "configuration": dict(vnfc.configuration)}),
        "meta-data": json.dumps(_meta_data(vnfc, hostname), indent=2) + "\n",
        **({"user-data": vnfc.user_data} if vnfc.user_data else {}),
    }
    own = os.open(directory, _FOLDER)
    try:
        for name, text in written.items():
            folder = _folder(own, PurePath(name).parts[:-1], owner=owner)
            try:
                paths.write_private_in(folder, PurePath(name).name, text, owner=owner)
            finally:
                os.close(folder)
    finally:
        os.close(own)


def _folder(directory: int, parts: Sequence[str], *, owner: int) -> int:
    """A descriptor of a folder in the VDU's directory, made where it is missing.

    A function may have laid links there before it was stopped, which lead into the host's folders. So it is
    gone down part by part, and none is followed.
    """
    folder = os.dup(directory)
    for number, part in enumerate(parts, 1):
        try:
            inner = _inner(folder, part, owner=owner)
        except NotADirectoryError as error:
            raise VimFault(
                f"The VDU has put something else in place of its folder {'/'.join(parts[:number])}, which "
                f"files of its program belong in. Heal it: its successor begins with an empty directory."
            ) from error
        finally:
            os.close(folder)
        folder = inner
    return folder


def _inner(folder: int, name: str, *, owner: int) -> int:
    is_new = True
    try:
        os.mkdir(name, 0o711 if owner else 0o700, dir_fd=folder)
    except FileExistsError:
        is_new = False
    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    if is_new and owner:
        os.fchown(inner, owner, owner)
    return inner


def _meta_data(vnfc: WantedVnfc, hostname: str) -> dict[str, object]:
    return {
        "instance-id": f"{vnfc.id}@{vnfc.incarnation}",
        "local-hostname": hostname,
        "meta": dict(vnfc.metadata),
    }
