"""What can be wrong with a file, or with what was said about it; the text says what to change."""

from __future__ import annotations

from gateway.errors import GatewayError


class UnusableFile(GatewayError):
    """The file cannot be read as what it claims to be, or something has to be said about it first."""
