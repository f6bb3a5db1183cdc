"""What it takes to register, change and forget a VIM, for both APIs and for the VIM of the start (VIM0).

The driver checks credentials and reachability before anything is kept, in a change too: what worked is not
replaced by what does not. Secrets go encrypted into a table of their own; the rest of the credentials (user,
project, domains) is kept with the VIM so that people see as whom it is asked.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from farsite.api.context import Context
from farsite.api.problem import Unusable
from farsite.model.audit_rules import DECLARED_AS, AuditRules
from farsite.model.errors import Conflict, NotFound, VimUnreachable
from farsite.model.ids import ProjectId, VimId, new_id
from farsite.model.priority import LOWEST
from farsite.model.provider_network import ProviderNetwork
from farsite.model.vim import RESERVE_PERCENT, RESERVE_PRIORITY, Site, Vim, VimState
from farsite.store import vims
from farsite.store.database import Connection
from farsite.vims.driver import KnowsItsAccount, TellsProviderNetworks, VimDriver, connection_to
from farsite.vims.registry import load_driver

SECRET = frozenset(
    {"password", "application_credential_secret", "bearer_token", "client_secret", "token"}
    | {"message_bus_password"}
)
"""Credentials that are never shown."""

_PASSWORD_WAY = frozenset(
    {"username", "password", "user_id", "user_domain_name", "user_domain_id", "project_name", "project_id"}
    | {"project_domain_name", "project_domain_id"}
)
_APPLICATION_WAY = frozenset(
    {"application_credential_id", "application_credential_name", "application_credential_secret"}
)
_MESSAGE_BUS_WAY = frozenset({"message_bus_username", "message_bus_password"})
CREDENTIALS = _PASSWORD_WAY | _APPLICATION_WAY | {"ca_cert", "cert_verify"} | _MESSAGE_BUS_WAY
"""What a VIM of type `openstack` may be given; another driver decides for itself."""

MASK = "***"
_VALIDATE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a registration; in a change, None stays as it was."""

    name: str | None = None
    type: str | None = None
    site: str | None = None
    description: str | None = None
    auth_url: str | None = None
    settings: Mapping[str, object] | None = None
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    is_over_known: bool = False
    """Credentials are laid over those that are known, instead of replacing them."""
    extra: Mapping[str, object] | None = None
    is_default: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `extra` says of the site, region and credentials, and the rest of it."""

    site: str = ""
    latitude: float | None = None
    longitude: float | None = None
    risk_groups: tuple[str, ...] | None = None
    jurisdiction: str | None = None
    region: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    rest: Mapping[str, object] = field(default_factory=dict[str, object])


def facts_of(extra: Mapping[str, object]) -> Facts:
    """Read `extra`, the only part of a registration that a standard client passes on as it is.

    `coordinates` are degrees north and east, as `[latitude, longitude]`, a mapping of the two, or a text with
    a comma. Credentials that a standard client has no place for (application credentials, `ca_cert`) are
    taken from here as well, and are not shown.

    Raises:
        Unusable: one of the known words has a value that cannot be understood.
    """
    rest = {key: value for key, value in extra.items() if key not in _FACTS and key not in CREDENTIALS}
    secrets = sorted(SECRET & set(rest))
    if secrets:
        raise Unusable(
            f"extra: {', '.join(secrets)} would be shown to everybody. Give it in the credentials."
        )
    if not isinstance(extra.get("l2_domain", ""), str):
        raise Unusable("extra/l2_domain: the name of a layer-2 domain was expected.")
    _whole_number(extra, RESERVE_PERCENT, 0, 100)
    _whole_number(extra, RESERVE_PRIORITY, 0, LOWEST)
    rules = extra.get(DECLARED_AS, "")
    if rules not in ("", *AuditRules):
        raise Unusable(f"extra/{DECLARED_AS}: {', '.join(AuditRules)} or nothing was expected.")
    latitude, longitude = _coordinates(extra)
    groups = extra.get("risk_groups")
    if isinstance(groups, str):
        groups = [one.strip() for one in groups.split(",")]
    if groups is not None and not isinstance(groups, list | tuple):
        raise Unusable("extra/risk_groups: a list of names was expected.")
    return Facts(
        site=_text(extra, "site") or _text(extra, "site_name"),
        latitude=latitude,
        longitude=longitude,
        risk_groups=None if groups is None else tuple(str(one) for one in cast("Sequence[object]", groups)),
        jurisdiction=_text(extra, "jurisdiction") if "jurisdiction" in extra else None,
        region=_text(extra, "region"),
        credentials={key: str(extra[key]) for key in extra if key in CREDENTIALS and extra[key] is not None},
        rest=rest,
    )


_FACTS = frozenset(
    {"site", "site_name", "coordinates", "latitude", "longitude", "risk_groups", "jurisdiction", "region"}
)


def _text(extra: Mapping[str, object], key: str) -> str:
    value = extra.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200 or "/" in value or not value.isprintable():
        raise Unusable(f"extra/{key}: a name of up to 200 printable characters without / was expected.")
    return value.strip()


def _whole_number(extra: Mapping[str, object], key: str, least: int, most: int) -> None:
    value = extra.get(key)
    is_one = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_one and least <= cast(int, value) <= most):
        raise Unusable(f"extra/{key}: a whole number from {least} to {most} was expected, not {value!r}.")


def _coordinates(extra: Mapping[str, object]) -> tuple[float | None, float | None]:
    given = extra.get("coordinates")
    if isinstance(given, Mapping):
        given = [cast("Mapping[str, object]", given).get(key) for key in ("latitude", "longitude")]
    elif isinstance(given, str):
        given = given.split(",")
    elif given is None:
        if extra.get("latitude") is None and extra.get("longitude") is None:
            return None, None
        given = [extra.get("latitude"), extra.get("longitude")]
    try:
        latitude, longitude = (float(str(one)) for one in cast("Sequence[object]", given))
    except (TypeError, ValueError) as error:
        raise Unusable("extra/coordinates: [latitude, longitude] in degrees was expected.") from error
    if not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
        raise Unusable("extra/coordinates: latitude is within 90 and longitude within 180 degrees.")
    return latitude, longitude


def extra_shown(vim: Vim, site: Site | None) -> dict[str, object]:
    """`extra` as it stands now: what is known of the site and region, laid over what nobody interprets."""
    shown = {**vim.extra, "site": vim.site}
    if site is not None:
        if site.latitude is not None and site.longitude is not None:
            shown["coordinates"] = [site.latitude, site.longitude]
        if site.risk_groups:
            shown["risk_groups"] = list(site.risk_groups)
        if site.jurisdiction:
            shown["jurisdiction"] = site.jurisdiction
    if len(vim.regions_asked) == 1:
        shown["region"] = next(iter(vim.regions_asked))
    return shown


# -- the four things one can do ---------------------------------------------------------------------------


async def register(context: Context, project_id: ProjectId, wish: Wish, *, is_checked: bool = True) -> Vim:
    """Register a VIM; nothing is kept if its driver refuses.

    With `is_checked` false it is kept unseen, PENDING, and the heartbeat tells what is wrong with it.

    Raises:
        Unusable: a value that cannot be used, named.
        Conflict: the name is taken, there is a default already, or this project is registered already.
        NotSupported: no driver of that type.
        VimFault: the VIM refuses us.
        VimUnreachable: it does not answer.
    """
    now = context.clock.now()
    facts = facts_of(wish.extra or {})
    name, vim_type = wish.name or "", wish.type or "openstack"
    credentials = _usable(vim_type, {**(wish.credentials or {}), **facts.credentials})
    vim = Vim(
        id=VimId(new_id()),
        name=name,
        type=vim_type,
        site=wish.site or facts.site or name,
        project_id=project_id,
        description=wish.description or "",
        auth_url=_usable_url(vim_type, wish.auth_url or ""),
        settings=_with_region(wish.settings or {}, facts.region),
        identity=_public(credentials),
        extra=facts.rest,
        is_default=bool(wish.is_default),
        state_since=now,
        created_at=now,
    )
    # Told now what would be refused in the end: a VIM far away is not asked for nothing.
    await asyncio.to_thread(_refuse_what_stands, context, vim)
    driver: VimDriver | None = None
    if is_checked:
        vim, driver = await _checked(context, vim, credentials)
    await _kept(context, vim, driver, asyncio.to_thread(_insert, context, vim, credentials, facts))
    await context.watch_vim(vim.id)
    return vim


async def _kept(context: Context, vim: Vim, driver: VimDriver | None, writing: Awaitable[None]) -> None:
    """Write a registration down, and have the driver that has checked it go on with it."""
    try:
        await writing
    except BaseException:
        if driver is not None:
            await driver.close()
        raise
    if driver is not None:
        await context.drivers.offer(vim.id, driver)


async def change(context: Context, before: Vim, wish: Wish) -> Vim:
    """Change a registration; what concerns the connection is checked by the driver first.

    Raises:
        as `register`.
    """
    facts = facts_of(wish.extra or {})
    credentials: Mapping[str, str] | None = None
    if wish.credentials is not None or facts.credentials:
        given = {**(wish.credentials or {}), **facts.credentials}
        if wish.is_over_known or wish.credentials is None:
            given = laid_over(await asyncio.to_thread(known_credentials, context, before), given)
        credentials = _usable(before.type, given)
    settings = before.settings if wish.settings is None else wish.settings
    auth_url = before.auth_url if wish.auth_url is None else wish.auth_url
    after = replace(
        before,
        name=wish.name or before.name,
        site=wish.site or facts.site or before.site,
        description=before.description if wish.description is None else wish.description,
        auth_url=_usable_url(before.type, auth_url),
        settings=_with_region(settings, facts.region),
        identity=before.identity if credentials is None else _public(credentials),
        extra=before.extra if wish.extra is None else facts.rest,
        is_default=before.is_default if wish.is_default is None else wish.is_default,
        updated_at=context.clock.now(),
    )
    await asyncio.to_thread(_refuse_what_stands, context, after)
    driver: VimDriver | None = None
    is_connection = after.settings != before.settings or auth_url != before.auth_url
    if is_connection or after.l2_domain != before.l2_domain or credentials is not None:
        known = credentials
        if known is None:
            known = await asyncio.to_thread(known_credentials, context, before)
        after, driver = await _checked(context, replace(after, identity=_public(known)), known)
    await _kept(context, after, driver, asyncio.to_thread(_update, context, after, credentials, facts))
    await context.watch_vim(after.id)
    return after


async def forget(context: Context, vim: Vim) -> None:
    """Forget a VIM on which nothing stands, and its key.

    Raises:
        Conflict: VNF instances stand on it.
    """
    await asyncio.to_thread(_delete, context, vim)
    await context.unwatch_vim(vim.id)
    context.keys.forget(vim.id)


def rotate_key(context: Context, vim: Vim) -> None:
    """Encrypt a VIM's credentials with a new key; a VIM without credentials has nothing to encrypt.

    The old key stays beside the new one until what the new one encrypts is written down, so that whoever dies
    in between, and wherever, leaves credentials that can be read. Repeating it finishes what was left.
    """
    with context.database.transaction() as connection:
        secret = vims.hold_secret(connection, vim.id)
        if secret is None:
            return
        credentials = context.keys.decrypt(vim.id, secret)
        context.keys.add_key(vim.id)
        vims.set_secret(connection, vim, context.keys.encrypt(vim.id, credentials))
    with context.database.transaction() as connection:
        secret = vims.hold_secret(connection, vim.id)
        if secret is not None:
            context.keys.drop_old_keys(vim.id, secret)


async def set_maintenance(context: Context, vim: Vim, reason: str | None) -> None:
    """Take a VIM out of service for a reason, or back into it (None); back, it is checked at once."""
    if reason is not None:
        state, words = VimState.MAINTENANCE, reason or "taken out of service by an operator"
    elif vim.state is VimState.MAINTENANCE:
        state, words = VimState.PENDING, "back from maintenance, not yet checked"
    else:
        return
    await asyncio.to_thread(_set_state, context, vim.id, state, words)
    if reason is None:
        await context.watch_vim(vim.id)


def laid_over(known: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Credentials with some of them changed; changing to an application credential drops the password, and
    the other way round, so that it is plain which of the two is used."""
    dropped = frozenset[str]()
    if _APPLICATION_WAY & set(given):
        dropped = _PASSWORD_WAY
    elif {"username", "user_id", "password"} & set(given):
        dropped = _APPLICATION_WAY
    kept = {key: value for key, value in known.items() if key not in dropped}
    # A name that is changed makes the id that stood for the old one wrong, and the other way round.
    for one, other in (("username", "user_id"), ("project_name", "project_id")):
        for new, old in ((one, other), (other, one)):
            if new in given and old not in given:
                kept.pop(old, None)
    return {**kept, **given}


