"""The gateway's own exceptions; every error that it raises on purpose derives from GatewayError."""

from __future__ import annotations

from schema.errors import BiogateError
from schema.reasons import Reason


class GatewayError(BiogateError):
    """Base of the gateway's own errors."""


class Rejected(GatewayError):
    """A message cannot be stored as what it claims to be, and goes to quarantine with this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def anew(self) -> Rejected:
        """A copy without traceback, for a cache or to be raised: a traceback holds stack frames and their objects."""
        return Rejected(self.reason, self.detail)


class BrokerRefused(GatewayError):
    """The broker answered CONNECT or SUBSCRIBE with an error, or broke the protocol. The session connects again."""


class SessionTakenOver(GatewayError):
    """Another client connected with this gateway's client id. Connecting again would take it back, and so for ever."""


class LeadLost(GatewayError):
    """Another process leads, or the database cannot tell. Work that was begun under the lead must not go on."""


class SchemaBehind(GatewayError):
    """The database lacks migrations that this version needs. The check is repeated, slowly."""


class ShutdownTimedOut(GatewayError):
    """Not everything received could be committed before the deadline. The broker still has it."""


class SendFailed(GatewayError):
    """A command could not be given to the broker. It is sent again later."""


class StoredRowsGone(GatewayError):
    """Frames conflicted with rows that were gone when they were to be compared. The write is repeated."""


def words_of(error: BaseException) -> str:
    """What an exception says, for people; the name of its type if it says nothing, as a time-out does."""
    return str(error).strip() or type(error).__name__
