"""Organizations, their members, invitations and keys: what is taken and what is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from api.access.roles import Role, Scope
from api.http.bodies import Email, Order, OrganizationName, PersonName, Token, body_config
from api.http.description import Answer, T, about, example
from api.http.parameters import Duration, printable
from api.shapes.annotations import prose

CODE = "K3JX-7QWD-M2VB-Z5TA"
RoleName = Literal["viewer", "control-room", "operator", "engineer", "admin"]


class Membership(Answer):
    organization: str
    title: str
    role: RoleName
    since: Annotated[str | None, about("null: the caller is a key")]


class Organizations(Answer):
    organizations: list[Membership]


class Organization(Answer):
    organization: str
    title: str
    description: str
    contact: Annotated[str, about("whom to ask about the organization")]
    runs_automatic: Annotated[bool, about("whether events `run` of devices start and end runs")]
    created_at: str
    role: Annotated[RoleName, about("role of the caller")]


class Member(Answer):
    user_id: int
    email: str
    name: str
    role: RoleName
    since: str


class Invitation(Answer):
    invitation_id: int
    role: RoleName
    uses: Annotated[int, about("uses that are left; 0: used up or withdrawn")]
    email: Annotated[str | None, about("the person that alone can use it; null: whoever has the code")]
    invited_by: str
    created_at: str
    expires_at: str


class MadeInvitation(Invitation):
    code: Annotated[str, about("code for those who are invited; only this answer shows it")]


class Key(Answer):
    key_id: str
    name: str
    role: RoleName
    scopes: list[str]
    created_by: str
    created_at: str
    expires_at: str | None
    ended_at: Annotated[str | None, about("when somebody ended it; null: nobody did")]


class MadeKey(Key):
    key: Annotated[str, about("key for Authorization: Bearer; only this answer shows it")]


MEMBERSHIP = {"organization": "north", "title": "Plant North", "role": "engineer", "since": T}
ORGANIZATION = example(
    Organization,
    """{"organization": "north", "title": "Plant North", "description": "Halls 1 to 3", "contact": "eva@example.org",
 "runs_automatic": false, "created_at": "2026-11-20T07:45:00.000000Z", "role": "engineer"}""",
)
MEMBER = {"user_id": 12, "email": "eva@example.org", "name": "Eva", "role": Role.ENGINEER.value, "since": T}
INVITATION = example(
    Invitation,
    """{"invitation_id": 3, "role": "operator", "uses": 1, "email": null, "invited_by": "eva@example.org",
 "created_at": "2026-11-20T07:45:00.000000Z", "expires_at": "2026-11-20T07:45:00.000000Z"}""",
)
MADE_INVITATION = INVITATION | {"code": CODE}
KEY = example(
    Key,
    """{"key_id": "k3jx7qwdm2vb", "name": "dashboard", "role": "viewer", "scopes": ["telemetry:read"],
 "created_by": "eva@example.org", "created_at": "2026-11-20T07:45:00.000000Z",
 "expires_at": "2026-11-20T07:45:00.000000Z", "ended_at": null}""",
)
MADE_KEY = KEY | {"key": "bgk_k3jx7qwdm2vb_9aXk…"}
SHORTEST = timedelta(minutes=1)
LONGEST_INVITATION, LONGEST_KEY = timedelta(days=90), timedelta(days=3660)


def within(longest: timedelta) -> AfterValidator:
    def check(given: timedelta) -> timedelta:
        if not SHORTEST <= given <= longest:
            raise ValueError(f"must be 1m to {longest.days}d")
        return given

    return AfterValidator(check)


GivenRole = Annotated[Role, WithJsonSchema({"type": "string", "enum": [role.value for role in Role]})]
GivenScope = Annotated[Scope, WithJsonSchema({"type": "string", "enum": [scope.value for scope in Scope]})]


Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(prose)]
Contact = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(printable),
    Field(description="whom to ask about the organization"),
]


class NewOrganization(BaseModel):
    model_config = body_config(organization="north", title="Plant North")

    organization: OrganizationName = Field(description="name for addresses and settings; it cannot be changed")
    title: PersonName = Field(description="what people call it")
    description: Description = ""
    contact: Contact = ""


class Joining(BaseModel):
    model_config = body_config(code=CODE)

    code: Token


class OrganizationChange(Order):
    model_config = body_config(title="Plant North", why="renamed")

    title: PersonName | None = None
    description: Description | None = None
    contact: Contact | None = None
    runs_automatic: StrictBool | None = Field(None, description="whether events `run` of devices start and end runs")

    @property
    def describes(self) -> bool:
        return not (self.title is None and self.description is None and self.contact is None)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.describes and self.runs_automatic is None:
            raise ValueError("say title, description, contact or runs_automatic")
        return self


class MemberChange(Order):
    model_config = body_config(role="engineer", why="trained")

    role: GivenRole


class NewInvitation(BaseModel):
    model_config = body_config(role="operator", uses=1, expires_in="7d")

    role: GivenRole = Field(description="role of those who join with it")
    uses: int = Field(1, ge=1, le=1000, description="number of people who can join with it")
    expires_in: Annotated[Duration, within(LONGEST_INVITATION)] = Field(timedelta(days=7), description="1m to 90d")
    email: Email | None = Field(
        None,
        description="the address of the person that alone can use it, once; an invitation of the organization that "
        "runs the installation vouches for the address, and the audit trail does not mark the person as unverified",
    )

    @model_validator(mode="after")
    def _is_for_one(self) -> Self:
        if self.email is not None and self.uses != 1:
            raise PydanticCustomError("uses", "must be 1 with an address", {"parameter": "uses"})
        return self


class NewKey(BaseModel):
    model_config = body_config(name="dashboard", role="viewer", scopes=["telemetry:read"], expires_in="90d")

    name: PersonName = Field(description="what the key is for")
    role: GivenRole
    scopes: list[GivenScope] = Field(min_length=1, max_length=100, description="what the key may be used for")
    expires_in: Annotated[Duration, within(LONGEST_KEY)] | None = Field(
        None, description="1m to 3660d; without it, it does not expire"
    )
