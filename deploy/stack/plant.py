"""The simulated plant: its controllers, and how they get access."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.errors import StackError
from deploy.stack.paths import DATA, Paths
from device_sim.claims import read_claims
from device_sim.enroll import open_keepers
from device_sim.plant_memory import NAME as MEMORY

HISTORY = "30d"
"""The past that a new plant tells."""
HISTORY_EVERY_S = 60


@dataclass(frozen=True)
class PlantAccess:
    """The addresses at which controllers enroll and connect, and the directory made by `biogate setup`."""

    secrets: Path
    enroll_url: str
    device_url: str
    certificate_url: str = ""
    ca: Path | None = None

    @classmethod
    def given(cls, environment: Mapping[str, str]) -> PlantAccess | None:
        """Access to a broker of the user's own, or None if a setting that enrollment needs is missing."""
        secrets, enroll_url = environment.get("BIOGATE_SECRETS_DIR"), environment.get("BIOGATE_ENROLL_URL")
        device_url = environment.get("BIOGATE_DEVICE_BROKER_URL")
        if not (secrets and enroll_url and device_url):
            return None
        ca = environment.get("BIOGATE_MQTT_CA_FILE") or Path(secrets) / "ca.pem"
        certificate_url = environment.get("BIOGATE_DEVICE_CERTIFICATE_BROKER_URL", "")
        return cls(Path(secrets).resolve(), enroll_url, device_url, certificate_url, Path(ca).resolve())

    def variables(self) -> dict[str, str]:
        """Variables for gateway, API, commands, and `.stack/env`. They hold no secret."""
        certificates = {"BIOGATE_DEVICE_CERTIFICATE_BROKER_URL": self.certificate_url} if self.certificate_url else {}
        return {
            "BIOGATE_SECRETS_DIR": str(self.secrets),
            "BIOGATE_MQTT_CA_FILE": str(self.ca or self.secrets / "ca.pem"),
            "BIOGATE_API_SECRET_FILE": str(self.secrets / "api.secret"),
            "BIOGATE_ENROLL_URL": self.enroll_url,
            "BIOGATE_ENROLL_PASSWORD_FILE": str(self.secrets / "enroll.password"),
            "BIOGATE_DEVICE_BROKER_URL": self.device_url,
            **certificates,
        }


@dataclass(frozen=True)
class Plant:
    """`devices` controllers, each at `rate` frames a second, with a past of the length `history`, if any. Without
    `access` they are registered by hand, and connect to BIOGATE_MQTT_URL with the login of the environment, or none."""

    paths: Paths
    devices: int
    rate: float
    access: PlantAccess | None
    history: str = ""

    @property
    def state(self) -> Path:
        """The directory of the controllers' claim and identity keys, logins, boot counters, frames without a
        receipt."""
        return DATA / self.paths.name / "simulator"

    @property
    def claims(self) -> Path:
        return self.state / "claims.csv"

    def admission(self) -> dict[str, list[str]]:
        """The commands that make the gateway accept these devices, by title."""
        if self.access is None:
            names = [f"sim-{number:04}" for number in range(1, self.devices + 1)]
            return {"device registration": ["devices", "register", *names]}
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)
        self.claims.unlink(missing_ok=True)  # the number of devices may have changed
        make = ["devices", "claim-keys", "--prefix", "sim-", "--count", str(self.devices)]
        take = ["devices", "import", str(self.claims), "--name", "simulator"]
        why = ["--why", "make up", "--who", "make up"]
        return {"claim keys": [*make, "--to", str(self.claims)], "import of serials": [*take, *why]}

    def simulator(self, http_port: int) -> list[str]:
        fleet = ["--devices", str(self.devices), "--rate", str(self.rate), "--http-port", str(http_port)]
        past = ["--since", self.history, "--since-every", str(HISTORY_EVERY_S)] if self.has_past else []
        return ["device_sim", *fleet, *past, *self._options()]

    def factory_reset(self) -> bool:
        """Reset the controllers whose logins name another address of the broker, and return whether there are any.

        They forget their login, and the frames that they had not sent yet. A controller that may not enroll again, as
        it was revoked, stays without a login.
        """
        if self.access is None or not self._address.exists() or self._address.read_text() == self.access.device_url:
            return False
        known = {path.stem for path in self.state.glob("*.identity")}
        try:
            claims = [claim for claim in read_claims(self.claims, lambda _: None) if claim.serial in known]
            open_keepers(self.state, claims, [claim.serial for claim in claims])
        except (ValueError, OSError) as error:
            raise StackError(f"the simulated controllers' files cannot be used: {error}") from error
        return bool(claims)

    def remember(self) -> None:
        """Note the address that the logins name."""
        if self.access is not None:
            self._address.write_text(self.access.device_url)

    @property
    def has_past(self) -> bool:
        """Whether the controllers tell a past: not those that published before they remembered until when."""
        remembers = (self.state / MEMORY).exists() or not any(self.state.glob("*.boot"))
        return bool(self.history) and remembers

    @property
    def is_new(self) -> bool:
        """Whether none of the controllers has published yet."""
        return not any(self.state.glob("*.boot"))

    @property
    def _address(self) -> Path:
        return self.state / "broker"

    def _options(self) -> list[str]:
        state = ["--state", str(self.state)]
        if self.access is None:
            return state
        return [
            *state,
            *("--enroll", self.access.enroll_url, "--claims", str(self.claims)),
            *("--ca", str(self.access.ca or self.access.secrets / "ca.pem")),
            *("--enroll-password-file", str(self.access.secrets / "enroll.password")),
        ]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Environment of the simulator. Controllers know only what they were given."""
        if self.access is None:
            return dict(environment)
        return {name: value for name, value in environment.items() if not name.startswith("BIOGATE_")}
