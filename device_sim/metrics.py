"""All metrics of the simulator: the counts of its fleet, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, Info, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Summary = Callable[[], Mapping[str, object]]

COUNTERS = {
    "biogate_sim_produced_frames": ("produced", "frames produced by the devices"),
    "biogate_sim_recovered_frames": ("recovered", "frames found in the devices' stores at the start"),
    "biogate_sim_acknowledged_frames": ("acknowledged", "frames acknowledged by the broker, or covered by a receipt"),
    "biogate_sim_receipted_frames": ("receipted", "frames covered by a receipt of the gateway"),
    "biogate_sim_replayed_frames": ("replayed", "frames sent from a device's store"),
    "biogate_sim_asked_frames": ("asked", "frames that the gateway has asked for"),
    "biogate_sim_lost_frames": ("lost", "frames thrown away because a store was full"),
    "biogate_sim_receipts": ("receipts", "receipts received"),
    "biogate_sim_commands": ("commands", "commands received"),
    "biogate_sim_reconnects": ("reconnects", "times a device has connected again"),
    "biogate_sim_events": ("events_produced", "events produced by the devices"),
}
GAUGES = {
    "biogate_sim_devices": ("devices", "simulated devices"),
    "biogate_sim_connected_devices": ("connected", "simulated devices that are connected"),
    "biogate_sim_nameless_devices": ("nameless", "simulated devices that have no login yet"),
    "biogate_sim_unreceipted_frames": ("unreceipted", "frames that no receipt covers yet, and which devices keep"),
    "biogate_sim_behind_seconds": ("behind_seconds", "how much later than due the newest frames were produced"),
}


class FleetCollector(Collector):
    """Exports the fleet's summary, read at each scrape; without a fleet it exports no values."""

    def __init__(self) -> None:
        self.summary: Summary = dict
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        now = self.summary()
        for family, names in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for name, (key, documentation) in names.items():
                value = now.get(key)
                yield family(name, documentation, value=float(value) if isinstance(value, int | float) else None)


FLEET = FleetCollector()
BUILD = Info("biogate_sim_build", "version of the simulator")
BUILD.info({"version": version("biogate")})


def serve(host: str, port: int, summary: Summary) -> WSGIServer:
    """Serve scrapes in a thread, at any path. Raises OSError if the address is taken."""
    FLEET.summary = summary
    server, _ = start_http_server(port, host)
    return server
