"""What all handlers share at the wire: strict input, the context, the question a list is asked."""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints

from farsite.api.context import Context
from farsite.api.filters import PAGE_SIZE, FilterText, Marker, PageSize, ask_of
from farsite.model.query import Ask

ROOT = "/farsite/v1"


class Wire(BaseModel):
    """A body of our own API: unknown fields are refused, so that a misspelt one is not silently lost."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


# NUL is refused because PostgreSQL cannot keep it, control characters because terminals obey them.
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE, strip_whitespace=True)
]
# A name is also a part of a path.
_IN_A_PATH = r"^[^\x00-\x1f\x7f/]*$"
ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=_IN_A_PATH, strip_whitespace=True)
]
OptionalName = Annotated[str, StringConstraints(max_length=200, pattern=_IN_A_PATH, strip_whitespace=True)]
Label = Annotated[str, StringConstraints(max_length=200, pattern=_PRINTABLE)]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Labels = dict[Label, Text]
Document = dict[Label, JsonValue]
"""Free-form settings, configuration ..."""


async def context_of(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Here = Annotated[Context, Depends(context_of)]


async def _asked(
    filter: FilterText = "",  # noqa: A002  (the standard's name)
    nextpage_opaque_marker: Marker = "",
) -> Ask:
    return ask_of(filter, nextpage_opaque_marker)


Asked = Annotated[Ask, Depends(_asked)]
"""Filter and page of a list of ETSI's interfaces, where the server decides how long a page is."""


def asks(spelled: Mapping[str, str] | None) -> Callable[..., object]:
    """A dependency that reads filter and page of a list whose attributes are spelled so."""

    async def read(
        filter: FilterText = "",  # noqa: A002  (the standard's name)
        nextpage_opaque_marker: Marker = "",
        page_size: PageSize = PAGE_SIZE,
    ) -> Ask:
        return ask_of(filter, nextpage_opaque_marker, page_size, spelled=spelled)

    return read
