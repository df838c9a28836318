"""Forms with a file, as browsers send them (RFC 7578): few fields and one file, whole in memory."""

from __future__ import annotations

from email.message import Message
from typing import NamedTuple

from fastapi import Request

from api.http.bodies import MOST_BYTES
from api.problems import BadParameter, TooLarge

MOST_PARTS = 20


class SentFile(NamedTuple):
    name: str
    content: bytes


async def file_form(request: Request, name: str, most: int) -> tuple[dict[str, str], SentFile]:
    """Return the fields of a form, and its file, which is the field `name`. Raises BadParameter, and TooLarge for a
    file of more than `most` bytes."""
    return parsed(request.headers.get("content-type", ""), await request.body(), name, most)


def parsed(content_type: str, content: bytes, name: str, most: int) -> tuple[dict[str, str], SentFile]:
    """See `file_form`."""
    boundary = _parameter(content_type, "boundary")
    if not content_type.lower().startswith("multipart/form-data") or not boundary:
        raise BadParameter("form", "has no file: send multipart/form-data")
    fields: dict[str, str] = {}
    file: SentFile | None = None
    parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("latin-1"))
    for part in parts[1 : MOST_PARTS + 1]:
        if part.startswith(b"--"):
            break
        head, separator, body = part.partition(b"\r\n\r\n")
        said = _disposition(head)
        field = _parameter(said, "name")
        if not separator or not field:
            raise BadParameter("form", "has a part without a name")
        if field == name:
            file = SentFile(_parameter(said, "filename"), body)
        elif len(body) > MOST_BYTES:
            raise TooLarge(f"{field} has more than {MOST_BYTES} bytes")
        elif body:
            fields[field] = _text(field, body)
    if file is None or not file.content:
        raise BadParameter(name, "is missing: choose a file")
    if len(file.content) > most:
        raise TooLarge(f"the file has more than {most} bytes")
    return fields, file


def _disposition(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        title, _, value = line.partition(":")
        if title.strip().lower() == "content-disposition":
            return value.strip()
    return ""


def _parameter(header: str, name: str) -> str:
    message = Message()
    message["Content-Disposition"] = header
    found = message.get_param(name, "", "content-disposition")
    return found.replace("%22", '"') if isinstance(found, str) else ""


def _text(field: str, content: bytes) -> str:
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadParameter(field, "is not UTF-8") from error
