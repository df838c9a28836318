"""What is shown once and known by its hash: session and refresh tokens, API keys, invitation codes. And JWTs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

import jwt

KEY_PREFIX: Final = "bgk"
"""So that a key in a log or a repository is found by those who look for such things."""
ALGORITHM: Final = "HS256"
AUDIENCE: Final = "biogate"


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> bytes:
    """What is kept of a token: it is random, so one round of SHA-256 is as good as any."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True)
class ApiKey:
    """`bgk_<id>_<secret>`: the id finds it, the secret proves it."""

    key_id: str
    secret: str

    @classmethod
    def new(cls) -> ApiKey:
        return cls(base64.b32encode(secrets.token_bytes(8)).decode().rstrip("=").lower()[:12], new_token())

    @classmethod
    def parse(cls, text: str) -> ApiKey | None:
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        return cls(key_id, secret) if prefix == KEY_PREFIX and key_id and secret else None

    def __str__(self) -> str:
        return f"{KEY_PREFIX}_{self.key_id}_{self.secret}"

    def is_of(self, secret_hash: bytes) -> bool:
        return hmac.compare_digest(hashed(self.secret), secret_hash)


def access_token(session_id: int, user_id: int, key: bytes, seconds: float) -> str:
    """A JWT that says whose session it is, and nothing else: what they may do is asked for when it is shown."""
    now = time.time()
    claims = {"sub": str(user_id), "sid": session_id, "aud": AUDIENCE, "iat": int(now), "exp": int(now + seconds)}
    return jwt.encode(claims, key, ALGORITHM)


def session_of(token: str, key: bytes) -> tuple[int, float] | None:
    """The session an access token is of, and until when it holds (s since 1970); None if it is none, or too old."""
    try:
        claims = jwt.decode(
            token, key, [ALGORITHM], audience=AUDIENCE, options={"require": ["exp", "iat", "aud", "sub", "sid"]}
        )
        session_id = claims["sid"]
    except jwt.InvalidTokenError:
        return None
    return (session_id, float(claims["exp"])) if isinstance(session_id, int) else None
