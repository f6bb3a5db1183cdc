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
from pathlib import Path

from farsite.model.deployment import WantedVnfc
from farsite.vims.drivers.linux import paths


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
    for name, text in written.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_private(path, text, owner=owner)


def _meta_data(vnfc: WantedVnfc, hostname: str) -> dict[str, object]:
    return {
        "instance-id": f"{vnfc.id}@{vnfc.incarnation}",
        "local-hostname": hostname,
        "meta": dict(vnfc.metadata),
    }
