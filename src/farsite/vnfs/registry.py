"""Finds adapters: those that come with Farsite, those of installed packages, and those in a directory of the
operator's. A third party's is ours' equal; of two with one name the operator's own goes first."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from farsite.model.errors import Invalid, NotFound
from farsite.vnfs import adapters
from farsite.vnfs.dictionary import FILE, Folder, read

GROUP = "farsite.vnf_adapters"
"""Entry points of this group name a package whose directory is an adapter's folder."""
SHIPPED = Path(adapters.__file__).parent


class Adapters:
    """The adapters that this process knows, each read when it is first asked for."""

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        """`directories` hold folders of adapters, one per product."""
        self._directories = tuple(directories)
        self._read: dict[Path, Folder] = {}

    def folders(self) -> Mapping[str, Path]:
        """Where each adapter lies, by the name of its folder."""
        found: dict[str, Path] = {}
        for name, path in self._everywhere():
            found.setdefault(name, path)
        return dict(sorted(found.items()))

    def get(self, name: str) -> Folder:
        """An adapter by name.

        Raises:
            NotFound: there is none; says which there are.
            Invalid: its folder is no adapter.
        """
        known = self.folders()
        if name not in known:
            raise NotFound(
                f'There is no adapter "{name}". There are: {", ".join(known) or "none"}. Others are put into '
                f"the directory that FARSITE_ADAPTER_DIR names."
            )
        return self.read(name, known[name])

    def read(self, name: str, place: Path) -> Folder:
        """The adapter that `folders` found in a place.

        Raises:
            Invalid: its folder is no adapter.
        """
        # Adapters that came in a bundle are links, which another import may point elsewhere.
        path = place.resolve()
        if path not in self._read:
            folder = read(path)
            if folder.dictionary.name != name:
                raise Invalid(
                    f'{place / FILE} says that it is "{folder.dictionary.name}", but its folder is "{name}".'
                )
            self._read[path] = folder
        return self._read[path]

    def all_of(self) -> Sequence[Folder]:
        """Every adapter that can be read."""
        return [self.read(name, path) for name, path in self.folders().items()]

    def _everywhere(self) -> Iterator[tuple[str, Path]]:
        for directory in self._directories:
            for path in sorted(directory.glob(f"*/{FILE}")):
                yield path.parent.name, path.parent
        for point in entry_points(group=GROUP):
            for place in getattr(point.load(), "__path__", ()):
                yield point.name, Path(place)
        for path in sorted(SHIPPED.glob(f"*/{FILE}")):
            yield path.parent.name, path.parent
