# ruff: noqa: S106 - the secrets in the examples are nobody's
"""Bodies of what people do with their accounts and their organizations."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
)

from api.access.passwords import NewPassword, Password
from api.access.roles import Role, Scope
from api.bodies.orders import Order, OrganizationName, printable
from api.parameters import Duration

EMAIL = r"^[!-?A-~]+@[!-?A-~]+$"
CODE = "K3JX-7QWD-M2VB-Z5TA"
SHORTEST = timedelta(minutes=1)
LONGEST_INVITATION, LONGEST_KEY = timedelta(days=90), timedelta(days=3660)


def within(longest: timedelta) -> AfterValidator:
    def check(given: timedelta) -> timedelta:
        if not SHORTEST <= given <= longest:
            raise ValueError(f"must be 1m to {longest.days}d")
        return given

    return AfterValidator(check)


def _lower(given: Any) -> Any:
    return given.strip().lower() if isinstance(given, str) else given


Email = Annotated[str, StringConstraints(pattern=EMAIL, min_length=3, max_length=254), BeforeValidator(_lower)]
PersonName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(printable)
]
Token = Annotated[SecretStr, Field(max_length=200)]
RoleName = Annotated[Role, WithJsonSchema({"type": "string", "enum": [role.value for role in Role]})]
ScopeName = Annotated[Scope, WithJsonSchema({"type": "string", "enum": [scope.value for scope in Scope]})]


def _config(**example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra={"example": example})


class Registration(BaseModel):
    model_config = _config(email="eva@example.org", name="Eva", password="correct horse battery")

    email: Email = Field(description="what they log in with; ASCII, in whatever case")
    name: PersonName
    password: NewPassword
    code: Token | None = Field(None, description="of an invitation, which is used up: they are a member at once")


class LogIn(BaseModel):
    model_config = _config(email="eva@example.org", password="correct horse battery", kind="program")

    email: Email
    password: Password
    kind: Literal["program", "browser"] = Field(
        "program", description="program: the answer has tokens; browser: it has a cookie"
    )


class Refresh(BaseModel):
    model_config = _config(refresh_token="bgr_tQ0x….9aXk…")

    refresh_token: Token


class LogOut(BaseModel):
    model_config = _config(all=False)

    all: bool = Field(False, description="true: everywhere; else only here")


class PasswordChange(BaseModel):
    model_config = _config(old="correct horse battery", new="another horse battery")

    old: Password
    new: NewPassword


class NewOrganization(BaseModel):
    model_config = _config(organization="north", title="Plant North")

    organization: OrganizationName = Field(description="its name, for addresses and settings; it stays")
    title: PersonName = Field(description="what people call it")


class Joining(BaseModel):
    model_config = _config(code=CODE)

    code: Token


class OrganizationChange(Order):
    model_config = _config(title="Plant North", why="renamed")

    title: PersonName


class MemberChange(Order):
    model_config = _config(role="engineer", why="trained")

    role: RoleName


class NewInvitation(BaseModel):
    model_config = _config(role="operator", uses=1, expires_in="7d")

    role: RoleName = Field(description="of who joins with it")
    uses: int = Field(1, ge=1, le=1000, description="how many can join with it")
    expires_in: Annotated[Duration, within(LONGEST_INVITATION)] = Field(timedelta(days=7), description="1m to 90d")


class NewKey(BaseModel):
    model_config = _config(name="dashboard", role="viewer", scopes=["telemetry:read"], expires_in="90d")

    name: PersonName = Field(description="what it is for")
    role: RoleName
    scopes: list[ScopeName] = Field(min_length=1, max_length=100, description="what it can be used for")
    expires_in: Annotated[Duration, within(LONGEST_KEY)] | None = Field(
        None, description="1m to 3660d; without it, it does not expire"
    )
