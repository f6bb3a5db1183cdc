"""What subscriptions of all of SOL003's interfaces share: filters by VNF instance, and how they are shown.

Source: ETSI GS NFV-SOL 003 clauses 4.4.1.5 (VnfInstanceSubscriptionFilter), 5.4.19 and 7.4.4 (subscriptions).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Self, cast

from fastapi import Request, Response
from pydantic import BaseModel, Field, model_validator

from farsite.api.context import Context
from farsite.api.filters import link_next, page_in_memory
from farsite.api.sol003.connectivity import Body, Etsi, Identifier
from farsite.api.sol003.interfaces import Spoken
from farsite.api.sol013 import SubscriptionAuthentication, Uri
from farsite.api.subscribing import Wish, subscribe, unsubscribe
from farsite.model.access import Caller
from farsite.model.query import Ask
from farsite.model.subscription import Interface, Subscription, Verbosity
from farsite.model.vnf import VnfIdentity
from farsite.store import subscriptions

Few = Field(min_length=1, max_length=1000)


class VersionFilter(Etsi):
    vnfSoftwareVersion: Identifier
    vnfdVersions: Annotated[list[Identifier], Few] | None = None


class ProductFilter(Etsi):
    vnfProductName: Identifier
    versions: Annotated[list[VersionFilter], Few] | None = None


class ProviderFilter(Etsi):
    vnfProvider: Identifier
    vnfProducts: Annotated[list[ProductFilter], Few] | None = None


class VnfInstanceSubscriptionFilter(Etsi):
    """All attributes must match, of each one value. ETSI's file wants one of each pair of alternatives at
    least, by a name that it does not have (`vnfdId`); the text demands only that no pair be used together."""

    vnfdIds: Annotated[list[Identifier], Few] | None = None
    vnfProductsFromProviders: Annotated[list[ProviderFilter], Few] | None = None
    vnfInstanceIds: Annotated[list[Identifier], Few] | None = None
    vnfInstanceNames: Annotated[list[Identifier], Few] | None = None

    @model_validator(mode="after")
    def _takes_one_of_each(self) -> Self:
        if self.vnfdIds is not None and self.vnfProductsFromProviders is not None:
            raise ValueError("vnfdIds and vnfProductsFromProviders exclude each other")
        if self.vnfInstanceIds is not None and self.vnfInstanceNames is not None:
            raise ValueError("vnfInstanceIds and vnfInstanceNames exclude each other")
        return self

    @property
    def looks_at_records(self) -> bool:
        """Whether it asks for more of a VNF instance than its id."""
        return any(
            one is not None for one in (self.vnfdIds, self.vnfProductsFromProviders, self.vnfInstanceNames)
        )

    def may_match(self, vnf_id: str) -> bool:
        return self.vnfInstanceIds is None or vnf_id in self.vnfInstanceIds

    def matches(self, vnf_id: str, vnf: VnfIdentity | None) -> bool:
        """Whether an instance is meant; `vnf` is what it is known by, None when nothing is known."""
        if not self.may_match(vnf_id):
            return False
        if not self.looks_at_records:
            return True
        if vnf is None:
            return False
        return (
            (self.vnfdIds is None or vnf.vnfd_id in self.vnfdIds)
            and (self.vnfInstanceNames is None or vnf.name in self.vnfInstanceNames)
            and (
                self.vnfProductsFromProviders is None
                or any(_is_of(one, vnf) for one in self.vnfProductsFromProviders)
            )
        )


def _is_of(provider: ProviderFilter, vnf: VnfIdentity) -> bool:
    if provider.vnfProvider != vnf.provider:
        return False
    return provider.vnfProducts is None or any(
        product.vnfProductName == vnf.product_name
        and (
            product.versions is None
            or any(
                version.vnfSoftwareVersion == vnf.software_version
                and (version.vnfdVersions is None or vnf.vnfd_version in version.vnfdVersions)
                for version in product.versions
            )
        )
        for product in provider.vnfProducts
    )


class Subscriptions:
    """The resource /subscriptions of one of ETSI's interfaces."""

    def __init__(
        self, interface: Interface, filter_attributes: Sequence[str], *, has_verbosity: bool
    ) -> None:
        self._interface = interface
        self._has_verbosity = has_verbosity
        self._attributes: Mapping[str, Callable[[Subscription], object]] = {
            "id": lambda one: one.id,
            "callbackUri": lambda one: one.callback_uri,
            **({"verbosity": lambda one: one.verbosity} if has_verbosity else {}),
            **{f"filter/{path}": _picker(path.split("/")) for path in filter_attributes},
        }

    async def create(
        self,
        spoken: Spoken,
        context: Context,
        caller: Caller,
        response: Response,
        *,
        callback_uri: Uri,
        filter_: BaseModel | None,
        authentication: SubscriptionAuthentication | None,
        verbosity: Verbosity = Verbosity.FULL,
    ) -> Body:
        made = await subscribe(
            context,
            caller,
            Wish(
                interface=self._interface,
                callback_uri=callback_uri,
                filter={} if filter_ is None else filter_.model_dump(mode="json", exclude_none=True),
                authentication=authentication,
                verbosity=verbosity,
                major=spoken.major,
                version=spoken.version,
                root=spoken.root,
            ),
        )
        shown = self.shown(made, spoken)
        response.headers.update({"Location": f"{spoken.root}/subscriptions/{made.id}", **spoken.headers})
        return shown

    def list_(
        self,
        ask: Ask,
        spoken: Spoken,
        context: Context,
        caller: Caller,
        request: Request,
        response: Response,
    ) -> list[Body]:
        everything = Ask(limit=_MOST)
        with context.database.transaction() as connection:
            kept = subscriptions.page(
                connection,
                caller.project_id,
                everything,
                interface=self._interface,
                major=spoken.major,
            ).items
        page = page_in_memory(kept, ask, self._attributes, lambda one: one.id)
        link_next(request, response, page)
        return [self.shown(one, spoken) for one in page.items]

    def get(self, subscription_id: str, spoken: Spoken, context: Context, caller: Caller) -> Body:
        with context.database.transaction() as connection:
            found = subscriptions.get(
                connection, caller.project_id, subscription_id, interface=self._interface
            )
        return self.shown(found, spoken)

    def delete(self, subscription_id: str, context: Context, caller: Caller) -> None:
        unsubscribe(context, caller, subscription_id, interface=self._interface)

    def shown(self, subscription: Subscription, spoken: Spoken) -> Body:
        body: Body = {"id": subscription.id, "callbackUri": subscription.callback_uri}
        if subscription.filter:
            body["filter"] = dict(subscription.filter)
        if self._has_verbosity and spoken.major > 1:
            body["verbosity"] = subscription.verbosity.value
        body["_links"] = {"self": {"href": f"{spoken.root}/subscriptions/{subscription.id}"}}
        return body


_MOST = 100_000


def _picker(path: Sequence[str]) -> Callable[[Subscription], object]:
    def pick(subscription: Subscription) -> object:
        found: Mapping[str, object] = subscription.filter
        for name in path[:-1]:
            found = cast("Mapping[str, object]", found.get(name) or {})
        values = found.get(path[-1])
        return tuple(cast("list[object]", values)) if isinstance(values, list) else ()

    return pick


VNF_FILTER_PATHS = tuple(
    f"vnfInstanceSubscriptionFilter/{name}" for name in ("vnfdIds", "vnfInstanceIds", "vnfInstanceNames")
)
