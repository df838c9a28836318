"""Takes enrollment requests from a subscription that the gateways of a cell share, and publishes the replies.

    broker ──▶ take ──▶ jobs ──▶ work ──▶ steps (one transaction) ──▶ replies ──▶ publish ──▶ broker
               limits   bounded  2 tasks      ▲                       bounded     4 tasks
                                              │ approved by an operator, login made by the administration
                            PostgreSQL ──▶ listen, tend

No request has to be kept: while broker or database is away requests are dropped, and devices repeat them.
"""

from __future__ import annotations

import asyncio
import secrets as random
import time
from typing import NamedTuple

import aiomqtt
import msgspec
import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway import metrics
from gateway.broker.client import client
from gateway.enrollment import store
from gateway.enrollment.refusals import Refusals
from gateway.enrollment.requests import UnreadableRequest, read, txn_of
from gateway.enrollment.steps import EnrollmentReply, Steps, refuse
from gateway.errors import BrokerRefused, GatewayError, words_of
from gateway.logins.roles import ENROLLMENTS
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles, listening
from gateway.runtime.triage import TriageVerdict, triage
from gateway.secrets import Secrets
from gateway.settings import Settings
from schema.enrollment import MAX_REQUEST, REQUESTS, Hello, Proof, Refusal, reply_topic

log = structlog.get_logger()

WORKERS = 2
"""Requests handled at the same time: each holds a connection to the database."""
PUBLISHERS = 4
"""Replies on their way at the same time: in a flood the broker's acknowledgement of one may take PUBLISH_S."""
WAITING = 64
"""Requests that may wait for a worker, and replies that may wait to be published. More are dropped, and devices repeat
their requests."""
READS, PROOFS, REFUSALS = 10, 5, 10
"""Factors on the bound of challenges: HELLOs that are looked at, proofs that are handled, and requests that are refused
without being handled."""
FLOOD_PER_S = 1000
"""Requests in a second from which on the service leaves the broker for a pause: the gateway has other work."""
PUBLISH_S = 5.0
PROBE_ANSWER_S = 2.0
GRANTED_S = 60.0
"""Age up to which grants are published again after notifications were missed."""


class EnrollmentJob(NamedTuple):
    """A request to handle, a refusal to send (`refusal`), or, with neither, a handshake to go on with."""

    txn: str
    payload: bytes = b""
    request: Hello | Proof | None = None
    refusal: Refusal | None = None


class EnrollmentInbox(asyncio.Queue[aiomqtt.Message]):
    """A queue that cuts messages that are too large, as many of a megabyte each would fill the memory."""

    def put_nowait(self, message: aiomqtt.Message) -> None:
        if isinstance(message.payload, bytes):
            message.payload = message.payload[: MAX_REQUEST + 1]
        super().put_nowait(message)


class EnrollmentFlood(GatewayError):
    """More than FLOOD_PER_S requests came in a second."""


