"""Somebody who asks the API, and what there is for them to decide."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx2

from api.http import description
from tests.api.accounts import bearer
from tests.api.conform import conforms
from tests.api.plant import at

ORDER = {"why": "as the test says"}


class Operator:
    """Somebody with an API key, who checks answers against the models."""

    def __init__(self, client: httpx2.AsyncClient, key: str) -> None:
        self.client = client
        self.headers = bearer(key)
        self.who = f"key {key.split('_')[1]} (test)"

    async def get(self, path: str, model: str | None = None, **parameters: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", params=parameters, headers=self.headers)
        return self._checked(answer, model)

    async def post(self, path: str, model: str | None = None, **body: Any) -> Any:
        answer = await self.client.post(f"/api/v1{path}", json=ORDER | body, headers=self.headers)
        return self._checked(answer, model)

    async def question(self, path: str, model: str | None = None, **body: Any) -> Any:
        """What is asked by a body and changes nothing, so that it has no reason."""
        answer = await self.client.post(f"/api/v1{path}", json=body, headers=self.headers)
        return self._checked(answer, model)

    async def not_shown(self, path: str, **parameters: Any) -> int:
        """Status."""
        answer = await self.client.get(f"/api/v1{path}", params=parameters, headers=self.headers)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        return answer.status_code

    async def refused(self, path: str, **body: Any) -> tuple[int, str]:
        """Status and detail."""
        answer = await self.client.post(f"/api/v1{path}", json=ORDER | body, headers=self.headers)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        return answer.status_code, answer.json()["detail"]

    @staticmethod
    def _checked(answer: httpx2.Response, model: str | None) -> Any:
        assert answer.status_code == 200, answer.text
        content = answer.json()
        if model is not None:
            conforms(shape(model), content)
        return content


def shape(name: str) -> type[description.Answer]:
    """The model with that name in the description, in whichever module it is."""
    found = next((one for one in _below(description.Answer) if description.schema_name(one.__name__) == name), None)
    assert found is not None, name
    return found


def _below(kind: type[description.Answer]) -> Iterator[type[description.Answer]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


async def handshake(sql: asyncpg.Connection, serial: str, seconds: float = 0, state: str = "awaiting") -> str:
    """One as the gateway would have written it, `seconds` after T0: its transaction."""
    txn = secrets.token_hex(16)
    await sql.execute("insert into cells (cell, client_id) values ('main', 'secret-c') on conflict do nothing")
    await sql.execute(
        """insert into enrollments (txn, cell, serial, identity_key, claim_version, state, reason, hello, challenge,
                                    transcript, keys, proof, hardware, channels, created_at)
           values ($1, 'main', $2, sha256($1::text::bytea), 1, $3, 'unknown-serial', 'h', 'c', 't',
                   case when $3 in ('challenged', 'awaiting', 'approved') then 'secret-k'::bytea end,
                   case when $3 <> 'challenged' then 'p'::bytea end, 'rev C', '{ph,temperature}', $4)""",
        *(txn, serial, state, at(seconds)),
    )
    return txn


async def login_of(sql: asyncpg.Connection, device: str, generation: int = 1) -> None:
    """A login as the broker knows it."""
    await sql.execute("insert into cells (cell, client_id) values ('main', 'secret-c') on conflict do nothing")
    await sql.execute("insert into devices (name) values ($1) on conflict do nothing", device)
    await sql.execute(
        """insert into credentials (username, device_id, cell, generation, client_id, salt, verifier, applied,
                                    created_at, applied_at)
           select $1, device_id, 'main', $2, 'secret-' || $1, 'secret-salt', 'secret-verifier', 'present', $4, $4
             from devices where name = $3""",
        *(f"{device}.{generation}", generation, device, at(generation)),
    )
