"""Starts the whole stack in order, keeps it running, and stops it in order.

    secrets → database, broker → migrations, API key → serials → API → gateway → alarms, evidence, worker → simulator,
    canary

Stopping goes the other way round, so that the simulator falls silent first and the gateway can drain what is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from deploy.stack import choose, logins, ports, scraping
from deploy.stack.canary import Canary
from deploy.stack.errors import StartError
from deploy.stack.example import Example
from deploy.stack.local import database
from deploy.stack.outside import check_broker, check_database
from deploy.stack.paths import BIN, BIOGATE, CHECKOUT, DATA, Paths, short
from deploy.stack.plant import Plant, PlantAccess
from deploy.stack.process import run_logged, with_death_signal
from deploy.stack.servers import Mosquitto
from deploy.stack.service import Module, Service, start_all
from schema.evidence.key_files import make_first
from schema.migrate import ALARMS, API, BACKUP, EVIDENCE, GATEWAY, LOGINS, OPERATOR, WORKER
from schema.owner import OWNER_FILE
from schema.private import write_over

GIVE_UP = 3
GIVE_UP_S = 30.0
"""A part that ends so often within this time (s) is not started again."""
HUNG_LOOKS = 30
"""A part that did not answer at so many looks, one a second, hangs: a start on a busy machine takes fewer."""
OTHER_LOGIN = ("BIOGATE_MQTT_USERNAME", "BIOGATE_MQTT_PASSWORD")
"""Variables for a broker of the user's own; our broker has other logins."""
KEY = ("key", "--name", "make up", "--organization", "main", "--role", "admin", "--replace")
"""Arguments that make the admin key of the user who has the checkout. Each start makes a new one."""
PERSON = "admin@localhost"
"""Who is logged in by the link that a start prints."""
PARTS = {
    "API": ("BIOGATE_API", 8000),
    "gateway": ("BIOGATE_GATEWAY_HTTP", 8001),
    "alarms": ("BIOGATE_ALARMS_HTTP", 8002),
    "worker": ("BIOGATE_WORKER_HTTP", 8005),
    "evidence": ("BIOGATE_EVIDENCE_HTTP", 8006),
}
"""Part → the begin of the names of its settings, and its usual port."""
WITHOUT_ENROLLMENT = (
    "  without enrollment, which needs BIOGATE_SECRETS_DIR (made by `biogate setup`; its directory broker/ "
    "is for your broker), BIOGATE_ENROLL_URL and BIOGATE_DEVICE_BROKER_URL"
)


@dataclass(frozen=True)
class Endpoints:
    """The addresses of all parts, for children and for `.stack/env`."""

    database: str
    mqtt: str
    api: str = ""
    gateway: str = ""
    alarms: str = ""
    worker: str = ""
    evidence: str = ""
    access: PlantAccess | None = None
    """None: the stack runs without enrollment."""
    logins: Mapping[str, str] = field(default_factory=dict)
    """The database URLs with the processes' own logins, by variable; empty: all use `database`."""
    owner: Path | None = None
    """The file with the URL of the database's owner."""
    api_key: Path | None = None

    def variables(self) -> dict[str, str]:
        return {
            "BIOGATE_API_URL": self.api,
            "BIOGATE_GATEWAY_URL": self.gateway,
            "BIOGATE_ALARMS_URL": self.alarms,
            "BIOGATE_WORKER_URL": self.worker,
            "BIOGATE_EVIDENCE_URL": self.evidence,
            "BIOGATE_MQTT_URL": self.mqtt,
            "BIOGATE_DATABASE_URL": self.database,
            **{name: url for name, url in self.logins.items() if name in {LOGINS[API], LOGINS[BACKUP]}},
            **({OWNER_FILE: str(self.owner)} if self.owner else {}),
            **({"BIOGATE_API_KEY_FILE": str(self.api_key)} if self.api_key else {}),
            **(self.access.variables() if self.access else {}),
        }


