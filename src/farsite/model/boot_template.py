"""Variable parts of boot data: `${{ NAME }}` or `${{ NAME | FILTER }}`.

Boot data may contain variable parts that are replaced by deployment specific values before it is sent to the
VIM (ETSI GS NFV-IFA 011 clause 7.1.6.2.2, `bootData`); how they are written is left to the VNFM. `${{` begins
nothing in a shell, in YAML or in cloud-init's own templates, so a text without such parts is never changed.
A part that is to stay is written `$${{`.

They are filled in twice: with what is decided when the VNFC is placed, which is recorded as its initial
state, and when it is handed to the VIM with secrets, which are recorded nowhere, and with its zone, which may
be another one when it is made anew.
"""

import base64
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from farsite.model.errors import Invalid

_PART = re.compile(r"\$(\$\{\{)|\$\{\{([^{}\n]{0,300})\}\}")
"""What is to stay, or a part; bounded, so that no text takes long to read."""
_BEGINS = re.compile(r"(?<!\$)\$\{\{")
_MOST_PARTS = 1000
_WRITTEN = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_.-]+)?)\s*(?:\|\s*(\w+)\s*)?")

_JSON_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Of those that JSON leaves as they are, what YAML does not take or takes for the end of a line."""

FILTERS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "json": lambda value: _JSON_BREAKS.sub(_escaped, json.dumps(value, ensure_ascii=False)),
    "quote": shlex.quote,
}
"""What may be done to a value: for a JSON or YAML string (quotes included), for a word of a POSIX shell."""

_PLACED = {
    "vnf": ("id", "name", "provider", "product", "software_version", "vnfd_id"),
    "vnfc": ("id", "vdu", "index", "zone"),
    "vim": ("name", "site", "region"),
    "farsite": ("url",),
}
_PORT = ("mac", "address", "prefix_length", "addresses")
ZONE = "vnfc.zone"
CREDENTIAL = "vnf.credential"
"""The token with which a VNF asks us for its own scaling and repair."""
_SECRET = {"ssh": ("host_key", "host_key_public", "login_public"), "tls": ("key", "certificate")}


@dataclass(frozen=True, slots=True)
class Part:
    """One variable part; `line` counts from 1."""

    name: str
    filter: str
    line: int

    @property
    def root(self) -> str:
        return self.name.partition(".")[0]

    @property
    def rest(self) -> str:
        return self.name.partition(".")[2]

    @property
    def is_secret(self) -> bool:
        """Whether nobody but the VIM may see it."""
        return self.root in ("secret", *_SECRET) or self.name == CREDENTIAL

    @property
    def is_late(self) -> bool:
        """Whether it is filled in only for the VIM."""
        return self.is_secret or self.name == ZONE


def parts(text: str) -> tuple[Part, ...]:
    """The variable parts of a text, as they come.

    Raises:
        Invalid: one cannot be read, has an unknown name or an unknown filter; says which are known.
    """
    found: list[Part] = []
    starts: set[int] = set()
    line, at = 1, 0
    for match in _PART.finditer(text):
        line, at = line + text.count("\n", at, match.start()), match.start()
        if not match[1]:
            starts.add(match.start())
            found.append(_read(match, line))
            if len(found) > _MOST_PARTS:
                raise Invalid(f"Line {line}: there are more than {_MOST_PARTS} variable parts.")
    for begin in _BEGINS.finditer(text):
        if begin.start() not in starts:
            line = text.count("\n", 0, begin.start()) + 1
            raise Invalid(
                f"Line {line}: a variable part begins with "
                f'"${{{{" and does not end with "}}}}" on that line. Write "$${{{{" for the text itself.'
            )
    return tuple(found)


def has_secrets(text: str) -> bool:
    """Whether anything of the text is a secret."""
    return any(part.is_secret for part in parts(text))


def fill(text: str, value_of: Callable[[Part], str | None], *, is_last: bool) -> str:
    """The text with its variable parts replaced; a part whose value is None stays.

    A value of several lines that stands alone on its line is indented like it, so that it may stand in a
    block of YAML. `is_last`: what was to stay (`$${{`) loses its mark.

    Raises:
        Invalid: as `parts`, or from `value_of`.
    """

    coming = iter(parts(text))

    def filled(match: re.Match[str]) -> str:
        if match[1]:
            return match[1] if is_last else match[0]
        part = next(coming)
        value = value_of(part)
        if value is None:
            return match[0]
        value = FILTERS[part.filter](value) if part.filter else _as_lines(text, match, value.rstrip("\n"))
        if is_last:
            return value
        if value.endswith("$") and text.startswith(("{{", "${{"), match.end()):
            raise Invalid(
                f'Line {part.line}: the value of {part.name} ends with "$" right before "{{{{", so that it '
                f"could not be told from a variable part. Put something between them."
            )
        # A value is never taken for a part by the next who fills in.
        return value.replace("${{", "$${{")

    return _PART.sub(filled, text)


def kept_document(document: Mapping[str, object]) -> dict[str, object]:
    """A document whose texts stay as they are when they are filled in."""
    return _changed(document, lambda text: text.replace("${{", "$${{"))


def _as_lines(text: str, match: re.Match[str], value: str) -> str:
    """A value that stands alone on its line has its further lines under its first."""
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    ends = text.find("\n", match.end())
    after = text[match.end() : ends if ends >= 0 else len(text)]
    return value if (before + after).strip() else value.replace("\n", f"\n{before}")


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def filled_document(
    document: Mapping[str, object], value_of: Callable[[Part], str | None], *, is_last: bool
) -> dict[str, object]:
    """As `fill`, in every text of a document."""
    return _changed(document, lambda text: fill(text, value_of, is_last=is_last))


def _changed(document: Mapping[str, object], change: Callable[[str], str]) -> dict[str, object]:
    def inner(value: object) -> object:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, Mapping):
            return {key: inner(one) for key, one in cast(Mapping[str, object], value).items()}
        if isinstance(value, list | tuple):
            return [inner(one) for one in cast(Sequence[object], value)]
        return value

    return {key: inner(value) for key, value in document.items()}


def texts_of(document: object) -> list[str]:
    """Every text in a document."""
    if isinstance(document, str):
        return [document]
    if isinstance(document, Mapping):
        return [text for one in cast(Mapping[str, object], document).values() for text in texts_of(one)]
    if isinstance(document, list | tuple):
        return [text for one in cast(Sequence[object], document) for text in texts_of(one)]
    return []


def _read(match: re.Match[str], line: int) -> Part:
    written = _WRITTEN.fullmatch(match[2])
    if written is None:
        raise Invalid(
            f'Line {line}: "{match[0][:80]}" is no variable part. Write ${{{{ NAME }}}} or '
            f"${{{{ NAME | FILTER }}}}; names are {_known()}."
        )
    part = Part(name=written[1], filter=written[2] or "", line=line)
    if part.filter and part.filter not in FILTERS:
        raise Invalid(
            f'Line {line}: filter "{part.filter}" of {part.name} is unknown. Filters: {", ".join(FILTERS)}.'
        )
    if not _is_known(part):
        raise Invalid(f'Line {line}: variable "{part.name}" is unknown. Known are {_known()}.')
    return part


def _is_known(part: Part) -> bool:
    match part.root:
        case "secret" | "data":
            return bool(part.rest)
        case "port":
            cp, _, what = part.rest.rpartition(".")
            return bool(cp) and what in _PORT
        case "vnf" if part.rest.startswith("metadata.") or part.name == CREDENTIAL:
            return True
        case root:
            return part.rest in (_PLACED | _SECRET).get(root, ())


def _known() -> str:
    fixed = [f"{root}.{name}" for root, names in (_PLACED | _SECRET).items() for name in names]
    ports = [f"port.CP.{name}" for name in _PORT]
    return ", ".join([*fixed, *ports, CREDENTIAL, "vnf.metadata.KEY", "data.KEY", "secret.NAME"])
