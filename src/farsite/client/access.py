"""Who may ask: tokens, and credentials of VNFs, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ROOT, Connection, Document, in_path


class Token(TypedDict):
    name: str
    role: str
    created_at: str


class NewToken(TypedDict):
    name: str
    role: str
    project_id: str
    token: str


class Credential(TypedDict):
    name: str
    created_at: str


class NewCredential(TypedDict):
    name: str
    vnf_id: str
    token: str


class Access(Connection):
    """Who may ask: tokens, and credentials of VNFs."""

    def tokens(self) -> list[Token]:
        return cast("list[Token]", list(self._list("/tokens")))

    def create_token(self, name: str, role: str, project_id: str = "") -> NewToken:
        body = {"name": name, "role": role, "project_id": project_id or None}
        return cast("NewToken", self._post("/tokens", body))

    def revoke_token(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/tokens/{in_path(name)}")

    def credentials_of(self, vnf: str) -> list[Credential]:
        return cast("list[Credential]", list(self._list(f"/vnfs/{in_path(vnf)}/credentials")))

    def create_credential(self, vnf: str, name: str) -> NewCredential:
        path = f"/vnfs/{in_path(vnf)}/credentials"
        return cast("NewCredential", self._post(path, {"name": name}))

    def revoke_credential(self, vnf: str, name: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{in_path(vnf)}/credentials/{in_path(name)}")

    def me(self) -> Document:
        return cast("Document", self._get("/me"))
