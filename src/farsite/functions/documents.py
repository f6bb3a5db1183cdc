"""Reading configuration documents: every fault is collected, none stops the reading.

An operator who has three mistakes in a document learns of three, each with its path, what was found there
and what was expected. Written by hand because a function must start in milliseconds with the standard
library only.
"""

import json
from typing import NamedTuple, NoReturn, cast


class DocumentFault(NamedTuple):
    """One thing wrong in a document."""

    path: str
    """`rules[2].source`; empty for the document itself."""
    found: str
    expected: str


class DocumentError(Exception):
    """A document cannot be taken; `faults` names everything that is wrong with it."""

    def __init__(self, faults: list[DocumentFault]) -> None:
        self.faults = faults
        super().__init__(
            "; ".join(f"{f.path or 'document'}: {f.found} (expected {f.expected})" for f in faults)
        )


def parse_json(text: bytes) -> object:
    """The JSON value in `text`; refuses duplicate keys, NaN and nesting beyond reason.

    Raises:
        DocumentError: not such a document.
    """
    try:
        return cast(object, json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant))
    except DocumentError:
        raise
    except RecursionError as error:
        raise DocumentError(
            [DocumentFault("", "nesting without end", "a document a few levels deep")]
        ) from error
    except ValueError as error:
        raise DocumentError([DocumentFault("", f"not JSON: {error}", "a JSON document")]) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DocumentError([DocumentFault(name, "stated twice", "each name once") for name in twice])
    return read


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentError([DocumentFault("", f"the number {name}", "a finite number")])


def _shown(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


class Document:
    """A JSON object that is read field by field.

    Each reader returns a value of its type in any case (the default where the document is wrong), so the
    caller reads on; `finish` reports unknown fields and raises if there is any fault at all.
    """

    def __init__(self, value: object, path: str = "", faults: list[DocumentFault] | None = None) -> None:
        self._path = path
        self._faults: list[DocumentFault] = [] if faults is None else faults
        self._read: set[str] = set()
        self._fields: dict[str, object] = {}
        self._is_object = isinstance(value, dict)
        if isinstance(value, dict):
            self._fields = cast("dict[str, object]", value)
        else:
            self._faults.append(DocumentFault(path, _shown(value), "an object"))

    def at(self, name: str) -> str:
        """Path of a field of this object."""
        return f"{self._path}.{name}" if self._path else name

    def fault(self, path: str, found: object, expected: str) -> None:
        """Record that `found` stands at `path` where something else was expected."""
        self._faults.append(DocumentFault(path, _shown(found), expected))

    def has(self, name: str) -> bool:
        return name in self._fields

    def raw(self, name: str, default: object = None) -> object:
        """The value of a field as it stands."""
        self._read.add(name)
        return self._fields.get(name, default)

    def text(
        self, name: str, default: str = "", *, one_of: tuple[str, ...] = (), required: bool = False
    ) -> str:
        """A string, one of those listed where any are."""
        expected = "one of " + ", ".join(one_of) if one_of else "a string that is not empty"
        if not self._present(name, required, expected):
            return default
        value = self.raw(name)
        if not isinstance(value, str) or not value or len(value) > 4096 or (one_of and value not in one_of):
            self.fault(self.at(name), value, expected)
            return default
        return value

    def integer(self, name: str, default: int, low: int, high: int, *, required: bool = False) -> int:
        """A whole number from `low` to `high`."""
        expected = f"a whole number from {low} to {high}"
        if not self._present(name, required, expected):
            return default
        return self.check_integer(self.at(name), self.raw(name), low, high, default)

    def check_integer(self, path: str, value: object, low: int, high: int, default: int) -> int:
        """`value` if it is a whole number from `low` to `high`, else a fault and the default."""
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault(path, value, f"a whole number from {low} to {high}")
            return default
        return value

    def number(self, name: str, default: float, low: float, high: float, *, required: bool = False) -> float:
        """A number from `low` to `high`."""
        expected = f"a number from {low:g} to {high:g}"
        if not self._present(name, required, expected):
            return default
        value = self.raw(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fault(self.at(name), value, expected)
            return default
        return float(value)

    def boolean(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(name, default)
        if not isinstance(value, bool):
            self.fault(self.at(name), value, "true or false")
            return default
        return value

    def items(self, name: str, *, most: int) -> list[tuple[str, object]]:
        """Path and value of each item of a list that has at most `most` of them; absent is empty."""
        value = self.raw(name, [])
        if not isinstance(value, list) or len(cast("list[object]", value)) > most:
            found = f"{len(cast('list[object]', value))} items" if isinstance(value, list) else value
            self.fault(self.at(name), found, f"a list of at most {most} items")
            return []
        items = cast("list[object]", value)
        return [(f"{self.at(name)}[{index}]", item) for index, item in enumerate(items)]

    def objects(self, name: str, *, most: int) -> "list[Document]":
        """The objects of a list, to be read in their turn; call `finish_part` on each."""
        return [Document(value, path, self._faults) for path, value in self.items(name, most=most)]

    def part(self, name: str) -> "Document | None":
        """The object in a field, to be read in its turn, or None where it is absent or null."""
        value = self.raw(name)
        return None if value is None else Document(value, self.at(name), self._faults)

    def finish_part(self) -> None:
        """Report the fields nobody read."""
        for name in self._fields:
            if name not in self._read:
                known = ", ".join(sorted(self._read))
                self._faults.append(DocumentFault(self.at(name), "an unknown field", f"one of {known}"))

    def finish(self) -> None:
        """Report the fields nobody read, then every fault there is.

        Raises:
            DocumentError: there are faults.
        """
        self.finish_part()
        if self._faults:
            raise DocumentError(self._faults)

    def _present(self, name: str, required: bool, expected: str) -> bool:
        self._read.add(name)
        if name in self._fields:
            return True
        if required and self._is_object:
            self._faults.append(DocumentFault(self.at(name), "nothing", expected))
        return False
