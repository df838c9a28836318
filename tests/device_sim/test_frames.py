"""Messages of frames fit into what a broker takes."""

from __future__ import annotations

import pytest

from device_sim.frames import Format, SimulatedFrame, message
from device_sim.outbox import LIVE, REPLAY_BLOCK
from gateway.settings import Settings
from schema.messages import MOST_PACKET


@pytest.mark.parametrize("form", Format)
def test_the_largest_block_fits_into_a_packet(form: Format) -> None:
    """It has the most frames that the simulator puts in a message, and the most channels, with the longest names."""
    channels = [f"{n:03}".ljust(64, "x") for n in range(Settings.model_fields["max_channels"].default)]
    values = [-1.2345678901234567e-100] * len(channels)
    frames = [SimulatedFrame(2**32 - 1, 2**52 + n, 1.8e12 + n / 7, values) for n in range(max(LIVE, REPLAY_BLOCK))]
    assert len(form.encode(message(frames, channels))) < MOST_PACKET - 300
