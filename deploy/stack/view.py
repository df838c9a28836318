"""Shows the stack while `make up` runs: as a live page on a terminal, elsewhere as a line every few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.stack.accounting import CounterWindow, read
from deploy.stack.durable import DurableFigures, DurableReader, StoredCounts
from deploy.stack.paths import short
from deploy.stack.supervisor import Supervisor

READ_S = 1.0
LINE_S = 5.0
KINDS = {"frame": "frames", "status": "statuses", "event": "events"}
COLUMNS = {
    "received": "received",
    "committed": "committed",
    "duplicate": "duplicates",
    "quarantined": "quarantined",
    "discarded": "discarded",
    "in_flight": "in flight",
}


@dataclass
class PlantView:
    """What was read last of a stack. What the gateway counts begins anew with each gateway, so the totals are the
    database's; only what is in flight, rates and lags are the gateway's."""

    supervisor: Supervisor
    window: CounterWindow = field(default_factory=CounterWindow)
    stored: StoredCounts = field(default_factory=dict)
    enrolled: str = ""
    """How far enrollment has come, in words; empty without enrollment."""

    def __post_init__(self) -> None:
        self._reader = DurableReader(self.supervisor.endpoints.database)

    def step(self) -> None:
        """Tend the stack, and read all figures that can be read just now."""
        self.supervisor.tend()
        reading = read(self.supervisor.endpoints.gateway, time.monotonic())
        if reading is not None:
            self.window.add(reading)
        figures: DurableFigures | None = self._reader.read()
        if figures is not None:
            self.stored = figures.stored
            self.enrolled = str(figures.progress) if self.supervisor.endpoints.access else ""

    def total(self, state: str, kind: str | None = None) -> int:
        """The count in a state, of one kind or of all. What was received is what has become of it, and is in flight."""
        if state == "received":
            return sum(self.total(other, kind) for other in COLUMNS if other != state)
        if state == "in_flight":
            return self.window.readings[-1].total(state, kind) if self.window.readings else 0
        return int(sum(count for (of, which), count in self.stored.items() if of == state and kind in {None, which}))


def watch(supervisor: Supervisor, console: Console) -> None:
    """Tend the stack and show it until interrupted, or until StackError."""
    view, began = PlantView(supervisor), time.monotonic()
    if not console.is_terminal:
        return watch_plainly(view, console)
    with Live(page(view, 0), console=console, auto_refresh=False) as live:
        while True:
            view.step()
            live.update(page(view, time.monotonic() - began), refresh=True)
            time.sleep(READ_S)


def watch_plainly(view: PlantView, console: Console) -> None:
    """Show the same in lines; the first comes early, so that a script sees at once that data flow. A changed number of
    enrolled controllers gets a line of its own."""
    say = partial(console.print, soft_wrap=True, highlight=False)
    next_line = time.monotonic() + 2
    before = ""
    while True:
        view.step()
        if view.enrolled != before:
            say(f"{time.strftime('%H:%M:%S')} controllers: {view.enrolled}")
            before = view.enrolled
        while view.supervisor.notices:
            say(view.supervisor.notices.popleft())
        if time.monotonic() >= next_line:
            say(line(view))
            next_line += LINE_S
        time.sleep(READ_S)


def line(view: PlantView) -> str:
    """One line: rate, counts of all kinds, lag."""
    window = view.window
    if not window.readings:
        return f"{time.strftime('%H:%M:%S')} the gateway does not answer"
    counts = " | ".join(f"{title} {view.total(state)}" for state, title in COLUMNS.items())
    return (
        f"{time.strftime('%H:%M:%S')} {window.rate('committed', 'frame'):.1f} frames/s | {counts} | "
        f"lag p50 {milliseconds(window.lag(0.5))} p99 {milliseconds(window.lag(0.99))}"
    )


def page(view: PlantView, running_s: float) -> RenderableType:
    """The live page: parts with their addresses, the accounting, rate and lag, what happened lately."""
    supervisor = view.supervisor
    parts = Table.grid(padding=(0, 2))
    urls = _addresses(supervisor)
    states = {service.title: _state(service.process.running, service.pid) for service in supervisor.services}
    for title in dict.fromkeys([*urls, *states]):
        parts.add_row(title, states.get(title, "[cyan]not ours[/]"), urls.get(title, ""))
    rows: list[RenderableType] = [
        Text("Biogate", style="bold"),
        parts,
        Text(),
        *([Text(f"Controllers: {view.enrolled}"), Text()] if view.enrolled else []),
        accounting(view),
        Text(),
        summary(view.window, running_s),
    ]
    rows += [Text(notice, style="yellow") for notice in supervisor.notices]
    places = f"Endpoints as shell variables: {short(supervisor.paths.env)}   Logs: {short(supervisor.paths.log)}"
    return Group(*rows, Text(f"{places}   Ctrl-C stops everything", style="dim"))


def accounting(view: PlantView) -> Table:
    """The accounting by kind: received = committed + duplicates + quarantined + discarded + in flight."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for kind, title in KINDS.items():
        table.add_row(title, *(f"{view.total(state, kind):,}" for state in COLUMNS))
    return table


def summary(window: CounterWindow, running_s: float) -> Text:
    rate, p50, p99 = window.rate("committed", "frame"), milliseconds(window.lag(0.5)), milliseconds(window.lag(0.99))
    lag = f"lag publish → commit: p50 {p50}, p99 {p99}"
    return Text(f"{rate:,.1f} frames/s   {lag}   (last {window.span_s:.0f} s; up {running_s:.0f} s)")


def milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.0f} ms"


def _addresses(supervisor: Supervisor) -> dict[str, str]:
    """The addresses without passwords, because the page may be on a projector."""
    at = supervisor.endpoints
    login, _, rest = at.database.rpartition("@")
    database = f"{login.rpartition(':')[0]}@{rest}" if login.count(":") > 1 else at.database
    devices = f"\ndevices {at.access.device_url}, enrollment {at.access.enroll_url}" if at.access else ""
    return {
        "PostgreSQL": database,
        "Mosquitto": at.mqtt + devices,
        "API": at.api,
        "gateway": at.gateway,
        "alarms": at.alarms,
        "worker": at.worker,
        "evidence": at.evidence,
        **{part.title: part.url for part in supervisor.services if part.title in {"simulator", "canary"}},
    }


def _state(running: bool, pid: int) -> str:
    return f"[green]running[/] {pid}" if running else "[red]ended[/]"
