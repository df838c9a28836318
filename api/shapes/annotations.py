"""What people note about a time of a device: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from api.http.bodies import body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant


class Annotation(Answer):
    id: int
    begins: str
    ends: Annotated[str | None, about("null: it is about one instant")]
    text: str
    who: str
    created_at: str
    withdrawn_at: Annotated[str | None, about("null: it was not withdrawn; lists have only those")]


ANNOTATION = example(
    Annotation,
    """{"id": 12, "begins": "2026-11-20T07:45:00.000000Z", "ends": null, "text": "Probe changed",
 "who": "eva@example.com", "created_at": "2026-11-20T07:45:00.000000Z", "withdrawn_at": null}""",
)


def prose(text: str) -> str:
    """Check a text of several lines. Raises ValueError if it cannot be printed."""
    if not all(sign.isprintable() or sign in "\n\t" for sign in text):
        raise ValueError("has characters that cannot be printed")
    return text


class NewAnnotation(BaseModel):
    """The body of a new annotation. It has no reason: the text is one."""

    model_config = body_config(begins="2026-11-20T07:45:00Z", text="Probe changed")

    begins: Instant = Field(description="first instant that it is about")
    ends: Instant | None = Field(None, description="last instant; without it, it is about one instant")
    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(prose)
    ] = Field(description="text of the annotation")
