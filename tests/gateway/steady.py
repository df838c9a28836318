"""A device that goes on as it should, whatever the others do."""

from __future__ import annotations

import threading
import time

import msgpack
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.processes import wait_until


class GoodDevice:
    """Fifty frames a second, each with the time at which it was sent."""

    def __init__(self, port: int) -> None:
        self._stop = threading.Event()
        self._published: list[paho.MQTTMessageInfo] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The number of frames sent, when the broker has all of them."""
        self._stop.set()
        self._thread.join()
        wait_until(lambda: all(frame.is_published() for frame in self._published), 30)
        self._client.disconnect()
        self._client.loop_stop()
        return len(self._published)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            frame = {"boot": 1, "seq": len(self._published), "t": time.time() * 1000, "v": {"ph": 7.0}}
            content = msgpack.packb(frame)
            self._published.append(self._client.publish("bioreactors/good/telemetry", content, qos=1))
