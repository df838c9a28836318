"""Makes and reads tokens that are shown once and stored as a hash: session and refresh tokens, API keys, invitation
codes. Makes and reads access tokens (JWTs), too."""

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
REFRESH_PREFIX: Final = "bgr"
"""The prefixes let scanners for secrets find a key in a log or a repository."""
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


@dataclass(frozen=True)
class RefreshToken:
    """`bgr_<family>.<secret>`: all of one session are of one family, and the last one made works, for a moment beside
    the one before. An older one is known for what it is by its family, however long ago it was used up."""

    family: str
    secret: str

    @classmethod
    def new(cls) -> RefreshToken:
        return cls(new_token(), new_token())

    def following(self, chain_key: bytes) -> RefreshToken:
        """Return the next token of the session. It follows from `chain_key`: who asks twice gets the same."""
        secret = hmac.digest(chain_key, self.secret.encode(), "sha256")
        return RefreshToken(self.family, base64.urlsafe_b64encode(secret).decode().rstrip("="))

    @classmethod
    def parse(cls, text: str) -> RefreshToken | None:
        prefix, _, rest = text.partition("_")
        family, _, secret = rest.partition(".")
        return cls(family, secret) if prefix == REFRESH_PREFIX and family and secret else None

    def __str__(self) -> str:
        return f"{REFRESH_PREFIX}_{self.family}.{self.secret}"


def new_code() -> str:
    """A code for an invitation, which can be read out: 80 random bits as four groups."""
    code = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(code[n : n + 4] for n in range(0, 16, 4))


def code_hash(code: str) -> bytes:
    """The hash of an invitation code, with or without its hyphens, in small letters or capitals."""
    return hashed("".join(sign for sign in code.upper() if sign.isalnum()))


def access_proof(family: str) -> str:
    """What proves to the database that an access token is of the session with these refresh tokens."""
    return hashlib.sha256(b"biogate access " + hashed(family)).hexdigest()


def access_token(session_id: int, user_id: int, proof: str, key: bytes, seconds: float) -> str:
    """A JWT that says whose session it is, with `access_proof`, and nothing else: what they may do is asked for when it
    is shown."""
    now = time.time()
    claims = {"sub": str(user_id), "sid": session_id, "prf": proof, "aud": AUDIENCE, "iat": int(now)}
    return jwt.encode(claims | {"exp": int(now + seconds)}, key, ALGORITHM)


def session_of(token: str, key: bytes) -> tuple[int, str, float] | None:
    """The session of an access token, its proof, and until when it holds (s since 1970); None if it is false, or too
    old."""
    try:
        claims = jwt.decode(
            token, key, [ALGORITHM], audience=AUDIENCE, options={"require": ["exp", "iat", "aud", "sub", "sid", "prf"]}
        )
        session_id, proof = claims["sid"], claims["prf"]
    except jwt.InvalidTokenError:
        return None
    known = isinstance(session_id, int) and 0 < session_id < 2**63 and isinstance(proof, str) and proof.isalnum()
    return (session_id, proof, float(claims["exp"])) if known else None
