"""The logins at a stack's own database: one for each process, whose passwords change at each start."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from schema.migrate import ALARMS, API, BACKUP, EVIDENCE, GATEWAY, LOGINS, OPERATOR, WORKER
from schema.owner import OWNER_FILE

NAMES: Mapping[str, str] = {
    API: "biogate_web",
    GATEWAY: "biogate_intake",
    ALARMS: "biogate_evaluator",
    WORKER: "biogate_jobs",
    EVIDENCE: "biogate_signer",
    OPERATOR: "biogate_tools",
    BACKUP: "biogate_copier",
}
"""Role → login. Migrations alone, and what else makes roles, have the owner's login."""


def made(url: str) -> dict[str, str]:
    """Return URLs of the database that is at `url`, by the variables that `biogate migrate` makes logins of."""
    parts = urlsplit(url)
    return {
        LOGINS[role]: urlunsplit(
            parts._replace(netloc=f"{name}:{secrets.token_urlsafe(24)}@{parts.hostname}:{parts.port}")
        )
        for role, name in NAMES.items()
    }


def of(role: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process in this role: its URL as BIOGATE_DATABASE_URL, and no other login's but, for
    workers, the API's, by which exports see what their organization sees. The owner's is in none."""
    kept = {LOGINS[API]} if role in {API, WORKER} else set()
    own = environment.get(LOGINS[role]) or environment["BIOGATE_DATABASE_URL"]
    others = {OWNER_FILE, *LOGINS.values()} - kept
    return {name: value for name, value in environment.items() if name not in others} | {"BIOGATE_DATABASE_URL": own}
