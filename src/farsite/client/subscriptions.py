"""Subscriptions, and what was told to them, as our API shows them."""

from typing import Literal, TypedDict, cast

from farsite.client.connection import ROOT, Connection, Document, in_path


class Subscription(TypedDict):
    id: str
    interface: str
    name: str
    callback_uri: str
    auth: str | None
    filter: dict[str, object]
    created_at: str
    created_by: str
    number: int
    pending: int
    delivered: int
    dead: int
    holder: str
    away_since: str | None
    trouble: str


class Notification(TypedDict):
    number: int
    id: str
    kind: str
    object_id: str
    state: str
    attempts: int
    is_replay: bool
    told_at: str | None
    detail: str


class Subscriptions(Connection):
    """Subscriptions, and what was told to them."""

    def subscriptions(self, *, filter: str = "", limit: int = 0) -> list[Subscription]:
        return cast("list[Subscription]", list(self._list("/subscriptions", filter=filter, limit=limit)))

    def subscription(self, key: str) -> Subscription:
        return cast("Subscription", self._get(f"/subscriptions/{in_path(key)}"))

    def create_subscription(self, body: Document) -> Subscription:
        return cast("Subscription", self._post("/subscriptions", body))

    def delete_subscription(self, key: str) -> None:
        self.request("DELETE", f"{ROOT}/subscriptions/{in_path(key)}")

    def notifications(
        self, key: str, *, state: str = "", after: int = 0, limit: int = 100
    ) -> list[Notification]:
        query = f"?after={after}&page_size={limit}" + (f"&state={state}" if state else "")
        path = f"/subscriptions/{in_path(key)}/notifications{query}"
        return cast("list[Notification]", self._get(path))

    def test_subscription(self, key: str) -> Document:
        return cast("Document", self._post(f"/subscriptions/{in_path(key)}/test"))

    def replay(self, key: str, from_number: int) -> Document:
        body = {"from_number": from_number}
        return cast("Document", self._post(f"/subscriptions/{in_path(key)}/replay", body))

    def decide(self, key: str, number: int, decision: Literal["resume", "skip"]) -> Notification:
        """Have a dead letter sent once more, or never."""
        path = f"/subscriptions/{in_path(key)}/notifications/{number}/{decision}"
        return cast("Notification", self._post(path))
