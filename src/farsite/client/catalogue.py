"""The catalogue, its bundles and the keys that sign them, as our API shows them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

import httpx2

from farsite.client.connection import ROOT, UPLOAD_TIMEOUT_S, Connection, Document, in_path, pieces


class CatalogueEvidence(TypedDict):
    suite: str
    level: str
    result: str
    digest: str
    at: str
    stated_by: str
    detail: str
    signed_by: str


class CatalogueEntry(TypedDict):
    id: str
    kind: str
    vendor: str
    name: str
    product: str
    version: str
    digest: str
    state: str
    origin: str
    tags: list[str]
    licence: str
    requires: list[str]
    conflicts: list[str]
    unmet: list[str]
    certification: str
    evidence: list[CatalogueEvidence]
    stale: list[CatalogueEvidence]
    description: str
    claim: str


class ArrivedEntry(TypedDict):
    entry: CatalogueEntry
    outcome: str


class ImportedBundle(TypedDict):
    signer: str
    fingerprint: str
    arrived: list[ArrivedEntry]
    evidence: int


class CatalogueKey(TypedDict):
    name: str
    public_key: str
    fingerprint: str
    is_own: bool


class Catalogue(Connection):
    """The catalogue, its bundles and the keys that sign them."""

    def catalogue(
        self,
        text: str = "",
        *,
        filter: str = "",
        limit: int = 0,
    ) -> list[CatalogueEntry]:
        query = [("text", text)] if text else []
        found = self._list("/catalogue/entries", filter=filter, limit=limit, query=query)
        return cast("list[CatalogueEntry]", list(found))

    def catalogue_entry(self, key: str) -> CatalogueEntry:
        return cast("CatalogueEntry", self._get(f"/catalogue/entries/{in_path(key)}"))

    def record_evidence(self, key: str, body: Document) -> CatalogueEntry:
        return cast("CatalogueEntry", self._post(f"/catalogue/entries/{in_path(key)}/evidence", body))

    def export_bundle(self, entries: Sequence[str], file: Path) -> None:
        """Write a signed bundle of entries (ids or names); the file is there whole, or not at all."""
        partial = file.with_name(f".{file.name}.partial")
        try:
            with self._http.stream(
                "POST",
                f"{ROOT}/catalogue/bundle",
                json={"entries": list(entries)},
                timeout=UPLOAD_TIMEOUT_S,
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                with partial.open("wb") as out:
                    out.writelines(answer.iter_bytes())
            partial.replace(file)
        except httpx2.TransportError as error:
            raise self._silence(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def import_bundle(self, file: Path) -> ImportedBundle:
        answer = self.request(
            "PUT",
            f"{ROOT}/catalogue/bundle",
            content=pieces(file),
            content_type="application/x-tar",
            timeout_s=UPLOAD_TIMEOUT_S,
        )
        return cast("ImportedBundle", answer.json())

    def catalogue_keys(self) -> list[CatalogueKey]:
        return cast("list[CatalogueKey]", list(self._list("/catalogue/keys")))

    def create_catalogue_key(self, name: str) -> CatalogueKey:
        return cast("CatalogueKey", self._post("/catalogue/keys", {"name": name}))

    def trust_catalogue_key(self, name: str, public_key: str) -> CatalogueKey:
        path = f"{ROOT}/catalogue/keys/{in_path(name)}"
        return cast("CatalogueKey", self.request("PUT", path, {"public_key": public_key}).json())

    def forget_catalogue_key(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/catalogue/keys/{in_path(name)}")
