"""Opens a text file in whatever encoding as UTF-8, without holding it in memory."""

from __future__ import annotations

import codecs
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from gateway.history.errors import UnusableFile

PIECE = 2**20
"""Bytes that are decoded at once."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Utf8 = mmap.mmap | bytes


def encoding_of(path: Path) -> str:
    """The encoding of a text file: by its mark, by where UTF-16 has zeros, else UTF-8 if all of it is, else latin-1."""
    with path.open("rb") as file:
        head = file.read(4096)
        for mark, name in MARKS:
            if head.startswith(mark):
                return name
        if b"\0" in head:
            return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        file.seek(0)
        try:
            for _ in _decoded(file, "utf-8"):
                pass
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[Utf8]:
    """The bytes of the file as UTF-8, without a mark. Raises UnusableFile if it is not in this encoding."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise UnusableFile("the file is empty")
        if encoding == "utf-8":
            yield _mapped(file)
            return
        with TemporaryFile() as copy:
            try:
                for text in _decoded(file, encoding):
                    copy.write(text.encode())
            except (UnicodeError, LookupError) as error:
                raise UnusableFile(f"the file is not in the encoding {encoding}: {error}") from error
            copy.flush()
            if not copy.tell():
                raise UnusableFile("the file is empty")
            yield _mapped(copy)


def _mapped(file: IO[bytes]) -> mmap.mmap:
    """The content of the file. It goes when nobody has it any more: a reader may have a part of it for longer."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _decoded(file: IO[bytes], encoding: str) -> Iterator[str]:
    """The text of the file in pieces."""
    decoder = codecs.getincrementaldecoder(encoding)()
    while piece := file.read(PIECE):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
