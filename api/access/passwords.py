"""Hashes and checks passwords by bcrypt. A hash takes a core for a fifth of a second on purpose: so threads of its own
do it, and few requests may wait for them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import unicodedata
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final, Self

import bcrypt
from pydantic import AfterValidator, Field, SecretStr

from api.problems import BadParameter, Busy

LEAST, MOST_BYTES = 10, 72
"""The least characters of a password; its most bytes, as bcrypt looks at no more."""
NOBODYS: Final = "$2b${:02}$efca9Cm9x7Aj6gnFI3QE4.TWVTajrBqv51L6rH9J.il6BmHXVW3zm"
"""The hash that is compared where there is no account, with the number of rounds: so the answer takes as long."""
SALTED: Final = 29
"""Characters of a hash that say how it is made: its kind, rounds and salt."""
MOST_WAITING: Final = 32
HARD_TO_GUESS: Final = 3
"""The least score of zxcvbn, from 0 to 4: 10**8 guesses and more."""
OUR_WORDS: Final = ("biogate", "bioreactor")
EASY: Final = "is among those that are guessed first: take several words that have nothing to do with each other"


def composed(password: str) -> str:
    """The one form of what a person types: some keyboards give `é` as one character, others as two (Unicode, NFC)."""
    return unicodedata.normalize("NFC", password)


def checked(password: str) -> str:
    """Return a new password. Raises ValueError if it is too short, too long or has a NUL."""
    if len(composed(password)) < LEAST:
        raise ValueError(f"needs {LEAST} characters or more")
    return given(password)


def check_strength(password: str, about: Iterable[str]) -> None:
    """Raises ValueError if a password is common, or easily guessed by who knows these words about its owner."""
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # noqa: PLC0415  # 12 MB of words that are seldom needed

    words = [part for word in about for part in (word, *word.replace("@", " ").replace(".", " ").split())]
    if zxcvbn(composed(password), [*words, *OUR_WORDS], max_length=MOST_BYTES)["score"] < HARD_TO_GUESS:
        raise ValueError(EASY)


def given(password: str) -> str:
    """Raises ValueError if bcrypt cannot take it."""
    if "\0" in password:
        raise ValueError("holds a NUL character")
    if len(composed(password).encode()) > MOST_BYTES:
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
    return bcrypt.hashpw(composed(password).encode(), bcrypt.gensalt(rounds)).decode()


def matches_now(password: str, password_hash: str, rounds: int = 0) -> str | None:
    """Return the hash of the password if it is the one that is meant, or None. Of that, `password_hash` has the whole,
    or what the database gives: the salt and, in place of the rest, the SHA-256 of the whole.

    It takes as long as the making of a hash with `rounds`, if that is longer than the making of this one has taken: or
    the time would tell which account is an old one."""
    forms = (composed(password), unicodedata.normalize("NFD", password), password)  # the others: from before NFC
    right = None
    for form in dict.fromkeys(forms):
        fits = len(form.encode()) <= MOST_BYTES
        whole = bcrypt.hashpw(form.encode()[:MOST_BYTES], password_hash[:SALTED].encode())
        meant = whole.decode(), password_hash[:SALTED] + hashlib.sha256(whole).hexdigest()
        if any(hmac.compare_digest(one.encode(), password_hash.encode()) for one in meant) and fits:
            right = whole.decode()
        for missing in range(rounds_of(password_hash), rounds):
            bcrypt.checkpw(form.encode()[:MOST_BYTES], NOBODYS.format(missing).encode())
    return right


def rounds_of(password_hash: str) -> int:
    """The exponent of the steps that a hash has taken."""
    return int(password_hash.split("$")[2])


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

    async def hash_new(self, password: SecretStr, parameter: str, *about: str) -> str:
        """Raises BadParameter if a password is easily guessed by who knows these words about its owner."""
        try:
            await self._run(check_strength, password.get_secret_value(), about)
        except ValueError as error:
            raise BadParameter(parameter, str(error)) from error
        return await self.hash(password)

    async def matches(self, password: SecretStr, password_hash: str | None, rounds: int = 0) -> str | None:
        """Return the hash of the password if it matches, which proves to the database that somebody has typed it. A
        hash of None, for an unknown account, takes as long and never matches.

        `rounds` are the most of any account: each answer costs as much as that, or as a new hash."""
        most = max(rounds, self._rounds)
        compared = password_hash or NOBODYS.format(most)
        right = await self._run(matches_now, password.get_secret_value(), compared, most)
        return str(right) if right is not None and password_hash is not None else None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other rounds than the setting's."""
        return rounds_of(password_hash) != self._rounds

    async def _run(self, work: object, *arguments: object) -> object:
        if self._waiting >= MOST_WAITING:
            raise Busy("too many are logging in at this moment: try again", headers={"Retry-After": "5"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1
