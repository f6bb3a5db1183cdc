"""The check of a registration: every way in which it can be wrong gives an error of its own.

Keystone answers 401 in the same words to a wrong password, a wrong domain and an unknown project, on purpose.
We know the password, so we can do what an outsider cannot: log in without the project, and in the other
domain that was named, and so find out which part of the registration it is.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.vims.drivers.openstack.access import Access
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.trouble import Trouble, speaks_tls, trouble_of

if TYPE_CHECKING:
    import requests

    from farsite.vims.drivers.openstack.session import Sessions

NEEDED = ("orchestration", "compute", "network", "image")
"""Without these nothing can be deployed; the others are asked by who needs them."""
_EMPTY_TEMPLATE = {"heat_template_version": "2015-04-30", "resources": dict[str, object]()}
_OLDEST_COMPUTE = (2, 1)


async def validate(cloud: Cloud) -> None:
    """Find out whether a VIM can be worked with as it is registered.

    Raises:
        VimFault: it cannot; names the fact and the next step.
        VimUnreachable: it does not answer, so nothing can be said.
    """
    await cloud.run(lambda sessions: _check_keystone(sessions, cloud.name), what="show its Keystone")
    await cloud.run(lambda sessions: _check_login(sessions, cloud.name), what="let us in")
    regions = await cloud.regions()
    for region in regions:
        await _check_endpoints(cloud, region)
    await asyncio.gather(*(_check_heat(cloud, region) for region in regions))


# -- Keystone -----------------------------------------------------------------------------------------------


def _check_keystone(sessions: "Sessions", vim: str) -> None:
    auth_url = sessions.access.auth_url
    answer = _get(sessions, auth_url, vim)
    version = _json_of(answer, vim, auth_url).get("version")
    if answer.ok and isinstance(version, dict):
        return
    root = auth_url.removesuffix("/v3")
    document = _json_of(_get(sessions, root, vim), vim, root)
    offered = _versions(document)
    # Keystone alone has one level more in this document, in every release that had a v2.
    is_keystone = isinstance(document.get("versions"), dict)
    if is_keystone and not any(one.startswith("v3") for one in offered):
        raise VimFault(
            f'The Keystone of VIM "{vim}" at {root} offers {", ".join(offered)} and not v3. '
            "Farsite needs Keystone v3: upgrade it, or turn its v3 API on."
        )
    elsewhere = next((url for one, url in offered.items() if is_keystone and one.startswith("v3")), "")
    hint = f"Its v3 API is at {elsewhere}: register that." if elsewhere else "Correct the auth URL."
    raise VimFault(
        f'The auth URL of VIM "{vim}" does not lead to a Keystone v3: {auth_url} says '
        f"{answer.status_code} {answer.reason}. {hint}"
    )


def _versions(document: Mapping[str, Any]) -> dict[str, str]:
    """Version id -> its URL, from a version document of Keystone (v2 had one more level)."""
    given: object = document.get("versions", [])
    if isinstance(given, dict):
        given = cast("dict[str, object]", given).get("values", [])
    found: dict[str, str] = {}
    for one in cast("list[object]", given or []):
        if isinstance(one, dict):
            version = cast("dict[str, Any]", one)
            found[str(version.get("id", ""))] = _link_of(version)
    return found


def _link_of(version: Mapping[str, Any]) -> str:
    links = cast("list[dict[str, Any]]", version.get("links", []))
    return next((str(link["href"]) for link in links if "href" in link), "")


def _get(sessions: "Sessions", url: str, vim: str) -> "requests.Response":
    """One GET without a token and without looking at the status.

    Raises:
        VimFault: what is there cannot be talked to as registered (certificate, language).
        VimUnreachable: no answer.
    """
    from requests.exceptions import RequestException

    try:
        answer = sessions.session.session.get(
            url, headers={"Accept": "application/json"}, verify=sessions.access.verify, allow_redirects=False
        )
    except RequestException as error:
        trouble = trouble_of(error, url)
        raise _not_reached(
            vim, trouble or str(error), is_refusal=_is_page(error) or _is_refusal(trouble)
        ) from error
    if answer.status_code == 400 and url.startswith("http:") and "HTTPS port" in answer.text:
        raise _not_reached(vim, speaks_tls(url), is_refusal=True)
    return answer


def _is_refusal(trouble: Trouble | None) -> bool:
    return trouble is not None and trouble.is_refusal


def _is_page(error: BaseException) -> bool:
    from farsite.vims.drivers.openstack.faults import BrokenAnswer

    return isinstance(error, BrokenAnswer)


def _not_reached(vim: str, why: Trouble | str, *, is_refusal: bool) -> FarsiteError:
    kind = VimFault if is_refusal else VimUnreachable
    return kind(f'VIM "{vim}" cannot be reached: {why}')


def _json_of(answer: "requests.Response", vim: str, url: str) -> dict[str, Any]:
    if answer.status_code >= 500:
        raise VimUnreachable(
            f'The Keystone of VIM "{vim}" at {url} is out of order: it says {answer.status_code} '
            f"{answer.reason}. Try again when its operator has looked at it."
        )
    try:
        document: object = json.loads(answer.text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return cast("dict[str, Any]", document)
    if answer.status_code == 404:
        return {}
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", answer.text)
    page = f'an HTML page ("{" ".join(title[1].split())}")' if title else "something that is no JSON"
    raise VimFault(
        f'The auth URL of VIM "{vim}" does not lead to a Keystone: {url} answers {answer.status_code} with '
        f"{page}. Give Keystone's own URL, as `openstack catalog show keystone` prints it, "
        "not that of a dashboard."
    )


# -- who we are ---------------------------------------------------------------------------------------------


def _check_login(sessions: "Sessions", vim: str) -> None:
    from keystoneauth1 import exceptions as keystone

    try:
        token = sessions.token()
    except (keystone.Unauthorized, keystone.NotFound) as refusal:
        # 404 is for an application credential that does not exist.
        raise _why_not_let_in(sessions, vim) from refusal
    if not token.project_id:
        raise VimFault(
            f'VIM "{vim}" lets us in, but to no project. Register a project, '
            "or an application credential that belongs to one."
        )
    if sessions.is_restricted:
        raise VimFault(
            f'The application credential that VIM "{vim}" is registered with is restricted: Keystone lets it '
            "make no trusts, and Heat makes one with every stack. Make an unrestricted one (openstack "
            "application credential create --unrestricted) and register that."
        )


def _why_not_let_in(sessions: "Sessions", vim: str) -> VimFault:
    access = sessions.access
    if access.is_application_credential:
        given = (
            access.identity.get("application_credential_id") or access.identity["application_credential_name"]
        )
        return VimFault(
            f'The Keystone of VIM "{vim}" refuses the application credential "{given}": its id, name or '
            "secret is wrong, it has expired, or it was deleted. Make a new one "
            "(openstack application credential create) and register that."
        )
    user = _person(access.identity)
    as_nobody = {key: value for key, value in access.identity.items() if not key.startswith("project_")}
    if projects := _projects(access, as_nobody):
        return _no_such_project(access, projects.get("projects", []), vim=vim, user=user)
    for domain in _other_domains(access.identity):
        elsewhere = {key: value for key, value in as_nobody.items() if not key.startswith("user_domain_")}
        if _projects(access, elsewhere | domain):
            return VimFault(
                f'The Keystone of VIM "{vim}" refuses user {user}, but lets the same name and password in '
                f'from domain "{next(iter(domain.values()))}". Correct the user domain.'
            )
    return VimFault(
        f'The Keystone of VIM "{vim}" refuses user {user}: the password, the user name or the user domain is '
        "wrong, or the user is disabled (it does not say which). Try them with `openstack token issue`."
    )


def _person(identity: Mapping[str, str]) -> str:
    if "user_id" in identity:
        return f'with id "{identity["user_id"]}"'
    domain = identity.get("user_domain_name") or identity.get("user_domain_id", "")
    return f'"{identity["username"]}" of domain "{domain}"'


def _other_domains(identity: Mapping[str, str]) -> list[dict[str, str]]:
    """Where else the user may be: what was given as a name may be an id and the other way round, the
    project's domain, and the one that every Keystone has."""
    given_name, given_id = identity.get("user_domain_name", ""), identity.get("user_domain_id", "")
    names = {given_id, identity.get("project_domain_name", ""), "Default"} - {"", given_name}
    ids = {given_name, identity.get("project_domain_id", "")} - {"", given_id}
    if "user_id" in identity:
        return []
    return [
        *({"user_domain_name": one} for one in sorted(names)),
        *({"user_domain_id": one} for one in sorted(ids)),
    ]


