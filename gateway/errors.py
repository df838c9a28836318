"""What can end or refuse the gateway's work; every error raised on purpose derives from GatewayError."""

from __future__ import annotations

from schema.errors import BiogateError
from schema.reasons import Reason


class GatewayError(BiogateError):
    """Base of the gateway's own errors."""


class Rejected(GatewayError):
    """A message that cannot be stored as what it claims to be: quarantine, with this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def anew(self) -> Rejected:
        """The same for keeping, or for raising a kept one: a raised exception keeps the frames it went through, and
        what is in them, and each raise adds to them."""
        return Rejected(self.reason, self.detail)


class BrokerRefused(GatewayError):
    """The broker answered CONNECT or SUBSCRIBE with an error, or broke the protocol. Tried again."""


class SessionTakenOver(GatewayError):
    """Another client connected with our client id. Reconnecting would take it back, and so on for ever."""


class LeadLost(GatewayError):
    """Another process leads, or nobody can tell. What was begun under the lead is not to be gone on with."""


class SchemaBehind(GatewayError):
    """The database lacks migrations that this version needs. Tried again, slowly."""


class ShutdownTimedOut(GatewayError):
    """Not everything received could be committed before the deadline. The broker still has it."""


class SendFailed(GatewayError):
    """A command could not be given to the broker. Tried again."""


class StoredRowsGone(GatewayError):
    """Frames conflicted with rows that were not there any more when they were compared. Tried again."""
