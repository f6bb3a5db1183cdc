"""Values and documents given on the command line: KEY=VALUE pairs, JSON or YAML, files, archives."""

import json
import tempfile
import zipfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from farsite.model.errors import Invalid


def pairs(given: Sequence[str], *, option: str) -> dict[str, str]:
    """KEY=VALUE texts as a mapping.

    Raises:
        Invalid: one is not of that form.
    """
    found: dict[str, str] = {}
    for one in given:
        key, separator, value = one.partition("=")
        if not separator or not key:
            raise Invalid(f'{option} takes KEY=VALUE, not "{one}".')
        found[key] = value
    return found


def settings(given: Sequence[str], file: Path | None, *, option: str) -> dict[str, object]:
    """KEY=VALUE texts whose values are JSON where they can be read so, laid over those of a file."""
    found = read(file) if file else {}
    for key, text in pairs(given, option=option).items():
        try:
            found[key] = cast(object, json.loads(text, parse_constant=_no_number))
        except ValueError:
            found[key] = text
    return found


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")


def read(path: Path) -> dict[str, object]:
    """A JSON or YAML file that holds a mapping.

    Raises:
        Invalid: it holds something else.
    """
    import yaml

    try:
        body = cast(object, yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is neither JSON nor YAML: {error}") from error
    if not isinstance(body, dict):
        raise Invalid(f"{path} holds no mapping of names to values.")
    try:
        json.dumps(body, allow_nan=False, default=str)
    except ValueError as error:
        raise Invalid(f"{path} holds a value that is no number (nan or inf), or itself.") from error
    return cast("dict[str, object]", body)


@contextmanager
def archive_of(path: Path) -> Generator[Path]:
    """The archive itself, or a directory's files as an archive that is gone afterwards.

    Raises:
        Invalid: there is no such file or directory.
    """
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise Invalid(f"{path} is neither an archive nor a directory.")
    with tempfile.TemporaryDirectory(prefix="farsite-") as directory:
        packed = Path(directory) / "package.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    archive.write(file, file.relative_to(path).as_posix())
        yield packed