class EnrollmentService:
    def __init__(self, settings: Settings, secrets: Secrets, pool: Pool, troubles: Troubles) -> None:
        self._settings = settings
        self._timing = settings.timing
        self._secrets = secrets
        self._pool = pool
        self._steps = Steps(settings, secrets, pool)
        self._refusals = Refusals(settings.cell, pool)
        self._broker_trouble = Trouble(troubles, "take enrollment requests from the broker")
        self._database_trouble = Trouble(troubles, "enroll devices")
        self._jobs: asyncio.Queue[EnrollmentJob] = asyncio.Queue(WAITING)
        self._replies: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(WAITING)
        self._client: aiomqtt.Client | None = None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._hellos = RateLimitItemPerSecond(settings.enroll_hellos_per_s * READS)
        self._proofs = RateLimitItemPerSecond(settings.enroll_hellos_per_s * PROOFS)
        self._refused = RateLimitItemPerSecond(settings.enroll_hellos_per_s * REFUSALS)
        self._listening = False
        self._missed = True
        """Notifications may have been missed: `_tend` has to look for handshakes to go on with."""

    async def run(self) -> None:
        """Enroll devices for ever, through failures of broker and database. Ends by cancellation only."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve(), name="enrollment requests")
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"enrollment work {number}")
            for number in range(PUBLISHERS):
                group.create_task(self._publish(), name=f"enrollment publish {number}")
            group.create_task(self._listen(), name="enrollment listen")
            group.create_task(self._tend(), name="enrollment tend")

    # -- requests

    async def _serve(self) -> None:
        """Stay connected to the broker, and take requests."""
        while True:
            try:
                identifier = f"enrollment-{random.token_hex(16)}"
                async with client(
                    self._settings, self._secrets, "enrollment", identifier, EnrollmentInbox
                ) as connection:
                    await self._subscribe(connection)
                    self._client = connection
                    self._broker_trouble.reset()
                    metrics.ENROLL_CONNECTED.set(1)
                    await self._take_all(connection)
            except EnrollmentFlood as error:
                self._broker_trouble.failed(error)
                wait = self._timing.flood_s
            except (aiomqtt.MqttError, OSError, BrokerRefused) as error:
                wait = self._broker_trouble.failed(error)
            finally:
                self._client = None
                metrics.ENROLL_CONNECTED.set(0)
            await asyncio.sleep(wait)

    async def _subscribe(self, connection: aiomqtt.Client) -> None:
        """Subscribe to the requests. A passing subscription receives requests that were retained, which a shared one
        does not, so that they are cleared. Raises BrokerRefused."""
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        every = f"{REQUESTS}+"
        await connection.subscribe(every, options=options)
        await connection.unsubscribe(every)
        [code] = await connection.subscribe(ENROLLMENTS, options=options)
        if isinstance(code, int) or code.is_failure:
            raise BrokerRefused(f"SUBSCRIBE {ENROLLMENTS} refused: {code}")

    async def _take_all(self, connection: aiomqtt.Client) -> None:
        """Take requests until the connection is lost. Raises EnrollmentFlood."""
        second, taken = 0, 0
        async for message in connection.messages:
            now = int(time.monotonic())
            second, taken = (second, taken + 1) if now == second else (now, 1)
            if taken > FLOOD_PER_S:
                self._refusals.note("dropped")
                raise EnrollmentFlood(f"more than {FLOOD_PER_S} requests in a second")
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if message.retain:
                if not payload:
                    continue  # this message clears a retained one
                await connection.publish(message.topic.value, b"", qos=0, retain=True)
            await self._take(txn_of(message.topic.value), payload, retained=bool(message.retain))
            if taken % 16 == 0:
                await asyncio.sleep(0)

    async def _take(self, txn: str | None, payload: bytes, *, retained: bool) -> None:
        """Put a request into the queue, or refuse or drop it if it is unreadable or exceeds a limit."""
        try:
            request = read(txn, payload, retained=retained)
        except UnreadableRequest as error:
            metrics.ENROLL_REQUESTS.labels("unreadable").inc()
            self._refusals.note(error.reason)
            await self._turn_away(txn, Refusal.MALFORMED)
            return
        assert txn is not None
        if isinstance(request, Hello):
            metrics.ENROLL_REQUESTS.labels("hello").inc()
            if not await self._limiter.hit(self._hellos, "hello"):
                self._refusals.note(Refusal.BUSY, request.serial)
                await self._turn_away(txn, Refusal.BUSY)
                return
        else:
            metrics.ENROLL_REQUESTS.labels("proof").inc()
            if not await self._limiter.hit(self._proofs, "proof"):
                self._refusals.note("dropped")
                return
        self._put(EnrollmentJob(txn, payload, request))

    async def _turn_away(self, txn: str | None, code: Refusal) -> None:
        """Queue a refusal for a request that is not handled, within a limit."""
        if txn is not None and await self._limiter.hit(self._refused, "refused"):
            self._put(EnrollmentJob(txn, refusal=code))

    def _put(self, job: EnrollmentJob) -> None:
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            self._refusals.note("dropped")

    # -- work

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            wait = 0.0
            try:
                await self._do(job)
            except Exception as error:
                if isinstance(error, FAILURES) and triage(error) not in {TriageVerdict.DATA, TriageVerdict.CONFLICT}:
                    self._missed = True
                    wait = self._database_trouble.failed(error)
                else:  # a defect of the gateway: it harms this request alone
                    log.exception("an enrollment request failed", txn=job.txn)
                    self._refusals.note("defect")
            await asyncio.sleep(wait)

    async def _do(self, job: EnrollmentJob) -> None:
        if job.refusal is not None:
            reply = refuse(job.refusal, job.txn)
        else:
            begun = time.monotonic()
            reply = await self._step(job)
            metrics.ENROLL_STEP.observe(time.monotonic() - begun)
            self._database_trouble.reset()
            if isinstance(job.request, Hello) and reply.refusal is None:
                self._refusals.challenged(job.request.serial, begun)
            if reply.refusal is not None:
                serial = job.request.serial if isinstance(job.request, Hello) else reply.serial
                self._refusals.note(reply.refusal, serial, recorded=reply.recorded)
        if reply.payload is not None:
            try:
                self._replies.put_nowait((job.txn, reply.payload))
            except asyncio.QueueFull:
                self._refusals.note("dropped")

    async def _step(self, job: EnrollmentJob) -> EnrollmentReply:
        if isinstance(job.request, Hello):
            return await self._steps.hello(job.payload, job.request)
        if isinstance(job.request, Proof):
            return await self._steps.proof(job.payload, job.request)
        return await self._steps.resume(job.txn)

    async def _publish(self) -> None:
        """Publish replies; without a connection none is sent: the device will ask again."""
        while True:
            txn, payload = await self._replies.get()
            if self._client is None:
                continue
            try:
                await self._client.publish(reply_topic(txn), payload, qos=1, timeout=PUBLISH_S)
            except aiomqtt.MqttError as error:
                log.info("a reply could not be sent; the device will ask again", txn=txn, error=words_of(error))
            else:
                metrics.ENROLL_REPLIES.labels(msgspec.json.decode(payload, type=Typed).type).inc()

    # -- handshakes that operators or the administration have moved on

    async def _listen(self) -> None:
        """Queue handshakes that the database notifies as approved or granted; `_tend` finds missed ones."""
        while True:
            try:
                async with listening(self._settings, "enrollment", "biogate_enrollment", self._moved_on) as connection:
                    self._missed = self._listening = True
                    while True:
                        await asyncio.sleep(self._timing.listen_s)
                        await connection.fetchval("select 1", timeout=PROBE_ANSWER_S)
            except FAILURES as error:
                log.info("notifications are not heard: polling", error=words_of(error))
            finally:
                self._listening = False
            await asyncio.sleep(self._timing.listen_s)

    def _moved_on(self, txn: str) -> None:
        """Queue a handshake that was approved or granted."""
        try:
            self._jobs.put_nowait(EnrollmentJob(txn))
        except asyncio.QueueFull:
            self._missed = True

    async def _tend(self) -> None:
        """End late handshakes, tell the audit trail of refusals, and queue handshakes of missed notifications."""
        poll_at = sweep_at = float("-inf")
        failed: float | None = None
        while True:
            now = time.monotonic()
            try:
                await self._refusals.write(now)
                if self._missed or not self._listening or now >= poll_at:
                    missed, self._missed = self._missed, False
                    granted_s = 0.0 if self._listening else 2 * self._timing.look_s
                    for txn in await store.due(self._pool, self._settings.cell, GRANTED_S if missed else granted_s):
                        await self._jobs.put(EnrollmentJob(txn))
                    poll_at = now + self._timing.sweep_s
                    self._database_trouble.reset()
                    if failed is not None:  # statuses of logins used meanwhile may still wait at the broker
                        sweep_at, failed = now + (now - failed), None
                if now >= sweep_at:
                    ended = await store.sweep(self._pool, self._settings.cell, self._settings.enroll_challenge_s)
                    if ended:
                        log.info("handshakes that took too long have ended", count=ended)
                    sweep_at = now + self._timing.sweep_s
            except FAILURES as error:
                self._missed = True
                failed = now if failed is None else failed
                await asyncio.sleep(self._database_trouble.failed(error))
            await asyncio.sleep(self._timing.look_s)


class Typed(msgspec.Struct):
    """The field that all replies have."""

    type: str
