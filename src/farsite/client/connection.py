"""What every request to our API shares: the address, the token, refusals and silence."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote

import httpx2

from farsite.settings import Settings, read_settings

ROOT = "/farsite/v1"
TIMEOUT_S = 60.0
UPLOAD_TIMEOUT_S = 600.0
ASKING_VIM_S = 180.0

Document = Mapping[str, object]


class Problem(Exception):
    """The service refused or failed: its own words, and every fault by its path."""

    def __init__(self, status: int, body: Document) -> None:
        self.status = status
        self.title = str(body.get("title", f"HTTP {status}"))
        self.detail = str(body.get("detail", ""))
        self.about = cast("dict[str, str]", body.get("about", {}))
        self.faults = cast("list[dict[str, object]]", body.get("faults", []))
        self.body = body
        super().__init__(self.detail or self.title)


class NotReachable(Exception):
    """Nobody answers at the address, or not in our language."""


def find_service(settings: Settings | None = None) -> tuple[str, str]:
    """Address and token of the service: from FARSITE_URL and FARSITE_TOKEN, else as a service of this
    user left them in its data directory, else the default address without a token."""
    known = settings or read_settings()
    url = os.environ.get("FARSITE_URL") or _left_in(known.data_dir / "url")
    token = os.environ.get("FARSITE_TOKEN") or _left_in(known.data_dir / "token")
    return url or f"http://{known.listen_host}:{known.listen_port}", token


def _left_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class Connection:
    """What all requests to one service share. Every method raises Problem for a refusal and NotReachable for
    silence."""

    def __init__(
        self, url: str = "", token: str = "", *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        found_url, found_token = ("", "") if url and token else find_service()
        self.url = (url or found_url).rstrip("/")
        used = token or found_token
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {used}"} if used else {},
            timeout=TIMEOUT_S,
            transport=transport,
            # Reading the host's certificates takes longer than most requests.
            verify=self.url.startswith("https:"),
            # The service is ours and named; a proxy of the environment is for others.
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        content: Iterator[bytes] | bytes | None = None,
        content_type: str = "application/zip",
        timeout_s: float = TIMEOUT_S,
    ) -> httpx2.Response:
        headers = {"Content-Type": content_type} if content is not None else {}
        try:
            answer = self._http.request(
                method,
                path if path.startswith("/") and not path.startswith("//") else f"/{path}",
                json=body,
                content=content,
                params=list(query),
                headers=headers,
                timeout=timeout_s,
            )
        except httpx2.TransportError as error:
            raise self._silence(error) from error
        return self._checked(answer)

    def _silence(self, error: Exception) -> NotReachable:
        if isinstance(error, httpx2.ConnectError):
            return NotReachable(
                f"No Farsite service answers at {self.url}. Start one (farsite serve), or say where it is "
                f"(FARSITE_URL)."
            )
        return NotReachable(
            f"The connection to {self.url} broke: {error or type(error).__name__}. Whether the request "
            f"was taken is not known; look before repeating it."
        )

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.status_code < 400:
            return answer
        try:
            body = cast("object", answer.json())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise NotReachable(
                f"{self.url} answers {answer.status_code} and not as Farsite does. Is FARSITE_URL right?"
            )
        raise Problem(answer.status_code, cast("Document", body))

    def _get(self, path: str) -> object:
        return self.request("GET", ROOT + path).json()

    def _post(self, path: str, body: object = None) -> object:
        answer = self.request("POST", ROOT + path, body)
        return answer.json() if answer.content else None

    def _list(
        self,
        path: str,
        *,
        filter: str = "",
        limit: int = 0,
        query: Sequence[tuple[str, str]] = (),
    ) -> Iterator[object]:
        """All objects of a list over all its pages; `limit` 0 for no limit."""
        page_size = min(limit, 1000) if limit else 1000
        asked = [*query, ("page_size", str(page_size)), *([("filter", filter)] if filter else [])]
        given = 0
        target = ROOT + path
        while True:
            answer = self.request("GET", target, query=asked)
            for item in cast("list[object]", answer.json()):
                yield item
                given += 1
                if limit and given >= limit:
                    return
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            target, asked = following, []


def in_path(key: str) -> str:
    # A word of the command line that is no UTF-8 is nobody's name, which the service says.
    return quote(key, safe="", errors="surrogateescape")


def pieces(archive: Path, size: int = 1 << 20) -> Iterator[bytes]:
    with archive.open("rb") as file:
        while piece := file.read(size):
            yield piece