# -- what is checked ---------------------------------------------------------------------------------------


def _usable(vim_type: str, credentials: Mapping[str, str]) -> dict[str, str]:
    given = {key: value for key, value in credentials.items() if value != ""}
    unknown = sorted(set(given) - CREDENTIALS)
    if vim_type == "openstack" and unknown:
        raise Unusable(
            f"credentials: {', '.join(unknown)} is not known. Known: {', '.join(sorted(CREDENTIALS))}."
        )
    verify = given.get("cert_verify")
    if vim_type == "openstack" and verify is not None and verify.lower() not in ("true", "false"):
        raise Unusable(f'credentials/cert_verify: "{verify}" is neither True nor False.')
    return given


def _usable_url(vim_type: str, auth_url: str) -> str:
    if vim_type != "openstack":
        return auth_url
    url = auth_url.strip().rstrip("/")
    if not url.startswith(("http://", "https://")) or len(url.split("://", 1)[1]) == 0:
        raise Unusable(
            f'auth_url: "{url}" is not the address of a Keystone, e.g. https://keystone.example:5000/v3.'
        )
    if "@" in url.split("://", 1)[1].split("/", 1)[0]:
        raise Unusable(
            "auth_url: an address with a password in it would be shown; give it in the credentials."
        )
    return url


