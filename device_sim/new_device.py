"""Plays one unknown controller: `biogate sim new-device --claims FILE …`. It knocks, waits, and then publishes.

Writes JSON lines to standard output: first its serial and the fingerprint that its display shows, to compare with the
gateway's queue, then the summaries of `biogate sim`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.claims import read_claims
from device_sim.enroll import open_keepers, show, warn
from device_sim.entrance import Pace, PlantGate
from device_sim.identity import Keeper
from schema.enrollment import fingerprint


def main(  # noqa: PLR0917 - typer's options
    enroll: Annotated[
        str, typer.Option(envvar="BIOGATE_ENROLL_URL", help="listener for enrollment, mqtts://host:port")
    ],
    claims: Annotated[Path, typer.Option(help="CSV: serial,claim_key,version; made by `devices claim-keys`")],
    ca: Annotated[Path, typer.Option(envvar="BIOGATE_MQTT_CA_FILE", help="certificate of the plant's CA")],
    enroll_password_file: Annotated[
        Path, typer.Option(envvar="BIOGATE_ENROLL_PASSWORD_FILE", help="file: password of the login enroll")
    ],
    state: Annotated[Path, typer.Option(help="directory of the device's files")],
    serial: Annotated[str | None, typer.Option(help="which of the claims; default: the first")] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="ask for a certificate, not a password")] = False,
    rate: Annotated[float, typer.Option(min=0.001, max=500, help="frames a second")] = 1.0,
    seed: Annotated[int, typer.Option(help="the same seed, name and times give the same signals")] = 1,
    count: Annotated[int | None, typer.Option(min=0, help="stop after so many frames")] = None,
    repeat_after: Annotated[float, typer.Option(min=0.1, help="seconds until a request is repeated")] = 2.0,
) -> None:
    """Play one controller that nobody knows: print its fingerprint, wait for approval, publish."""
    try:
        pace = Pace(repeat=repeat_after)
        gate = PlantGate.at(enroll, ca, enroll_password_file, certificate=certificate, pace=pace, slots=1)
        known = [claim for claim in read_claims(claims, warn) if serial in {None, claim.serial}]
        if not known:
            raise ValueError(f"{claims} has no claim of {serial}")
        [keeper] = open_keepers(state, known[:1], [])
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    show({"serial": keeper.serial, "fingerprint": shown(keeper), "approved": keeper.state.newest is not None})
    from device_sim.fleet import Plan  # noqa: PLC0415 - with SciPy: half a second that the other words do without
    from device_sim.running import run  # noqa: PLC0415

    plan = Plan(
        names=[keeper.serial],
        boots=[0],
        broker=gate,
        keepers=[keeper],
        rate=rate,
        frames=count,
        named_first=True,
        seed=seed,
        state=state,
        store=100_000,
    )
    summary = run(plan, "", None)
    raise typer.Exit(1 if any(summary[what] for what in ("unacknowledged", "lost")) else 0)


def shown(keeper: Keeper) -> str:
    """The fingerprint on the controller's display."""
    key = Ed25519PrivateKey.from_private_bytes(keeper.state.controller.identity)
    return fingerprint(key.public_key().public_bytes_raw())
