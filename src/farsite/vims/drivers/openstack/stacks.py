"""What Heat says of stacks, and what is asked of it. Everything here runs in a thread of the VIM's pool.

Stacks are always addressed by name and id: by name alone Heat answers with a redirection, which clients
follow badly for DELETE.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote, urlsplit

from farsite.vims.drivers.openstack.hot import Json

if TYPE_CHECKING:
    import requests
    from keystoneauth1.adapter import Adapter
    from openstack.connection import Connection

OURS = "farsite"
"""Tag of every stack of ours."""
_TAG_MAX = 80
_NAMES_PER_LIST = 40
"""Names that one list request asks for; a longer URL is refused by some front ends."""
_NESTED_DEPTH = 5
_AS_JSON = {"Accept": "application/json"}
"""Without it Heat answers an accepted update with an HTML page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack as a list shows it. `action` and `status` are Heat's: `CREATE` `IN_PROGRESS` ..."""

    id: str
    name: str
    action: str
    status: str
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Our tags by what they say: `vnf`, `revision`, `content`."""
    created: str = ""
    stamp: str = ""
    """When it was created or last updated; changes with every action."""

    @property
    def path(self) -> str:
        return f"/stacks/{quote(self.name, safe='')}/{self.id}"

    @property
    def is_going(self) -> bool:
        return self.action == "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackResource:
    """A resource of a stack or of one nested in it."""

    name: str
    type: str
    physical_id: str
    action: str
    status: str
    reason: str = ""
    path: str = ""
    """Path of the stack that it is directly in."""
    parents: tuple[str, ...] = ()
    """Resources that hold it, the outermost first; empty: it is in the stack itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The newest event of a stack."""

    id: str
    text: str


def tags(vnf_id: str, revision: str, content: str, more: Mapping[str, str]) -> str:
    """Tags of a stack, as Heat takes them. What does not fit into a tag of Heat is left out."""
    known = {"vnf": vnf_id, "revision": revision, "content": content}
    stated = [f"{OURS}-{key}={value}" for key, value in known.items()]
    stated += [f"{key}={value}" for key, value in sorted(more.items())]
    return ",".join([OURS, *(one for one in stated if len(one) <= _TAG_MAX and "," not in one)])


def answer(response: "requests.Response") -> Json:
    """The JSON of a response; an error of the SDK for a refusal."""
    from openstack import exceptions  # in a thread: its import takes longer than the event loop may wait

    exceptions.raise_from_response(response)
    return cast(Json, response.json()) if response.content else {}


def get(adapter: "Adapter", path: str, params: object = None, *, microversion: str | None = None) -> Json:
    """GET a document."""
    return answer(adapter.get(path, params=params, microversion=microversion))


def inner(document: Json, key: str) -> Json:
    """A document in a document; empty where there is none."""
    value = document.get(key)
    return cast(Json, value) if isinstance(value, dict) else {}


def entries(document: Json, key: str) -> list[Json]:
    """A list in a document."""
    return cast(list[Json], document.get(key) or [])


def text(document: Json, key: str) -> str:
    """A text in a document; empty for null."""
    value = document.get(key)
    return "" if value is None else str(value)


def named(connection: "Connection", names: Sequence[str]) -> list[Stack]:
    """Those stacks of the project that have one of these names: one request, for up to 40 names."""
    found: list[Stack] = []
    for first in range(0, len(names), _NAMES_PER_LIST):
        wanted = [("name", name) for name in names[first : first + _NAMES_PER_LIST]]
        found += _listed(connection, wanted)
    return found


def tagged(connection: "Connection", tag: str) -> list[Stack]:
    """All stacks of the project with a tag."""
    return _listed(connection, [("tags", tag)])


def by_tag(connection: "Connection", vnf_id: str) -> list[Stack]:
    """Stacks of one VNF instance; an empty id means every stack of ours."""
    return tagged(connection, f"{OURS}-vnf={vnf_id}" if vnf_id else OURS)


def _listed(connection: "Connection", query: list[tuple[str, str]]) -> list[Stack]:
    # Heat lists an administrator the stacks of all projects; whose they are shows in their links only.
    mine = f"/{connection.current_project_id}/stacks/"
    listed = entries(get(connection.orchestration, "/stacks", query), "stacks")
    return [
        _stack(one) for one in listed if any(mine in text(link, "href") for link in entries(one, "links"))
    ]


def _stack(document: Json) -> Stack:
    action, _, status = text(document, "stack_status").partition("_")
    stated = cast("list[str]", document.get("tags") or [])
    pairs = (one.removeprefix(f"{OURS}-").partition("=") for one in stated if one.startswith(f"{OURS}-"))
    return Stack(
        id=text(document, "id"),
        name=text(document, "stack_name"),
        action=action,
        status=status,
        reason=text(document, "stack_status_reason"),
        tags={key: value for key, _, value in pairs},
        created=text(document, "creation_time"),
        stamp=text(document, "updated_time") or text(document, "creation_time"),
    )


def standing_one(found: Sequence[Stack]) -> Stack | None:
    """Of the stacks of one name the one that counts: the oldest that is not being removed, else one that is.

    Heat looks before it makes a stack but has no lock on the name: of two requests at once, or one that
    arrives late, both can succeed. Everybody who looks chooses alike, so the same one is left.
    """
    return min(found, key=lambda one: (one.is_going, one.created, one.id), default=None)


def create(connection: "Connection", name: str, body: Json) -> bool:
    """Ask for a new stack; whether Heat knew none of this name then (see `standing_one`)."""
    asked = {**body, "stack_name": name, "disable_rollback": True}
    response = connection.orchestration.post("/stacks", json=asked)
    if response.status_code == 409:
        return False
    answer(response)
    return True


def update(connection: "Connection", stack: Stack, body: Json) -> bool:
    """Ask for a change to the whole of `body`; whether Heat took it (it refuses while it is busy)."""
    asked = {**body, "disable_rollback": True}
    response = connection.orchestration.put(stack.path, json=asked, headers=_AS_JSON)
    if response.status_code in (404, 409):
        return False
    answer(response)
    return True


def delete(connection: "Connection", stack: Stack) -> None:
    """Ask for the removal of a stack; absent is success."""
    response = connection.orchestration.delete(stack.path)
    if response.status_code != 404:
        answer(response)


def parameters(connection: "Connection", stack: Stack) -> Json:
    """The parameters a stack was last given; a JSON parameter is its text."""
    document = get(connection.orchestration, stack.path, {"resolve_outputs": "false"})
    return inner(inner(document, "stack"), "parameters")


def resources(connection: "Connection", stack: Stack) -> list[StackResource]:
    """All resources of a stack and of those nested in it."""
    query = {"nested_depth": str(_NESTED_DEPTH)}
    response = connection.orchestration.get(f"{stack.path}/resources", params=query)
    if response.status_code == 404:
        return []
    return _with_parents(entries(answer(response), "resources"))


def _with_parents(documents: list[Json]) -> list[StackResource]:
    """Resources with where they are: Heat lists them flat, each with the stack it is in and, inside a
    nested stack, the name of the resource that holds that stack."""
    holders = {text(one, "physical_resource_id"): one for one in documents}

    def parents(document: Json) -> tuple[str, ...]:
        found: list[str] = []
        while (holder := holders.get(_stack_id(document))) is not None and len(found) < _NESTED_DEPTH:
            found.insert(0, text(holder, "resource_name"))
            document = holder
        return tuple(found)

    return [
        StackResource(
            name=text(one, "resource_name"),
            type=text(one, "resource_type"),
            physical_id=text(one, "physical_resource_id"),
            action=text(one, "resource_status").partition("_")[0],
            status=text(one, "resource_status").partition("_")[2],
            reason=text(one, "resource_status_reason"),
            path=_stack_path(one),
            parents=parents(one),
        )
        for one in documents
    ]


def _stack_path(document: Json) -> str:
    """Path of the stack that a resource is in, from its links."""
    for link in entries(document, "links"):
        if link.get("rel") in ("self", "stack"):
            matched = re.search(r"(/stacks/[^/]+/[^/]+)", urlsplit(text(link, "href")).path)
            if matched:
                return matched[1]
    return ""


def _stack_id(document: Json) -> str:
    return unquote(_stack_path(document).rpartition("/")[2])


def last_event(connection: "Connection", stack: Stack) -> Event | None:
    """The newest event of a stack, nested ones included."""
    query = {"sort_dir": "desc", "limit": "1", "nested_depth": str(_NESTED_DEPTH)}
    response = connection.orchestration.get(f"{stack.path}/events", params=query)
    found = [] if response.status_code == 404 else entries(answer(response), "events")
    if not found:
        return None
    newest = found[0]
    what = " ".join(text(newest, key) for key in ("resource_name", "resource_status"))
    return Event(id=text(newest, "id"), text=f"{text(newest, 'event_time')} {what}")


def mark_unhealthy(connection: "Connection", resource: StackResource, reason: str) -> None:
    """Have the next update replace a resource. One that is gone needs no mark."""
    response = connection.orchestration.patch(
        f"{resource.path}/resources/{quote(resource.name, safe='')}",
        json={"mark_unhealthy": True, "resource_status_reason": reason},
        headers=_AS_JSON,
    )
    if response.status_code != 404:
        answer(response)
