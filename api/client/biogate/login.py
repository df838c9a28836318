"""Where the API is, and the key that it is asked with: from arguments or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from biogate.errors import ClientError

URL, KEY_FILE, CA_FILE = "BIOGATE_API_URL", "BIOGATE_API_KEY_FILE", "BIOGATE_API_CA_FILE"
HOW = (
    "give {argument}=, or set {variable}: where `make up` runs, `set -a; . .stack/env; set +a` sets it for what the "
    "shell starts afterwards"
)


@dataclass(frozen=True)
class ApiLogin:
    """The address of an API without a slash at its end, and a key or the file that has it."""

    url: str
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    ca_file: Path | None = None

    def authorization(self) -> dict[str, str]:
        """Return the header that logs in. The file is read anew each time, so that a new key works without a restart.

        Raises ClientError.
        """
        return {"Authorization": f"Bearer {_checked(self.key) if self.key is not None else self._read()}"}

    def _read(self) -> str:
        assert self.key_file is not None
        try:
            return _checked(self.key_file.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ClientError(f"the key file {self.key_file} cannot be read: {_reason(error)}") from error


def login(
    url: str | None,
    key: str | None,
    key_file: str | Path | None,
    ca_file: str | Path | None,
    environment: Mapping[str, str] = os.environ,
) -> ApiLogin:
    """Return the login of these arguments; what is None is taken from the environment. Raises ClientError."""
    if key is not None and key_file is not None:
        raise ClientError("give key or key_file, not both")
    found_url = url if url is not None else environment.get(URL)
    if not found_url:
        raise ClientError(f"where is the API? {HOW.format(argument='url', variable=URL)}")
    found_file = key_file if key is not None or key_file is not None else environment.get(KEY_FILE)
    if key is None and not found_file:
        raise ClientError(f"which key? {HOW.format(argument='key_file', variable=KEY_FILE)}")
    authority = ca_file if ca_file is not None else environment.get(CA_FILE)
    made = ApiLogin(_address(found_url), key, Path(found_file) if found_file else None, _path(authority))
    made.authorization()
    return made


def _path(given: str | Path | None) -> Path | None:
    return Path(given) if given else None


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ClientError("url: give the address of the API, like https://biogate.example")
    if parts.username is not None or parts.query or parts.fragment:
        raise ClientError("url: give scheme, host, port and path alone; the key goes into key or key_file")
    return urlunsplit(parts).rstrip("/")  # with its scheme in small letters


def _checked(key: str) -> str:
    """Return the key if a header can have it. The error does not show it."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ClientError(
            "the key is empty, or has characters that no key has: give it as it was shown when it was made"
        )
    return key


def _reason(error: Exception) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is no text"
