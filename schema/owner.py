"""The login of the database's owner, who makes tables, roles and logins. It is in a file, and in no variable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from schema.errors import Misused

OWNER_FILE = "BIOGATE_OWNER_DATABASE_URL_FILE"


def owner_url(url: str, environment: Mapping[str, str]) -> str:
    """Return the URL in the file that BIOGATE_OWNER_DATABASE_URL_FILE names; if that is not set, `url`, which is of
    BIOGATE_DATABASE_URL. Raises Misused if the two name different databases: one would be migrated unasked."""
    file = environment.get(OWNER_FILE)
    if not file:
        return url
    try:
        owner = Path(file).read_text().strip()
    except OSError as error:
        raise Misused(f"{OWNER_FILE}: {file} cannot be read: {error.strerror}") from error
    if _database(owner) != _database(url):
        raise Misused(f"{OWNER_FILE} is of another database than BIOGATE_DATABASE_URL: unset one of them")
    return owner


def _database(url: str) -> tuple[str | None, int, str]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 5432, parts.path
