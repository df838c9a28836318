"""The files that pages load: ours, and those of others that `make ready` has fetched. They are read once and kept."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fastapi import Request, Response

from schema.errors import BiogateError

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static/"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NEEDED = ("vendor/htmx.js", "vendor/uplot.js", "vendor/uplot.css")
KEPT = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


class MissingFile(BiogateError):
    """A file of others is not there, without which no page works."""


class StaticFile(NamedTuple):
    plain: bytes
    packed: bytes
    media_type: str


@dataclass(frozen=True)
class StaticFiles:
    """All files, below an address that changes with their content: a browser may keep them for ever."""

    digest: str
    files: dict[str, StaticFile]

    @classmethod
    def load(cls) -> StaticFiles:
        """Read all files. Raises MissingFile."""
        for name in NEEDED:
            if not (FOLDER / name).is_file():
                raise MissingFile(f"{name} of the pages is missing: `python -m deploy.assets` fetches it")
        files, digest = {}, hashlib.sha256()
        for path in sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES):
            plain, name = path.read_bytes(), path.relative_to(FOLDER).as_posix()
            files[name] = StaticFile(plain, gzip.compress(plain, 9, mtime=0), TYPES[path.suffix])
            digest.update(name.encode() + b"\0" + hashlib.sha256(plain).digest())
        return cls(digest.hexdigest()[:16], files)

    def url(self, name: str) -> str:
        """Return the address of a file. Raises KeyError for one that there is not."""
        assert name in self.files, f"there is no file {name}"
        return f"{PREFIX}{self.digest}/{name}"

    async def answer(self, request: Request) -> Response:
        """Answer the request for a file, packed if the browser can unpack it."""
        found = self.files.get(request.path_params["name"])
        if found is None or request.path_params["digest"] != self.digest:
            return Response("There is no such file: load the page again.\n", 404, media_type="text/plain")
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, headers={**KEPT, "Content-Encoding": "gzip"}, media_type=found.media_type)
        return Response(found.plain, headers=KEPT, media_type=found.media_type)
