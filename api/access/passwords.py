"""Passwords: bcrypt, which takes a core for a fifth of a second on purpose; so in threads of its own, and few wait."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final, Self

import bcrypt
from pydantic import AfterValidator, Field, SecretStr

from api.problems import Busy

LEAST, MOST_BYTES = 10, 72
"""Characters at least; bytes at most, which is all that bcrypt looks at."""
NOBODYS: Final = "$2b${:02}$efca9Cm9x7Aj6gnFI3QE4.TWVTajrBqv51L6rH9J.il6BmHXVW3zm"
"""The hash that is compared where there is no account, with the number of rounds: so the answer takes as long."""
MOST_WAITING: Final = 32


def checked(password: str) -> str:
    """Raises ValueError if it cannot be anybody's."""
    if len(password) < LEAST:
        raise ValueError(f"needs {LEAST} characters or more")
    return given(password)


def given(password: str) -> str:
    """Raises ValueError if bcrypt cannot take it."""
    if "\0" in password:
        raise ValueError("holds a NUL character")
    if len(password.encode()) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES} bytes in UTF-8, which is all that counts")
    return password


def _secret(check: object) -> AfterValidator:
    def validated(secret: SecretStr) -> SecretStr:
        check(secret.get_secret_value())  # type: ignore[operator]
        return secret

    return AfterValidator(validated)


NewPassword = Annotated[
    SecretStr,
    _secret(checked),
    Field(
        description=f"{LEAST} characters or more, {MOST_BYTES} bytes of UTF-8 at most",
        json_schema_extra={"minLength": LEAST, "maxLength": MOST_BYTES},
    ),
]
Password = Annotated[SecretStr, _secret(given), Field(json_schema_extra={"maxLength": MOST_BYTES})]


def hash_now(password: str, rounds: int) -> str:
    """The hash of a password, made in 2**rounds steps: 0.2 s of a core with 12 rounds."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def matches_now(password: str, password_hash: str) -> bool:
    """Whether this is the hash of the password. It takes as long as the making of the hash has taken."""
    return bcrypt.checkpw(password.encode(), password_hash.encode())


class Passwords:
    """Hashing off the event loop. (bcrypt gives up the interpreter's lock.) Half of the cores: log-ins shall not take
    them from the intake."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._threads = ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) // 2), "passwords")
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: SecretStr) -> str:
        return str(await self._run(hash_now, password.get_secret_value(), self._rounds))

    async def matches(self, password: SecretStr, password_hash: str | None) -> bool:
        """Whether the password matches. A hash of None, for an unknown account, takes as long and never matches."""
        compared = password_hash or NOBODYS.format(self._rounds)
        right = await self._run(matches_now, password.get_secret_value(), compared)
        return bool(right) and password_hash is not None

    async def _run(self, work: object, *arguments: object) -> object:
        if self._waiting >= MOST_WAITING:
            raise Busy("too many are logging in at this moment: try again", headers={"Retry-After": "5"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1
