# ruff: noqa: S106 - the password in the example is nobody's
"""Signatures of records: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from api.access.passwords import Password
from api.http.bodies import Email, body_config
from api.http.description import Answer, about, example
from api.http.parameters import StrictParameters

MEANINGS = ("authored", "reviewed", "approved", "rejected")
"""What signatures mean in every organization."""
RECORD_PATTERN = r"^[a-z]{1,30}/[^\s/]{1,300}$"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

RecordName = Annotated[
    str,
    StringConstraints(pattern=RECORD_PATTERN),
    Field(description="`report/ID`, `sample/NAME`, `deviation/NUMBER`, `rule/NAME`, `review/NUMBER` or `act/NUMBER`"),
]
Digest = Annotated[
    str,
    StringConstraints(pattern="^[0-9a-f]{64}$"),
    Field(description="`digest` of the record as you have read it: if it is another one now, nothing is signed"),
]
Meaning = Annotated[str, StringConstraints(pattern="^[a-z][a-z -]{0,38}[a-z]$")]


class SignatureAnswer(Answer):
    id: int
    record: str
    version: Annotated[int, about("the version of the record that was signed")]
    digest: Annotated[str, about("SHA-256 of the canonical form of the record as it was signed")]
    meaning: str
    name: Annotated[str, about("printed name of the signer")]
    who: Annotated[str, about("e-mail address of the signer")]
    at: str
    intact: Annotated[bool, about("whether the version that was signed is as it was; false: the signature is broken")]
    newest: Annotated[bool, about("whether the record is still what was signed; false: it has gone on since")]
    version_now: Annotated[
        int | None, about("the newest version of the record; null: there is no such record any more")
    ]
    state_now: Annotated[str | None, about("state of that version, of samples and deviations")]
    changed_at: Annotated[str | None, about("first recorded change of the record after the signature; null: none")]
    text: Annotated[str, about("the signature as canonical JSON, as the audit trail has it")]


class SignedRecord(Answer):
    record: str
    version: Annotated[int | None, about("null: there is no such record any more")]
    digest: Annotated[str | None, about("SHA-256 of `form`: what a signature is bound to")]
    form: Annotated[str | None, about("canonical form of the record, JSON")]
    signatures: list[SignatureAnswer]


class RecordParameters(StrictParameters):
    record: RecordName


class Components(BaseModel):
    """The components of a signature: the first of a session takes both."""

    model_config = body_config(email="eva@example.org", password="correct horse battery")

    password: Password = Field(description="at every signature")
    email: Email | None = Field(None, description="your own; the first signature of a session takes it")


class NewSignature(Components):
    model_config = body_config(
        record="sample/br-1-s7",
        digest=DIGEST,
        meaning="reviewed",
        email="eva@example.org",
        password="correct horse battery",
    )

    record: RecordName
    digest: Digest
    meaning: Meaning = Field(description=f"{', '.join(MEANINGS)}, or one of the organization's own")


SIGNATURE = example(
    SignatureAnswer,
    """{"id": 12, "record": "sample/br-1-s7", "version": 2,
 "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "meaning": "reviewed",
 "name": "Eva Roth", "who": "eva@example.org", "at": "2026-11-20T07:45:00.000000Z", "intact": true, "newest": false,
 "version_now": 3, "state_now": "approved", "changed_at": "2026-11-20T08:10:00.000000Z",
 "text": "{\\"at\\":\\"2026-11-20T07:45:00.000000Z\\",\\"kind\\":\\"biogate signature 1\\"}"}""",
)
SIGNED = {
    "record": "sample/br-1-s7",
    "version": 2,
    "digest": DIGEST,
    "form": '{"version":2}',
    "signatures": [SIGNATURE],
}