def _with_region(settings: Mapping[str, object], region: str) -> dict[str, object]:
    secrets = sorted(SECRET & set(settings))
    if secrets:
        raise Unusable(f"settings: {', '.join(secrets)} would be shown. Give it in the credentials.")
    return {**settings, **({"region": region} if region else {})}


def _public(credentials: Mapping[str, str]) -> dict[str, str]:
    """Who we are: credentials without secrets, and without the certificate, which is long."""
    return {
        key: value for key, value in credentials.items() if key in CREDENTIALS - SECRET and key != "ca_cert"
    }


def _refuse_what_stands(context: Context, vim: Vim) -> None:
    with context.database.transaction() as connection:
        try:
            other = vims.get(connection, vim.project_id, vim.name)
        except NotFound:
            other = vim
        if other.id != vim.id:
            raise Conflict(
                f'A VIM named "{vim.name}" is registered already. Choose another name, or change that one '
                f"(farsite vim update {vim.name}).",
                about={"vim": other.id},
            )
        vims.refuse_second_default(connection, vim)
        vims.refuse_registered_twice(connection, vim)


async def _checked(context: Context, vim: Vim, credentials: Mapping[str, str]) -> tuple[Vim, VimDriver]:
    """Have a driver of its own check the registration.

    The answer is the VIM with what it says of us and, where that matters, of its networks; and the driver.
    """
    driver = await load_driver(vim.type, connection_to(vim, credentials, context.settings.run_dir))
    try:
        async with asyncio.timeout(_VALIDATE_TIMEOUT_S):
            await driver.validate()
            await _check_regions(vim, driver)
            account = dict(await driver.account()) if isinstance(driver, KnowsItsAccount) else {}
            networks: tuple[ProviderNetwork, ...] = ()
            if vim.l2_domain and isinstance(driver, TellsProviderNetworks):
                networks = tuple(await driver.provider_networks())
            known = replace(vim, identity={**vim.identity, **account}, provider_networks=networks)
            return known, driver
    except BaseException as refusal:
        await driver.close()
        if not isinstance(refusal, TimeoutError):
            raise
        raise VimUnreachable(
            f'VIM "{vim.name}" did not answer within {_VALIDATE_TIMEOUT_S:.0f} s.'
        ) from refusal


