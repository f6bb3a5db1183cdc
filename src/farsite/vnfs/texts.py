"""How native texts are compared and shown, the same for every adapter."""

import difflib
import hashlib
import secrets
from collections.abc import Mapping

_CONTEXT = 3
_HIDING = secrets.token_bytes(16)
"""Of this process alone, so that nobody can try passwords against what a plan shows."""


def diff(name: str, before: str, after: str) -> str:
    """A unified diff of one place's text."""
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"{name} (running)",
            f"{name} (wanted)",
            n=_CONTEXT,
        )
    )


def masked(text: str, values: Mapping[str, str]) -> str:
    """The text with the name of each secret in place of its value."""
    for name, value in sorted(values.items(), key=lambda one: -len(one[1])):
        if value:
            text = text.replace(value, f"secret:{name}")
    return text


def hidden(value: str) -> str:
    """A digest in place of a secret: who reads it sees that one changed, not what it is."""
    return f"<secret {hashlib.blake2b(value.encode(), key=_HIDING, digest_size=4).hexdigest()}>"


def digest(texts: Mapping[str, str]) -> str:
    """Of all places: two fetches with one digest found the same."""
    told = "".join(f"=== {name}\n{text}" for name, text in sorted(texts.items()))
    return hashlib.sha256(told.encode()).hexdigest()
