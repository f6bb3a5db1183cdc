"""From what the OpenStack libraries raise to our two outcomes: refused, or nobody knows.

A refusal carries the VIM's own words, the service, the status and the request id under which the VIM's log
tells more. Everything that leaves the outcome open (silence, a lost connection, a 5xx, an answer that cannot
be read) is `VimUnreachable`: the caller looks before it does anything else. A mistake of ours stays what it
is and crashes the step.
"""

import json
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import keystoneauth1
import openstack
import requests
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.vims.drivers.openstack.trouble import trouble_of

ServiceAt = Callable[[str], str]
"""From a URL to the name of the service that is there, empty if unknown."""

# The libraries' own code: what is raised there by a wrong-shaped answer is the VIM's doing, not ours.
_LIBRARIES = tuple(
    str(Path(str(library.__file__)).parent) for library in (keystoneauth1, openstack, requests, json)
)
_ANSWERS_OF_ANOTHER_SHAPE = (KeyError, TypeError, AttributeError, IndexError, ValueError)
_WORDS_MAX = 1000
_REFUSING_5XX = (501, 505)
"""The only 5xx that say that nothing was done."""
_SLOW_DOWN = 429


class BrokenAnswer(requests.exceptions.RequestException):
    """An answer that is not what an OpenStack API gives, e.g. a proxy's HTML page with status 200."""


def translate(error: Exception, *, vim: str, what: str, service_at: ServiceAt) -> FarsiteError | None:
    """What `error` means for somebody who wanted `what` of `vim`; None for a mistake of ours."""
    if isinstance(error, FarsiteError):
        return error
    response = response_of(error)
    if response is not None:
        return _answered(response, vim=vim, what=what, service_at=service_at)
    text = words_of(error)
    if isinstance(error, keystone.CatalogException | sdk.EndpointNotFound | sdk.ServiceDisabledException):
        return VimFault(
            f'VIM "{vim}" cannot {what}: its catalogue has no endpoint for that: {text}. '
            "Ask its operator to add the service to the catalogue of this project and region."
        )
    if isinstance(error, keystone.ConnectionError | requests.exceptions.ConnectionError):
        return _not_connected(error, vim=vim, what=what, service_at=service_at)
    if isinstance(error, keystone.ClientException | requests.exceptions.RequestException | OSError):
        return VimUnreachable(f'VIM "{vim}" gave no usable answer when asked to {what}: {text}')
    if isinstance(error, sdk.ResourceTimeout | sdk.InvalidResponse):
        return VimUnreachable(f'VIM "{vim}" gave no usable answer when asked to {what}: {text}')
    if isinstance(error, sdk.NotSupported | sdk.ServiceDiscoveryException):
        # The SDK says so whenever it could not read a version document, be it for silence.
        return VimUnreachable(f'VIM "{vim}" did not tell its API versions when asked to {what}: {text}')
    if isinstance(error, sdk.SDKException):
        return VimFault(f'VIM "{vim}" did not {what}: {text}')
    if isinstance(error, _ANSWERS_OF_ANOTHER_SHAPE) and _is_raised_in_libraries(error):
        return VimUnreachable(
            f'VIM "{vim}" answered in another form than its API has when asked to {what}: {text}'
        )
    return None


def _not_connected(error: Exception, *, vim: str, what: str, service_at: ServiceAt) -> FarsiteError:
    tried = re.search(r"https?://[^\s'\")]*[^\s'\"):,.]", str(error))
    trouble = trouble_of(error, tried[0]) if tried else None
    service = service_at(tried[0]) if tried else ""
    kind = VimFault if trouble and trouble.is_refusal else VimUnreachable
    return kind(
        f'VIM "{vim}" gave no usable answer when asked to {what}: '
        f"{f'{service}: ' if service else ''}{trouble or words_of(error)}",
        operator_detail=words_of(error),
        about={"vim": vim},
    )


def response_of(error: BaseException) -> requests.Response | None:
    """The HTTP answer behind an error of either library."""
    if isinstance(error, keystone.HttpError | sdk.HttpException):
        response: object = error.response
        return response if isinstance(response, requests.Response) else None
    return None


def _answered(response: requests.Response, *, vim: str, what: str, service_at: ServiceAt) -> FarsiteError:
    status = response.status_code
    service = service_at(response.url or "") or "the VIM"
    request_id = request_id_of(response)
    about = {"vim": vim, "service": service, "status": str(status), "request_id": request_id}
    said = f'{service} says {status}: "{words(response)}"' + (
        f" (request {request_id})" if request_id else ""
    )
    operator_detail = f"{getattr(response.request, 'method', '')} {response.url}"
    if status == _SLOW_DOWN:
        return VimUnreachable(
            f'VIM "{vim}" limits our requests and did not {what} now: {said}',
            operator_detail=operator_detail,
            about=about,
        )
    if status >= 500 and status not in _REFUSING_5XX:
        return VimUnreachable(
            f'VIM "{vim}" broke off when asked to {what}: {said}',
            operator_detail=operator_detail,
            about=about,
        )
    return VimFault(f'VIM "{vim}" refuses to {what}: {said}', operator_detail=operator_detail, about=about)


def request_id_of(response: requests.Response) -> str:
    """The `req-...` under which the VIM's own log tells of this request."""
    headers = response.headers
    return headers.get("x-openstack-request-id") or headers.get("x-compute-request-id") or ""


def words(response: requests.Response) -> str:
    """What a service said in an error body, without its wrapping, on one line."""
    try:
        body: object = json.loads(response.text)
    except ValueError:
        return _one_line(_without_markup(response.text)) or response.reason or "nothing"
    return _one_line(_message(body)) or response.reason or "nothing"


def _message(body: object) -> str:
    """The message in any of the forms: Keystone and Heat `error`, Nova and Cinder `badRequest` ...,
    `NeutronError`, Placement `errors`, Keystone's middleware and Glance a plain text."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message, cast("list[object]", body))))
    if not isinstance(body, dict):
        return ""
    fields = cast("dict[str, object]", body)
    # Heat has the precise reason inside `error` and a general one beside it.
    if precise := _message(fields.get("error")):
        return precise
    for key in ("message", "detail", "explanation", "title"):
        if isinstance(fields.get(key), str) and fields[key]:
            return cast("str", fields[key])
    nested = (_message(cast("object", value)) for value in fields.values() if isinstance(value, dict | list))
    return next((found for found in nested if found), "")


def _without_markup(text: str) -> str:
    body = re.sub(r"(?is)<(script|style|head)\b.*?</\1>", " ", text)
    return re.sub(r"(?s)<[^>]*>", " ", body)


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _WORDS_MAX else flat[:_WORDS_MAX] + " ..."


def words_of(error: BaseException) -> str:
    """An error of a library in one line, without the object addresses that urllib3 prints."""
    text = re.sub(r"<urllib3[^>]*>: ", "", str(error))
    return _one_line(text) or type(error).__name__


def _is_raised_in_libraries(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(_LIBRARIES)


SERVICE_NAMES: Mapping[str, str] = {
    "identity": "Keystone",
    "orchestration": "Heat",
    "compute": "Nova",
    "network": "Neutron",
    "image": "Glance",
    "placement": "Placement",
    "block-storage": "Cinder",
    "block-store": "Cinder",
    "volume": "Cinder",
    "volumev2": "Cinder",
    "volumev3": "Cinder",
}
