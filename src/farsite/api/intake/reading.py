"""Reading bodies of others: every fault is named by its path in a 400, and nothing of the body taken in."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from farsite.model.errors import Invalid

T = TypeVar("T")

_FAULTS_SHOWN = 20

# NUL is refused because PostgreSQL cannot keep it.
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Label = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Key = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class Foreign(BaseModel):
    """A body of somebody else's making: fields that we do not know are none of our business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def read(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as its format has it.

    Raises:
        Invalid: it is not JSON, or not of that form; names every fault by its path.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        faults = [f"{_path(one['loc'])}: {one['msg']}" for one in found[:_FAULTS_SHOWN]]
        more = f" (and {len(found) - _FAULTS_SHOWN} more)" if len(found) > _FAULTS_SHOWN else ""
        raise Invalid(f"{'; '.join(faults)}{more}. Nothing of this request was taken in.") from None


def _path(parts: tuple[Any, ...]) -> str:
    return "/".join(str(one) for one in parts) or "the body"
