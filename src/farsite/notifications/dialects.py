"""What a notification looks like is the affair of the interface that its subscription was made through.

The interfaces know their words (`api`), the delivery knows none of them: it asks a `Reader`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from farsite.model.subscription import Interface, Subscription
from farsite.store.database import Connection
from farsite.store.outbox import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One notification in the words of its interface."""

    kind: str
    object_id: str
    """The managed object that it is about, within whose notifications order is kept."""
    body: Mapping[str, object]
    headers: Mapping[str, str]


class Reader(Protocol):
    """Reads what was told as one subscription wants it."""

    @property
    def looks_before_choosing(self) -> bool:
        """Whether the filter looks at records that may change, so that what it chose must be recorded
        before it is acted on."""
        ...

    def may_want(self, told: Told) -> bool:
        """What can be said without looking: False where it is certainly not wanted."""
        ...

    def look(self, connection: Connection, told: Sequence[Told]) -> Mapping[int, object]:
        """What has to be known beside the entries, by their sequence; for entries that may be wanted."""
        ...

    def needs_look(self, told: Told) -> bool: ...

    def wants(self, told: Told, found: object) -> bool: ...

    def message(self, told: Told, found: object) -> Message: ...


Readers = Mapping[Interface, Callable[[Subscription], Reader]]
