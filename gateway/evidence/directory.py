"""Where the signing process has its key and its file, and what it tells the database of its keys."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.errors import GatewayError
from gateway.runtime.database import Pool
from gateway.settings import Settings
from schema.evidence import key_files
from schema.evidence.key_files import SigningKeys, load_keys
from schema.evidence.keys import KeyChange, KeyRefused

STORE = """
with new as (
    insert into evidence_keys (key_id, at, text, signature, signature_before)
    values ($1, ($2::jsonb ->> 'at')::timestamptz, $3, $4, $5) on conflict do nothing returning key_id
)
insert into audit (organization_id, who, action, subject, old, new, why)
select 1, 'biogate evidence', 'evidence key', 'key/' || key_id, to_jsonb(nullif($2::jsonb ->> 'before', '')), $2::jsonb,
       'it signs from here on' from new"""


class EvidenceDirectory:
    """The directory of the key. The key is read anew at each look: it may have been changed."""

    def __init__(self, settings: Settings) -> None:
        """Raises GatewayError if no directory is set."""
        own = settings.evidence_dir
        if own is None and settings.secrets_dir is not None:
            own = settings.secrets_dir / key_files.DIRECTORY
        if own is None:
            raise GatewayError(
                "neither BIOGATE_EVIDENCE_DIR nor BIOGATE_SECRETS_DIR is set: there is no key to sign with"
            )
        self.path = own
        self.file: Path = settings.evidence_file or own / "checkpoints.jsonl"
        self.told = ""

    def keys(self) -> SigningKeys:
        """The keys. Raises GatewayError."""
        try:
            return load_keys(self.path)
        except KeyRefused as error:
            raise GatewayError(str(error)) from error

    async def store(self, pool: Pool, name: str, change: KeyChange) -> None:
        """Store a key that the database does not know, with an event in the first organization's trail."""
        said = json.dumps(json.loads(change.text))
        await pool.execute(STORE, name, said, change.text, change.signature, change.signature_before)

    def asked_to_resume(self, organization: int) -> tuple[str, str] | None:
        return key_files.asked_to_resume(self.path, organization)

    def has_resumed(self, organization: int) -> None:
        key_files.has_resumed(self.path, organization)
