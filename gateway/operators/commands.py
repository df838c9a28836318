"""`biogate devices …`: devices and their logins. What the commands do is in gateway/operators/."""

from __future__ import annotations

from gateway.operators import devices, enrollments, logins, serials, streams
from schema.command_line import commands, start

app = commands(
    "Devices, their logins, and the controllers that may enroll. Tables begin with a line of headings; in a pipe their "
    "cells are told apart by tabs."
)

app.command()(devices.register)
app.command("list")(devices.list_devices)
app.command()(devices.show)
for action in devices.CONSEQUENCES:
    app.command(action)(devices.device_command(action))
app.command("rebuild-streams")(streams.rebuild_streams)
app.command("declare-lost")(streams.declare_lost)

app.command()(logins.login)
app.command()(logins.provision)
app.command()(logins.logins)
app.command()(logins.logout)

app.command()(enrollments.queue)
app.command()(enrollments.approve)
app.command()(enrollments.deny)
app.command("open")(enrollments.open_)
app.command("close")(enrollments.close)

app.command("claim-keys")(serials.claim_keys)
app.command("import")(serials.import_)
app.command()(serials.imports)
app.command("serials")(serials.list_serials)
app.command()(serials.block)
app.command()(serials.unblock)

if __name__ == "__main__":
    start(app, "biogate devices")
