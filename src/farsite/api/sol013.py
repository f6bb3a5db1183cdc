"""What all of ETSI's interfaces share of subscriptions: how notifications are authorised.

Source: ETSI GS NFV-SOL 013 clause 8.3.4 (SubscriptionAuthentication).
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from farsite.model.subscription import AuthType

Credential = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00-\x1f\x7f]*$")]
Uri = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[\x21-\x7e]+$")]


class _Params(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class ParamsBasic(_Params):
    userName: Credential = ""
    password: Credential = ""


class ParamsOauth2ClientCredentials(_Params):
    clientId: Credential = ""
    clientPassword: Credential = ""
    tokenEndpoint: Credential = ""


class SubscriptionAuthentication(_Params):
    """Source: SOL013 clause 8.3.4."""

    authType: Annotated[list[AuthType], Field(min_length=1, max_length=3)]
    paramsBasic: ParamsBasic | None = None
    paramsOauth2ClientCredentials: ParamsOauth2ClientCredentials | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.paramsBasic is not None and AuthType.BASIC not in self.authType:
            raise ValueError("paramsBasic is given and authType does not name BASIC")
        if (
            self.paramsOauth2ClientCredentials is not None
            and AuthType.OAUTH2_CLIENT_CREDENTIALS not in self.authType
        ):
            raise ValueError(
                "paramsOauth2ClientCredentials is given and authType does not name OAUTH2_CLIENT_CREDENTIALS"
            )
        return self

    @property
    def credentials(self) -> dict[str, str]:
        """What is given, flat; not for anybody's eyes."""
        given: dict[str, str] = {}
        for params in (self.paramsBasic, self.paramsOauth2ClientCredentials):
            given |= {} if params is None else params.model_dump()
        return {name: value for name, value in given.items() if value}