def _projects(access: Access, identity: Mapping[str, str]) -> dict[str, Any]:
    """What Keystone lists as this person's projects; empty if it does not let them in."""
    from keystoneauth1 import exceptions as keystone

    from farsite.vims.drivers.openstack.session import make_plugin, make_session

    plugin = make_plugin(access, identity)
    session = make_session(access, plugin)
    try:
        answer = session.get(f"{access.auth_url}/auth/projects", headers={"Accept": "application/json"})
        return {"projects": [], **answer.json()}
    except (keystone.HTTPClientError, ValueError):
        return {}
    finally:
        session.session.close()


def _no_such_project(access: Access, projects: list[dict[str, Any]], *, vim: str, user: str) -> VimFault:
    wanted = access.identity.get("project_name") or access.identity["project_id"]
    domain = access.identity.get("project_domain_name") or access.identity.get("project_domain_id", "")
    place = f' of domain "{domain}"' if domain else ""
    said = f'The Keystone of VIM "{vim}" knows user {user}, but gives no access to project "{wanted}"{place}'
    if any(one["name"] == wanted for one in projects):
        other = next(one["domain_id"] for one in projects if one["name"] == wanted)
        return VimFault(
            f'{said}: that user\'s project of this name is in the domain with id "{other}". '
            "Correct the project domain."
        )
    mine = ", ".join(sorted(str(one["name"]) for one in projects)[:10])
    return VimFault(
        f"{said}: there is none, or the user has no role in it. "
        + (f"Projects of that user: {mine}." if mine else "Give the user a role in a project first.")
    )


