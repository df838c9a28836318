"""How a person shows who signs: the password at each signature, e-mail and password at the first of a session."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import structlog
from fastapi import Request

from api import metrics
from api.access.attempts import address, network
from api.access.guard import require
from api.access.roles import Principal, Role
from api.database import Database
from api.problems import BadParameter, Forbidden
from api.queries import accounts, commands, pending_acts
from api.queries import signatures as queries
from api.queries.signatures import Proof
from api.services import Services
from api.shapes.pending_acts import Confirmation, PendingActAnswer
from api.shapes.signatures import Components, NewSignature, SignatureAnswer

log = structlog.get_logger("api")
DECIDES = frozenset({"approved", "rejected"})
"""Meanings that are for engineers, as the acts are that decide."""
WRONG = "is not right, or the e-mail address is not yours: nothing is signed"


@dataclass(frozen=True, slots=True)
class Signer:
    """A person of an organization who asks to sign by a request."""

    request: Request
    app: Services
    database: Database
    person: Principal

    async def sign(self, given: NewSignature) -> SignatureAnswer:
        """Sign a record. Raises NotFound, BadParameter for a wrong password, Forbidden for too low a role, TooMany,
        Conflict, and PreconditionFailed if the record is not what the signer has read."""
        require(self.person, *queries.kind_of(given.record).needs)
        if given.meaning in DECIDES and not (self.person.role and self.person.role.covers(Role.ENGINEER)):
            raise Forbidden(f"a signature that means {given.meaning} is for the role engineer or higher")
        await queries.exists(self.database, given.record)
        proof = await self._proven(given, given.record)
        return await queries.sign(self.database, proof, given.record, given.digest, given.meaning)

    async def confirm(self, number: int, given: Confirmation) -> PendingActAnswer:
        """Do what another person asked for, by a signature. Raises as `sign`, and what the act itself raises."""
        act = await pending_acts.one(self.database, number)
        proof = await self._proven(given, f"act/{number}")
        async with self.database.change() as connection:
            if act.kind == "setpoints":
                await commands.check_again(connection, msgspec.json.decode(msgspec.json.encode(act.request)))
            done = await pending_acts.confirm(connection, number, proof, given.digest, given.why)
        if act.kind == "policy":
            self.app.identities.forget()
        return done

    async def _proven(self, given: Components, record: str) -> Proof:
        """Return the proof that the person signs. Raises BadParameter, and TooMany after as many failures as at a
        log-in."""
        session_id = self.person.session_id
        assert session_id is not None
        account = await queries.signer(self.database, session_id, network(self.request))
        async with self.app.attempts.attempt(
            self.request, "log-in", account["email"], known=account["known"], session_id=session_id
        ) as attempt:
            if given.email is None and not account["has_signed"]:
                raise BadParameter("email", "the first signature of a session takes it with the password")
            right = await self.app.passwords.matches(given.password, account["password_hash"], account["rounds"])
            if right is None or given.email not in {None, account["email"]}:
                attempt.failed()
                await self._note_failure(account["user_id"], session_id, record)
                raise BadParameter("password", WRONG)
        return Proof(session_id, right, given.email)

    async def _note_failure(self, user_id: int, session_id: int, record: str) -> None:
        where = address(self.request)
        metrics.LOGINS.labels("failure").inc()
        log.warning("signature failed", user=user_id, address=where)
        await accounts.log_in_failed(self.app.server.accounts, user_id, where)
        await queries.failed(self.database, session_id, record, where)
