"""Begins an adapter: a folder that keeps everything as it stands, to be changed line by line."""

import re
from importlib import resources
from pathlib import Path

from farsite.model.errors import Conflict, Invalid

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")


def begin(name: str, directory: Path) -> Path:
    """Write the folder of a new adapter into a directory; where it lies.

    Raises:
        Invalid: no adapter may have that name, or the directory cannot be written to.
        Conflict: something of that name is there.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(f'"{name}" is no name of an adapter: small letters, digits and dashes, at most 41.')
    folder = directory / name
    try:
        folder.mkdir(parents=True)
        for file in resources.files("farsite.vnfs").joinpath("template").iterdir():
            (folder / file.name).write_text(file.read_text().replace("NAME", name))
    except FileExistsError as error:
        raise Conflict(f"{folder} is there already. Choose another name or directory.") from error
    except OSError as error:
        raise Invalid(f"{folder} cannot be written: {error.strerror}.") from error
    return folder
