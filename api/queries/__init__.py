"""The SQL statements: files of named blocks (`-- name: …`, comments, one statement), read once at import."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

MARK = "-- name: "


def load(name: str) -> Mapping[str, str]:
    """Return the statements of the file `name`.sql by the names of their blocks."""
    text = (Path(__file__).parent / f"{name}.sql").read_text()
    blocks = (block.partition("\n") for block in text.split(MARK)[1:])
    return MappingProxyType({title.strip(): body.strip() for title, _, body in blocks})
