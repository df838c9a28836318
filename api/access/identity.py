"""From what a request shows (API key, access token, session cookie) to who it is; remembered until that changes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from api.access.roles import Principal, Role, Scope
from api.access.tokens import ApiKey, hashed, session_of
from api.database import Database

CHANGED = "biogate_accounts"
REMEMBERED_S = 10.0
"""Also an upper bound on what a key costs that has just expired."""
MOST_REMEMBERED = 10_000
SEEN_S = 10.0
"""Seconds for which what a person does in a session is not noted again; an idle session may end so much too early."""

SESSION = "select * from session_principal($1, $2, $3)"
SEEN = "select session_seen($1)"
IDLE = "select session_idle_end($1)"
KEY = "select * from key($1)"


@dataclass(frozen=True, slots=True)
class Shown:
    """A credential, and for which organization."""

    kind: str
    """`bearer` or `cookie`."""
    token: str
    organization: str | None


class Identities:
    """Looks up principals. What it remembers is forgotten as soon as the database says that anything has changed, and
    nothing is remembered while it cannot say so."""

    def __init__(self, accounts: Database, jwt_key: bytes) -> None:
        self._accounts = accounts
        self._jwt_key = jwt_key
        self._known: dict[Shown, tuple[Principal, float]] = {}
        self._seen: dict[int, float] = {}
        self._listening = False
        self._version = 0

    @property
    def version(self) -> int:
        """A number that grows whenever accounts may have changed."""
        return self._version

    async def principal(self, shown: Shown) -> Principal | None:
        """Return the principal of these credentials, or None. Raises ApiError if the database cannot tell."""
        known = self.remembered(shown)
        if known is not None:
            return known
        version = self._version
        found, seconds = await self._ask(shown)
        if found is not None and self._listening and version == self._version:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[shown] = found, time.monotonic() + min(REMEMBERED_S, seconds)
        return found

    async def note_act(self, principal: Principal) -> None:
        """Note that a person does something, if the person's session ends when nobody does."""
        if principal.session_id is None or principal.idle_minutes is None:
            return
        now = time.monotonic()
        if now < self._seen.get(principal.session_id, 0.0):
            return
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen.clear()
        self._seen[principal.session_id] = now + SEEN_S
        await self._accounts.execute(SEEN, principal.session_id)

    def forget(self) -> None:
        """Forget all principals after a change by this process; the notification of the database comes later."""
        self._version += 1
        self._known.clear()

    def remembered(self, shown: Shown) -> Principal | None:
        known = self._known.get(shown)
        return known[0] if known is not None and time.monotonic() < known[1] else None

    def on_change(self, _: str) -> None:
        """Forget all principals: accounts have changed."""
        self.forget()

    def on_listening(self, now: bool) -> None:
        self._listening = now
        self.forget()

    async def _ask(self, shown: Shown) -> tuple[Principal | None, float]:
        """Look the credentials up. Returns the principal and for how many seconds it may be remembered."""
        if shown.kind == "cookie":
            token_hash = hashed(shown.token)
            return await self._of_session(token_hash, None, shown.organization, f"session {token_hash.hex()}")
        key = ApiKey.parse(shown.token)
        if key is not None:
            return await self._of_key(key, shown.organization)
        session = session_of(shown.token, self._jwt_key)
        if session is None:
            return None, 0
        session_id, proof, expires = session
        words = f"program {session_id} {proof}"
        found, seconds = await self._of_session(None, session_id, shown.organization, words)
        return found, min(seconds, expires - time.time())

    async def _of_session(
        self, token_hash: bytes | None, session_id: int | None, organization: str | None, words: str
    ) -> tuple[Principal | None, float]:
        row = await self._accounts.fetchrow(SESSION, token_hash, session_id, organization)
        if row is None:
            return None, 0
        if row["idle"]:
            await self._accounts.execute(IDLE, row["session_id"])
            return None, 0
        seconds = 0.0 if row["has_expired"] else row["expires_at"].timestamp() - time.time()
        return Principal(
            who=row["email"],
            kind=row["kind"],
            organization_id=row["organization_id"],
            organization=row["organization"],
            role=None if row["role"] is None else Role(row["role"]),
            user_id=row["user_id"],
            session_id=row["session_id"],
            idle_minutes=row["idle_minutes"],
            has_expired=row["has_expired"],
            shown=words,
        ), seconds

    async def _of_key(self, key: ApiKey, organization: str | None) -> tuple[Principal | None, float]:
        row = await self._accounts.fetchrow(KEY, key.key_id)
        if row is None or not key.is_of(row["secret_hash"]):
            return None, 0
        its_own = organization in {None, row["organization"]}
        return Principal(
            who=f"key {row['key_id']} ({row['name']})",
            kind="key",
            organization_id=row["organization_id"] if its_own else None,
            organization=row["organization"] if its_own else None,
            role=Role(row["role"]),
            scopes=frozenset(scope for scope in Scope if scope in row["scopes"]),
            key_id=row["key_id"],
            shown=f"key {row['key_id']} {key.secret}",
        ), REMEMBERED_S if row["expires_at"] is None else row["expires_at"].timestamp() - time.time()