async def _check_regions(vim: Vim, driver: VimDriver) -> None:
    if not vim.regions_asked:
        return
    has = {zone.region for zone in await driver.zones()}
    missing = sorted(vim.regions_asked - has)
    if missing and has:
        raise Unusable(
            f'VIM "{vim.name}" has no region "{", ".join(missing)}". It has: {", ".join(sorted(has))}.'
        )


# -- what is written ---------------------------------------------------------------------------------------


def _insert(context: Context, vim: Vim, credentials: Mapping[str, str], facts: Facts) -> None:
    try:
        # Before the transaction: the new key is on the disk when this returns, and others wait for our turn.
        secret = context.keys.encrypt(vim.id, credentials) if credentials else None
        with context.database.transaction() as connection:
            _put_site(context, connection, vim, facts)
            vims.insert(connection, vim, secret)
    except BaseException:
        context.keys.forget(vim.id)
        raise


def _update(context: Context, vim: Vim, credentials: Mapping[str, str] | None, facts: Facts) -> None:
    with context.database.transaction() as connection:
        _put_site(context, connection, vim, facts)
        vims.update(connection, vim)
        if credentials is not None:
            vims.set_secret(connection, vim, context.keys.encrypt(vim.id, credentials))


def _put_site(context: Context, connection: Connection, vim: Vim, facts: Facts) -> None:
    site = vims.ensure_site(connection, vim.project_id, vim.site, context.clock.now())
    after = replace(
        site,
        latitude=site.latitude if facts.latitude is None else facts.latitude,
        longitude=site.longitude if facts.longitude is None else facts.longitude,
        risk_groups=site.risk_groups if facts.risk_groups is None else facts.risk_groups,
        jurisdiction=site.jurisdiction if facts.jurisdiction is None else facts.jurisdiction,
    )
    if after != site:
        vims.put_site(connection, after)


def known_credentials(context: Context, vim: Vim) -> dict[str, str]:
    """The credentials of a VIM in clear: to compare them and for its driver, never to be shown."""
    with context.database.transaction() as connection:
        secret = vims.secret_of(connection, vim.id)
    return {} if secret is None else context.keys.decrypt(vim.id, secret)


def _delete(context: Context, vim: Vim) -> None:
    with context.database.transaction() as connection:
        vims.delete(connection, vim)


def _set_state(context: Context, vim_id: VimId, state: VimState, reason: str) -> None:
    with context.database.transaction() as connection:
        vims.set_state(connection, vim_id, state, reason, context.clock.now())