# -- what is there ------------------------------------------------------------------------------------------


async def _check_endpoints(cloud: Cloud, region: str) -> None:
    found = await cloud.endpoints(region, *NEEDED)
    if not found["orchestration"]:
        here = ", ".join(kind for kind, url in found.items() if url) or "none of those needed"
        raise VimFault(
            f'VIM "{cloud.name}" offers no Heat (orchestration) to this project in region "{region}"; its '
            f"catalogue there has {here}. Ask its operator for an orchestration endpoint, "
            "or register another project or region."
        )
    missing = [kind for kind, url in found.items() if not url]
    if missing:
        raise VimFault(
            f'The catalogue of VIM "{cloud.name}" has no {" and no ".join(missing)} in region "{region}" for '
            "this project and interface. Ask its operator for the endpoints, or register another interface."
        )
    what = "answer at the endpoints of its catalogue"
    told = await asyncio.gather(
        *(cloud.run(lambda sessions, url=url: _ask(sessions, url), what=what) for url in found.values())
    )
    troubles = [f"{kind}: {told_of}" for kind, told_of in zip(found, told, strict=True) if told_of]
    if troubles:
        is_refusal = any(one is not None and one.is_refusal for one in told)
        raise (VimFault if is_refusal else VimUnreachable)(
            f'The Keystone of VIM "{cloud.name}" answers, but its catalogue names endpoints in region '
            f'"{region}" that do not. {" ".join(troubles)} If these addresses are not meant for '
            "Farsite, register another interface (public, internal)."
        )
    await _check_compute_version(cloud, region)


def _ask(sessions: "Sessions", url: str) -> Trouble | None:
    """What keeps an endpoint from answering; any answer below 500 will do, for none is asked for more."""
    from requests.exceptions import RequestException

    try:
        answer = sessions.session.session.get(url, verify=sessions.access.verify, allow_redirects=False)
    except RequestException as error:
        return trouble_of(error, url) or Trouble(
            fact=f"{url}: {error}", next_step="Look at the service.", is_refusal=_is_page(error)
        )
    if answer.status_code >= 500:
        return Trouble(
            fact=f"{url} says {answer.status_code} {answer.reason}",
            next_step="Look at the service.",
            is_refusal=False,
        )
    return None


async def _check_compute_version(cloud: Cloud, region: str) -> None:
    newest = await cloud.newest_microversion(region, "compute")
    if newest < _OLDEST_COMPUTE:
        wanted = ".".join(map(str, _OLDEST_COMPUTE))
        raise VimFault(
            f'Nova of VIM "{cloud.name}" in region "{region}" is too old: it offers no API {wanted}, which '
            "came with Kilo. Upgrade it, or register the v2.1 endpoint in its catalogue."
        )


async def _check_heat(cloud: Cloud, region: str) -> None:
    """Whether we may create stacks: only who may, may have a template validated."""
    from farsite.vims.drivers.openstack.session import post_json

    try:
        await cloud.call(
            region,
            lambda sdk: post_json(sdk.orchestration, "/validate", {"template": _EMPTY_TEMPLATE}),
            what="take templates",
        )
    except VimFault as refusal:
        if refusal.about.get("status") not in ("401", "403"):
            raise
        roles = ", ".join(await cloud.roles()) or "none"
        raise VimFault(
            f"{refusal.detail}. The registered user may not create stacks in this project (roles there: "
            f"{roles}). Give it the role member, or heat_stack_owner where Heat asks for that.",
            operator_detail=refusal.operator_detail,
            about=refusal.about,
        ) from refusal
