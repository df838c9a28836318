"""The path of a message, wired on this page.

    broker ──▶ session ──▶ window ──▶ decode, admit ──▶ batch ──▶ write ──▶ acknowledge ──▶ broker
               MQTT 5      bounded    bytes → items,    grows     COPY,     PUBACK in
                           in bytes   or rejects        while     commit    order of receipt
                                                        writing
               broker/     broker/    intake/           intake/   storage/
               session     window     decode, admit     batch     write, transaction
               connection                 │                           │
                                      intake/registry             storage/conflict, storage/encode
                                      devices, channels, layouts

Three tasks, each waiting for the next when it is full: the session puts messages into the window, the decoder takes
them from there into the open batch, the writer takes the batch, commits it and acknowledges its messages. While nothing
can be committed the batch fills, then the window; then the socket is not read, and the broker keeps the rest.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
import structlog

from gateway import metrics
from gateway.broker.address import BrokerLogin
from gateway.broker.outbox import Outbox
from gateway.broker.session import IntakeSession
from gateway.broker.window import IntakeWindow
from gateway.errors import Rejected, ShutdownTimedOut
from gateway.intake import accounting
from gateway.intake.admit import Admission, Missing
from gateway.intake.batch import Batcher
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject
from gateway.items import Delivery, Item, by_type
from gateway.leader import CellLead
from gateway.receipts.receipts import Receipts
from gateway.runtime.database import Pool, Troubles, retry_until_it_works
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from gateway.storage.quota import Quota
from gateway.storage.write import Writer
from gateway.upkeep.beat import IntakeBeat
from gateway.upkeep.news import CommitNews
from schema.reasons import Reason
from schema.topics import Kind

log = structlog.get_logger()

DECODED_AT_ONCE = 256
DECODED_BYTES = 2**18
"""Messages, and their bytes, that are decoded before other tasks get a turn: a few blocks are many frames."""
LAST_RECEIPTS_S = 2.0
"""Longest time that a shutdown waits for the broker to acknowledge the last receipts."""


class Pipeline:
    """Takes messages from the broker, stores them and acknowledges them: the three tasks of the drawing above."""

    def __init__(self, settings: Settings, pool: Pool, registry: Registry, login: BrokerLogin, chunk_ms: float) -> None:
        self._settings = settings
        self._registry = registry
        self._admission = Admission(settings, registry)
        self._window = IntakeWindow(settings.window_bytes)
        self._batcher = Batcher(settings.batch_frames, settings.batch_bytes, settings.linger_ms / 1000)
        self._troubles: Troubles = {}
        self._writer = Writer(
            pool,
            registry,
            self._troubles,
            cell=settings.cell,
            chunk_ms=chunk_ms,
            max_chunks=settings.batch_chunks,
            keep=Quota(settings.quarantine_bytes, settings.quarantine_rows, settings.quarantine_total_bytes).keep,
        )
        self._outbox = Outbox()
        self._lead = CellLead(settings, self._troubles)
        self.leading = self._lead.leading
        self._receipts = Receipts(settings, pool, self._outbox, self._window, self._troubles, leading=self.leading)
        self._session = IntakeSession(
            *(settings, login, self._window, self._outbox, self._receipts.connected),
            before_connect=registry.forget_newest,
        )
        self._beat = IntakeBeat(settings, pool, lambda: self._session.subscribed and not self._window.bytes)
        self._news = CommitNews(settings)
        metrics.WAITING_MESSAGES.set_function(lambda: self._window.waiting)
        metrics.WAITING_BYTES.set_function(lambda: self._window.bytes)
        metrics.WINDOW_LIMIT.set(settings.window_bytes)
        metrics.UNACKNOWLEDGED.set_function(lambda: self._session.unacknowledged)
        metrics.RECEIVE_MAXIMUM.set(settings.receive_maximum)

    @property
    def troubles(self) -> list[str]:
        """The reasons why messages cannot be received and committed just now; empty while they can."""
        unconnected = [] if self._session.subscribed else ["not connected to the broker"]
        return unconnected + list(self._troubles.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages until `stop`; then drain: commit and acknowledge what was received, and take nothing else.

        Raises ShutdownTimedOut if the drain takes too long, SessionTakenOver if another client took the session over.
        """
        async with asyncio.TaskGroup() as group:
            lead = group.create_task(self._lead.hold(self._session), name="lead")
            session = group.create_task(self._session.run(), name="session")
            receipts = group.create_task(self._receipts.run(self._session.publish), name="receipts")
            decoder = group.create_task(self._decode(), name="decode")
            writer = group.create_task(self._write(), name="write")
            beat = group.create_task(self._beat.run(), name="beat")
            news = group.create_task(self._news.run(), name="news")
            await stop.wait()
            log.info("stopping: no more messages are taken", waiting=self._window.waiting)
            self._session.stop_intake()
            self._window.close()
            try:
                async with asyncio.timeout(self._settings.shutdown_timeout_s):
                    await decoder
                    await self._batcher.close()
                    await writer
                    self._receipts.close()
                    await receipts
            except TimeoutError as error:
                raise ShutdownTimedOut(
                    f"not all received messages could be committed in {self._settings.shutdown_timeout_s:g} s; "
                    "the broker has them still, unacknowledged"
                ) from error
            if self._session.subscribed:  # a device that misses its last receipt gets it at the next start
                await wait_at_most(LAST_RECEIPTS_S, self._outbox.empty)
            await self._session.leave()
            await session
            beat.cancel()
            news.cancel()
            lead.cancel()

    # -- decode

    async def _decode(self) -> None:
        """Decode messages from the window into the open batch, until the window is closed and empty."""
        while True:
            await self._batcher.room()
            deliveries = await self._window.take(DECODED_AT_ONCE, DECODED_BYTES)
            if not deliveries:
                return
            unknown = self._admission.unknown_devices({delivery.topic for delivery in deliveries})
            if unknown:
                await retry_until_it_works(self._troubles, "find devices", self._registry.find, unknown)
            items = await self._admit_all(deliveries)
            self._batcher.add(deliveries, items)
            accounting.received(items)
            await self._batcher.flush()
            await asyncio.sleep(0)

    async def _admit_all(self, deliveries: list[Delivery]) -> list[Item]:
        """The items of all deliveries, in order. All mappings that the registry lacks are looked for at once."""
        admit = self._admission.admit
        while True:
            admitted: list[Item] = []
            missing = []
            for delivery in deliveries:
                try:
                    admitted += admit(delivery)
                except Missing as lack:
                    missing.append(lack.wanted)
                except Exception as error:  # a defect of the gateway: the message is not lost, and harms no other
                    log.exception("a message could not be admitted", topic=delivery.topic)
                    admitted.append(reject(delivery, Rejected(Reason.REFUSED, repr(error))))
            if not missing:
                return admitted
            await retry_until_it_works(self._troubles, "intern layouts", self._registry.map, missing)

    # -- write, acknowledge

    async def _write(self) -> None:
        """Commit and acknowledge batch after batch, until the batcher is closed and empty."""
        while (batch := await self._batcher.take()) is not None:
            begun = time.monotonic()
            with metrics.WRITER_BUSY():
                outcome = await self._writer.write(batch.items)
            accounting.settled(batch.items, outcome)
            self._receipts.note(batch.items, outcome.unkept)
            self._beat.committed(batch.items[-1].received_ms)
            self._news.committed(outcome.transaction_id, +outcome.committed)
            for connection, packet_ids in batch.acks.items():
                connection.acknowledge(packet_ids)
            self._window.release(batch.bytes)
            metrics.LAST_COMMIT.set(time.time())
            metrics.COMMIT.observe(time.monotonic() - begun)
            metrics.BATCH.observe(len(batch.items))
            frames = by_type(batch.items).frames
            live = [frame.t for frame in frames if frame.route.kind is Kind.TELEMETRY]
            metrics.LAG.observe(time.time() - np.array(live) / 1000)
