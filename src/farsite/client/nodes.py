"""The service itself: its processes and its health, as our API shows them."""

from typing import TypedDict, cast

import httpx2

from farsite.client.connection import ROOT, Connection, Document, in_path


class Node(TypedDict):
    id: str
    name: str
    host: str
    pid: int
    url: str
    version: str
    workflow_versions: list[str]
    state: str
    reason: str
    is_alive: bool
    is_here: bool
    operations: int
    vims: int
    started_at: str
    renewed_at: str


class Nodes(Connection):
    """The service itself: its processes and its health."""

    def nodes(self) -> list[Node]:
        return cast("list[Node]", list(self._list("/nodes")))

    def drain_node(self, node: str) -> Node:
        return cast("Node", self._post(f"/nodes/{in_path(node)}/drain"))

    def undrain_node(self, node: str) -> Node:
        return cast("Node", self.request("DELETE", f"{ROOT}/nodes/{in_path(node)}/drain").json())

    def health(self) -> Document:
        """State of the service; also while it says that it is down."""
        try:
            answer = self._http.get("/healthz", timeout=5.0)
            return cast("Document", answer.json())
        except (httpx2.TransportError, ValueError) as error:
            raise self._silence(error) from error
