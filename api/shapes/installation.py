"""The accounts of the installation: what is taken and what is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StrictBool, model_validator

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Duration
from api.shapes.organizations import CODE, RoleName, within

LONGEST_LINK = timedelta(days=7)


class RoleIn(Answer):
    organization: str
    role: RoleName


class InstallationAccount(Answer):
    user_id: int
    email: str
    name: str
    disabled: Annotated[bool, about("true: the person cannot log in, and has no session")]
    verified: Annotated[
        bool, about("true: an admin vouches for the address; false: the audit trail marks the person as unverified")
    ]
    created_at: str
    last_login_at: Annotated[str | None, about("null: not since the version that notes it")]
    organizations: list[RoleIn]


class PasswordLink(Answer):
    link: Annotated[str, about("page that asks for a new password; only this answer shows it")]
    code: Annotated[str, about("what the link ends with, for POST /api/v1/auth/reset")]
    expires_at: str


ACCOUNT = example(
    InstallationAccount,
    """{"user_id": 12, "email": "eva@example.org", "name": "Eva", "disabled": false, "verified": true,
 "created_at": "2026-11-20T07:45:00.000000Z", "last_login_at": "2026-11-20T07:45:00.000000Z",
 "organizations": [{"organization": "north", "role": "engineer"}]}""",
)
LINK = {
    "link": f"https://plant.example/reset#{CODE}",
    "code": CODE,
    "expires_at": "2026-11-20T07:45:00.000000Z",
}


class AccountChange(Order):
    model_config = body_config(disabled=True, why="has left")

    disabled: StrictBool | None = Field(None, description="true: ends all sessions and open invitations of the person")
    verified: StrictBool | None = Field(None, description="true: you vouch that the address is this person's")

    @model_validator(mode="after")
    def _changes_something(self) -> AccountChange:
        if self.disabled is None and self.verified is None:
            raise ValueError("say disabled or verified")
        return self


class NewPasswordLink(Order):
    model_config = body_config(why="password forgotten", expires_in="1d")

    expires_in: Annotated[Duration, within(LONGEST_LINK)] = Field(timedelta(days=1), description="1m to 7d")
