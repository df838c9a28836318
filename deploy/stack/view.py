"""Shows the stack while `make up` runs: as a live page on a terminal, elsewhere as a line every few seconds."""

from __future__ import annotations

import time
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.stack.accounting import CounterWindow, read
from deploy.stack.enrolled import EnrollmentProgress, ProgressReader
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


def watch(supervisor: Supervisor, console: Console) -> None:
    """Tend the stack and show it until interrupted, or until StackError."""
    window, began = CounterWindow(), time.monotonic()
    reader = ProgressReader(supervisor.endpoints.database) if supervisor.endpoints.access else None
    if not console.is_terminal:
        return watch_plainly(supervisor, console, window, reader)
    with Live(page(supervisor, window, None, 0), console=console, auto_refresh=False) as live:
        while True:
            enrolled = step(supervisor, window, reader)
            live.update(page(supervisor, window, enrolled, time.monotonic() - began), refresh=True)
            time.sleep(READ_S)


def watch_plainly(
    supervisor: Supervisor, console: Console, window: CounterWindow, reader: ProgressReader | None
) -> None:
    """Show the same in lines; the first comes early, so that a script sees at once that data flow. A changed number of
    enrolled controllers gets a line of its own."""
    say = partial(console.print, soft_wrap=True, highlight=False)
    next_line = time.monotonic() + 2
    before = None
    while True:
        enrolled = step(supervisor, window, reader)
        if enrolled is not None and enrolled != before:
            say(f"{time.strftime('%H:%M:%S')} controllers: {enrolled}")
            before = enrolled
        while supervisor.notices:
            say(supervisor.notices.popleft())
        if time.monotonic() >= next_line:
            say(line(window))
            next_line += LINE_S
        time.sleep(READ_S)


def step(supervisor: Supervisor, window: CounterWindow, reader: ProgressReader | None) -> EnrollmentProgress | None:
    supervisor.tend()
    reading = read(supervisor.endpoints.gateway, time.monotonic())
    if reading is not None:
        window.add(reading)
    return reader.read() if reader else None


def line(window: CounterWindow) -> str:
    """One line: rate, counts of all kinds, lag."""
    if not window.readings:
        return f"{time.strftime('%H:%M:%S')} the gateway does not answer"
    last = window.readings[-1]
    counts = " | ".join(f"{title} {last.total(state)}" for state, title in COLUMNS.items())
    return (
        f"{time.strftime('%H:%M:%S')} {window.rate('committed', 'frame'):.1f} frames/s | {counts} | "
        f"lag p50 {milliseconds(window.lag(0.5))} p99 {milliseconds(window.lag(0.99))}"
    )


def page(
    supervisor: Supervisor, window: CounterWindow, enrolled: EnrollmentProgress | None, running_s: float
) -> RenderableType:
    """The live page: parts with their addresses, the accounting, rate and lag, what happened lately."""
    parts = Table.grid(padding=(0, 2))
    urls = _addresses(supervisor)
    states = {service.title: _state(service.process.running, service.pid) for service in supervisor.services}
    for title in dict.fromkeys([*urls, *states]):
        parts.add_row(title, states.get(title, "[cyan]not ours[/]"), urls.get(title, ""))
    rows: list[RenderableType] = [
        Text("Biogate", style="bold"),
        parts,
        Text(),
        *([Text(f"Controllers: {enrolled}"), Text()] if enrolled else []),
        accounting(window),
        Text(),
        summary(window, running_s),
    ]
    rows += [Text(notice, style="yellow") for notice in supervisor.notices]
    places = f"Endpoints as shell variables: {short(supervisor.paths.env)}   Logs: {short(supervisor.paths.log)}"
    return Group(*rows, Text(f"{places}   Ctrl-C stops everything", style="dim"))


def accounting(window: CounterWindow) -> Table:
    """The accounting by kind: received = committed + duplicates + quarantined + discarded + in flight."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for kind, title in KINDS.items():
        counts = [window.readings[-1].total(state, kind) if window.readings else 0 for state in COLUMNS]
        table.add_row(title, *(f"{n:,}" for n in counts))
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
    }


def _state(running: bool, pid: int) -> str:
    return f"[green]running[/] {pid}" if running else "[red]ended[/]"
