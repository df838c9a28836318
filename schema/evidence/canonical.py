"""Texts that are hashed and signed: equal content gives equal bytes, whoever writes them."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(content: Any) -> str:
    """JSON with sorted names, no spaces, and every character as it is; its UTF-8 bytes are what is hashed or signed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str | bytes) -> str:
    """SHA-256 of the bytes, or of the text in UTF-8: 64 lower-case hexadecimal digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
