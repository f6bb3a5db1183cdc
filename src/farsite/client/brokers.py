"""Brokers, which reach devices that we do not, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ROOT, Connection, in_path


class NewBroker(TypedDict):
    name: str
    token: str


class KnownBroker(TypedDict):
    name: str
    created_at: str
    heard_at: str | None
    waiting: int


class Brokers(Connection):
    """Brokers, which reach devices that we do not."""

    def create_broker(self, name: str) -> NewBroker:
        return cast("NewBroker", self._post("/brokers", {"name": name}))

    def brokers(self) -> list[KnownBroker]:
        return cast("list[KnownBroker]", list(self._list("/brokers")))

    def delete_broker(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/brokers/{in_path(name)}")
