"""A controller that publishes without a pause: QoS 1, many messages under way, resumed after a broken connection."""

from __future__ import annotations

import threading
import time

import msgpack
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.processes import wait_until


class Publisher:
    """Publishes frames of one channel, `seq` from 0 and a millisecond apart, until stopped. What the broker has not
    acknowledged when a connection breaks is published again by the client library."""

    def __init__(
        self, port: int, device: str = "r1", *, pause_s: float = 0.0005, padding: int = 0, first_ms: int = 0
    ) -> None:
        self.device = device
        self.published = 0
        self.first_ms = first_ms or int(time.time() * 1000) - 3_600_000
        self._pause_s = pause_s
        self._padding = "x" * padding
        self._stop = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"controller-{device}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._acknowledged = 0
        self._client.on_publish = self._on_publish
        self._client.max_inflight_messages_set(1000)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def unacknowledged(self) -> int:
        """Messages the broker has not acknowledged yet."""
        return self.published - self._acknowledged

    def _on_publish(self, *_: object) -> None:
        self._acknowledged += 1

    def wait_published(self, count: int) -> None:
        wait_until(lambda: self.published >= count, 30)

    def stop(self) -> int:
        """Publish no more; the number published, when the broker has acknowledged all of them."""
        if self._stop.is_set():
            return self.published
        self._stop.set()
        self._thread.join()
        wait_until(lambda: self.unacknowledged == 0, 30, lambda: f"{self.unacknowledged} unacknowledged")
        self._client.disconnect()
        self._client.loop_stop()
        return self.published

    def _run(self) -> None:
        while not self._stop.is_set():
            payload = msgpack.packb(
                {
                    "boot": 1,
                    "seq": self.published,
                    "t": self.first_ms + self.published,
                    "v": {"ph": float(self.published)},
                    "padding": self._padding,
                }
            )
            self._client.publish(f"bioreactors/{self.device}/telemetry", payload, qos=1)
            self.published += 1
            time.sleep(self._pause_s)
