"""HTTP to a function of our own, over the stream that its VIM gives to its management address.

Who is at the other end is the VIM's word: the stream ends inside the namespace of that VNFC and nowhere else,
so there is no key to be pinned and nobody logs in.
"""

import asyncio
import contextlib
from collections.abc import Mapping

from farsite.model.errors import FarsiteError, VnfUnreachable
from farsite.model.ids import VnfcId
from farsite.vnfs import management
from farsite.vnfs.rest import HttpAnswer
from farsite.vnfs.transports.passage import Through


class InsideClient:
    """Sends requests to one function, each over a stream of its own. See `Rest`."""

    def __init__(self, device: str, vnfc_id: str, through: Through) -> None:
        self._device = device
        self._vnfc_id = VnfcId(vnfc_id)
        self._through = through
        self._asking: asyncio.Task[management.Answer] | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  (of the Protocol)
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        """Send a request with a JSON body, or none, and read the answer, whatever its status. Headers are not
        passed on: a function heeds none.

        Raises:
            VnfUnreachable: the VIM gives no way, or it broke off, or no answer in time.
            VnfFault: what it answers is no HTTP.
        """
        self._asking = asyncio.ensure_future(self._ask(method, path, body, timeout_s))
        try:
            answer = await self._asking
        except asyncio.CancelledError:
            if self._asking.cancelled() and not _is_being_cancelled():
                raise VnfUnreachable(
                    f"The connection to {self._device} was cut during {method} {path}. What it came to is "
                    f"not known."
                ) from None
            raise
        return HttpAnswer(
            status=answer.status, body=answer.body, headers={"content-type": answer.content_type}
        )

    async def _ask(self, method: str, path: str, body: bytes, timeout_s: float) -> management.Answer:
        try:
            stream = await self._through()
        except FarsiteError as error:
            raise VnfUnreachable(
                f"There is no way to {self._device}: {error.detail}", about={"vnfc": self._vnfc_id}
            ) from error
        return await management.request(
            stream, self._vnfc_id, method=method, path=path, body=body, timeout_s=timeout_s
        )

    def cut(self) -> None:
        """Break off what is under way, as a network would."""
        if self._asking is not None:
            self._asking.cancel()

    async def close(self) -> None:
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
