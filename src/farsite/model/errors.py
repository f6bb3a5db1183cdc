"""Every error we raise on purpose.

    FarsiteError
    ├── Refused         the request cannot be done as asked        (4xx)
    │   ├── Invalid     the content is malformed or contradicts itself
    │   ├── NotFound
    │   ├── Conflict
    │   ├── NotEnough
    │   ├── NotSupported
    │   ├── Forbidden
    │   └── Overloaded  too much at once; the same request a moment later is welcome
    ├── Failed          we tried; the outside said no              (operation FAILED_TEMP, problem 5xx)
    │   ├── VimFault
    │   │   └── NoRoom  with more room the same request would succeed
    │   └── VnfFault
    └── Unknown         we tried; we do not know what happened     (must be recovered, never assumed)
        ├── VimUnreachable
        └── VnfUnreachable

A timeout is not a failure: a step that raises `Unknown` is followed by looking, not by undo.
"""

from collections.abc import Mapping

ROOM = "room"
"""What an operation lacks that failed by `NoRoom`."""


class FarsiteError(Exception):
    """Base of all. `detail` is for the user, `operator_detail` for the log, `about` holds ids."""

    def __init__(
        self, detail: str, *, operator_detail: str = "", about: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.operator_detail = operator_detail
        self.about: dict[str, str] = dict(about or {})


class Refused(FarsiteError):
    """The request cannot be done as asked; nothing was changed."""


class Invalid(Refused):
    """Content that is malformed, or well-formed but contradicts itself or its descriptor."""


class NotFound(Refused):
    """No such object, or none that this project may see."""


class Conflict(Refused):
    """The object is in a state that does not allow it now."""


class NotEnough(Refused):
    """No candidate can hold the demand; `detail` says by how much and which constraint failed."""


class NotSupported(Refused):
    """The VIM, function or product version cannot do this at all."""


class Forbidden(Refused):
    """The caller is known but may not."""


class Overloaded(Refused):
    """More than can be taken in now; nothing was lost that was accepted. Ask again in a moment."""


class TooOften(Refused):
    """The caller has used up what it may ask for in a time; `retry_after_s` says when it may again."""

    def __init__(
        self, detail: str, *, retry_after_s: int = 1, about: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, about=about)
        self.retry_after_s = retry_after_s


class Failed(FarsiteError):
    """We tried; the outside said no."""


class VimFault(Failed):
    """A VIM refused or reported failure; `detail` holds its own words."""


class NoRoom(VimFault):
    """A VIM has no host with room for it now; with more room the same request would succeed.

    `about["lacks"]` says so in the record of an operation that failed by it.
    """

    def __init__(
        self, detail: str, *, operator_detail: str = "", about: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, operator_detail=operator_detail, about={**(about or {}), "lacks": ROOM})


class VnfFault(Failed):
    """A network function refused or reported failure."""


class Unknown(FarsiteError):
    """We tried and do not know what happened; look before doing anything else."""


class VimUnreachable(Unknown):
    """No answer, a broken answer, or a connection lost on the way."""


class VnfUnreachable(Unknown):
    """The function did not answer."""