@dataclass(eq=False)
class Supervisor:
    """One stack by name. `say` takes a line for the user; `devices` at `rate` frames a second each are simulated, and
    tell a past of the length `history` first."""

    paths: Paths
    _: KW_ONLY
    devices: int
    rate: float
    history: str = ""
    canary: bool = True
    say: Callable[[str], None]
    environment: Mapping[str, str]
    services: list[Service] = field(default_factory=list, init=False)
    """The services in the order in which they were started."""
    endpoints: Endpoints = field(default=Endpoints("", ""), init=False)
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=5), init=False)
    _endings: dict[str, list[float]] = field(default_factory=dict, init=False)
    _silent: Counter[str] = field(default_factory=Counter, init=False)
    """At how many looks in a row a part has not answered."""
    _example: Example | None = field(default=None, init=False)
    _ports: set[int] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Start everything. Raises StackError; what was started by then is in `services` and has to be stopped."""
        for left in (self.paths.env, self.paths.owner):  # by a stack that was killed
            left.unlink(missing_ok=True)
        self._start_servers()
        at = {part: self._port(part, f"{prefix}_PORT", usual) for part, (prefix, usual) in PARTS.items()}
        api, gateway, alarms, worker, evidence = (_url(port) for port in at.values())
        self.endpoints = replace(
            self.endpoints,
            api=api,
            gateway=gateway,
            alarms=alarms,
            worker=worker,
            evidence=evidence,
            api_key=self.paths.key,
        )
        ours = self.endpoints.access is not None and not self.environment.get("BIOGATE_MQTT_URL")
        all_logins = {
            **{name: value for name, value in self.environment.items() if not (ours and name in OTHER_LOGIN)},
            **self.endpoints.variables(),
            **self.endpoints.logins,
            **{f"{prefix}_HOST": ports.LOOPBACK for prefix, _ in PARTS.values()},
            **{f"{prefix}_PORT": str(at[part]) for part, (prefix, _) in PARTS.items()},
            "BIOGATE_JOBS_DIR": self.environment.get("BIOGATE_JOBS_DIR") or str(DATA / self.paths.name / "jobs"),
            "BIOGATE_API_INSECURE_COOKIE": self.environment.get("BIOGATE_API_INSECURE_COOKIE") or "true",  # plain HTTP
            "PYTHONUNBUFFERED": "1",
            **self._broker_conf(),
            **self._evidence_key(),
        }
        self._once("migrations", ["migrate"], all_logins)
        environment = logins.of(OPERATOR, all_logins)
        self._once("API key", ["accounts", *KEY, "--to", str(self.paths.key)], environment)
        link = ["link", PERSON, "--url", api, "--hours", "24", "--to", str(self.paths.link), "--why", "make up"]
        self._once("link", ["accounts", *link], environment)
        plant = Plant(self.paths, self.devices, self.rate, self.endpoints.access, self.history)
        if self.devices:
            self._admit(plant.admission(), environment)
        drain_s = float(environment.get("BIOGATE_SHUTDOWN_TIMEOUT_S") or 30)

        def part(title: str, module: str, role: str, **given: Any) -> Module:
            return Module(self.paths, title, [module], environment=logins.of(role, all_logins), health=True, **given)

        self._add(
            part("API", "api", API, url=api, ready=_answers(api, "/health")),
            part(
                *("gateway", "gateway", GATEWAY), url=gateway, ready=_answers(gateway, "/ready"), deadline_s=drain_s + 5
            ),
            part("alarms", "gateway.alarms", ALARMS, url=alarms, ready=_answers(alarms, "/ready")),
            part("evidence", "gateway.evidence", EVIDENCE, url=evidence, ready=_answers(evidence, "/ready")),
            part("worker", "deploy.worker", WORKER, url=worker, ready=_answers(worker, "/ready")),
        )
        if self.devices:
            self._begin_example(plant, api)
            self._start_simulator(plant, environment)
        self._start_canary(environment)
        write_env(self.paths.env, self.endpoints.variables())
        urls = {service.title.lower(): service.url for service in self.services if service.url.startswith("http")}
        self.paths.prometheus.write_text(scraping.render(urls))

    def _evidence_key(self) -> dict[str, str]:
        """The key that signs the audit trails; made here if there are no secrets to have it among them. A key that was
        made here goes on to sign when there are: what it has signed needs no other."""
        directory = DATA / self.paths.name / "evidence"
        has_other = self.endpoints.access is not None and not directory.exists()
        if self.environment.get("BIOGATE_EVIDENCE_DIR") or has_other:
            return {}
        make_first(directory)
        return {"BIOGATE_EVIDENCE_DIR": str(directory)}

    def _start_servers(self) -> None:
        """Start database and broker at once, or check those that the environment names."""
        began = time.monotonic()
        postgres, mosquitto = choose.postgres(self.environment), choose.mosquitto(self.environment)
        started: list[Service] = []
        if postgres.source is choose.Source.ENVIRONMENT:
            self.say(f"{postgres}: {asyncio.run(check_database(postgres.where))}")
        else:
            self.say(str(postgres))
            started.append(database(self.paths, postgres, port=self._port("PostgreSQL", "BIOGATE_POSTGRES_PORT", 5432)))
        if mosquitto.source is choose.Source.ENVIRONMENT:
            access = PlantAccess.given(self.environment)
            self.say(f"{mosquitto}: {asyncio.run(check_broker(mosquitto.where, self.environment))}")
            if access is None:
                self.say(WITHOUT_ENROLLMENT)
        else:
            self.say(str(mosquitto))
            secure = self._broker(mosquitto)
            listeners = secure.enroll_port, secure.tls_port, secure.certificate_port
            enroll_url, device_url, certificate_url = (f"mqtts://localhost:{port}" for port in listeners)
            access = PlantAccess(self.paths.secrets, enroll_url, device_url, certificate_url)
            write_observer(self.paths.secrets, secure.port)
            started.append(secure)
        self._add(*started)
        urls = {service.title: service.url for service in started}
        ours = urls.get("PostgreSQL")
        own = logins.made(ours) if ours else {}
        given = None if ours else self.environment.get(OWNER_FILE)
        if not given:
            write_over(self.paths.owner, f"{ours or postgres.where}\n")
        self.endpoints = Endpoints(
            own[LOGINS[OPERATOR]] if ours else postgres.where,
            urls.get("Mosquitto", mosquitto.where),
            access=access,
            logins=own,
            owner=Path(given or self.paths.owner),
        )
        if started:
            self.say(f"{' and '.join(urls)} ready after {time.monotonic() - began:.1f} s")

    def _broker(self, choice: choose.Choice) -> Mosquitto:
        self._once("keys and passwords", ["setup", str(self.paths.secrets)], self.environment)
        return Mosquitto(
            choice.place,
            self.paths,
            program=choice.where,
            security=self.paths.secrets / "broker",
            port=self._port("Mosquitto", "BIOGATE_MQTT_PORT", 1883),
            tls_port=self._port("Mosquitto, devices", "BIOGATE_MQTTS_PORT", 8883),
            enroll_port=self._port("Mosquitto, enrollment", "BIOGATE_ENROLL_PORT", 8884),
            certificate_port=self._port("Mosquitto, certificates", "BIOGATE_CERTIFICATE_PORT", 8885),
        )

    def _broker_conf(self) -> dict[str, str]:
        """The setting that tells the gateway where to read the limits of our broker."""
        for service in self.services:
            if isinstance(service, Mosquitto):
                return {"BIOGATE_BROKER_CONF": str(service.data / "mosquitto.conf")}
        return {}

    def _begin_example(self, plant: Plant, api: str) -> None:
        if plant.is_new and plant.has_past:
            self._example = Example(api, self.paths.key)
            try:
                self._example.begin()
            except (OSError, ValueError) as error:
                self.notices.append(f"runs of the simulated controllers do not begin by themselves: {error}")

    def _start_simulator(self, plant: Plant, environment: Mapping[str, str]) -> None:
        if plant.factory_reset():
            self.say("Controllers' logins are for another port: they are reset, and enroll again")
        plant.remember()
        port = self._port("simulator", "BIOGATE_SIMULATOR_HTTP_PORT", 8004)
        environment = plant.environment(environment)
        self._add(Module(self.paths, "simulator", plant.simulator(port), environment=environment, url=_url(port)))

    def _start_canary(self, environment: Mapping[str, str]) -> None:
        """Start the canary, if database and broker are ours, so that we may create logins and organizations."""
        given = self.environment.get("BIOGATE_DATABASE_URL") or self.environment.get("BIOGATE_MQTT_URL")
        if not self.canary or given or self.endpoints.access is None:
            return
        port = self._port("canary", "BIOGATE_CANARY_HTTP_PORT", 8003)
        canary, url = Canary(self.paths, self.endpoints.access, port), _url(port)
        self._admit(canary.admission(), environment)
        canary.point()
        part = partial(Module, self.paths, environment=canary.environment(environment), health=True)
        self._add(part("canary", ["gateway.canary"], url=url, ready=_answers(url, "/health"), deadline_s=10))

    def _add(self, *services: Service) -> None:
        self.services += services
        start_all(*services)

    def _port(self, title: str, variable: str, usual: int) -> int:
        """The usual port or the next free one; a difference is reported."""
        wanted = int(self.environment.get(variable) or usual)
        port = ports.next_free(wanted, self._ports)
        if port != wanted:
            self.say(f"{title}: port {wanted} is taken, using {port}")
        self._ports.add(port)
        return port

    def _admit(self, commands: Mapping[str, list[str]], environment: Mapping[str, str]) -> None:
        """Run the commands by which a device gets access."""
        for title, arguments in commands.items():
            self._once(title, arguments, environment)

    def _once(self, title: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        """Run a command of `biogate` to its end. Raises StartError."""
        log = self.paths.log / f"{title.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        if code := run_logged(with_death_signal([*BIOGATE, *arguments]), log, env=environment, cwd=CHECKOUT):
            raise StartError(title, f"exit code {code}", log)

    def tend(self) -> None:
        """Start ended parts again, and bound the logs. Raises StartError for a part that keeps ending."""
        if self._example is not None:
            self._example.step()
        for service in self.services:
            service.process.bound_log()
            self._end_if_hung(service)
            if service.process.running:
                continue
            now = time.monotonic()
            endings = [at for at in self._endings.get(service.title, []) if now - at < GIVE_UP_S] + [now]
            self._endings[service.title] = endings
            if len(endings) >= GIVE_UP:
                often = f"the part ended {len(endings)} times in {GIVE_UP_S:g} s"
                raise StartError(service.title, f"{often}, at last with {service.process.ending}", service.log)
            self.notices.append(
                f"{time.strftime('%H:%M:%S')} {service.title} ended ({service.process.ending}) and was started again; "
                f"its last log: {short(service.log)}.1"
            )
            service.spawn()

    def _end_if_hung(self, service: Service) -> None:
        """Kill a part that did not answer at HUNG_LOOKS looks in a row; looks are counted, as we may have hung too."""
        silent = self._silent[service.title] + 1 if service.process.running and not service.is_alive() else 0
        self._silent[service.title] = silent
        if silent >= HUNG_LOOKS:
            self.notices.append(f"{time.strftime('%H:%M:%S')} {service.title} does not answer: it is killed")
            service.kill()
            self._silent[service.title] = 0

    def stop(self, hurry: Event) -> None:
        """Stop in reverse order, each part with its deadline, or at once when `hurry` is set. Never raises."""
        for path in (self.paths.env, self.paths.owner, self.paths.prometheus):
            path.unlink(missing_ok=True)
        for service in reversed(self.services):
            began = time.monotonic()
            if not service.process.running:
                self.say(f"  {service.title} was not running")
                continue
            ended, log = ("stopped", "") if service.stop(hurry) else ("killed", f"; its log: {short(service.log)}")
            self.say(f"  {service.title} {ended} after {time.monotonic() - began:.1f} s{log}")


def _url(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port}"


def _answers(url: str, path: str) -> Callable[[], bool]:
    return lambda: ports.answers(url + path)


def write_env(path: Path, variables: Mapping[str, str]) -> None:
    """Write variables as shell assignments, for the owner alone: one holds a password. PATH gets `biogate` alone."""
    BIN.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (BIN / "biogate").symlink_to(CHECKOUT / ".venv" / "bin" / "biogate")
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_over(path, "".join([*lines, f'PATH={shlex.quote(str(BIN))}:"$PATH"\n']))


def write_observer(secrets: Path, port: int) -> None:
    """Write options for mosquitto_sub, which reads them below XDG_CONFIG_HOME, because every user can see arguments."""
    password = (secrets / "observer.password").read_text().strip()
    options = [f"-h {ports.LOOPBACK}", f"-p {port}", "-u observer", f"-P {password}", "-I observer-", "-V 5"]
    (secrets / "observer").mkdir(mode=0o700, exist_ok=True)
    write_over(secrets / "observer" / "mosquitto_sub", "\n".join(options) + "\n")
