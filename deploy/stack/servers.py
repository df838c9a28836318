"""Runs PostgreSQL with TimescaleDB, and Mosquitto, as private servers with data, port and log of their own.

Both are context managers:

    with Postgres(place, Paths("mine"), port=any_free()) as database:
        connect(database.url)
"""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

from deploy.stack.conf import Changes, plugin_path, render
from deploy.stack.errors import StartError
from deploy.stack.paths import MOSQUITTO_CONF, POSTGRES_CONF, Paths
from deploy.stack.place import Place
from deploy.stack.ports import LOOPBACK, is_free, listens
from deploy.stack.process import Process, until
from deploy.stack.service import Service

DATABASE = "biogate"
LOGINS = "dynamic-security.json"
CLOSING_S = 2.0
"""Seconds in which the kernel closes the sockets of a process that has ended. It may release the lock file first."""


class StackServer(Service):
    """The base of both servers."""

    user: str
    stop_signal = signal.SIGTERM
    """The signal that asks the server to end."""

    def __init__(self, place: Place, paths: Paths, name: str, *, port: int, deadline_s: float) -> None:
        self.place, self.port = place, port
        self.data = place.data / paths.name / name
        super().__init__(paths, name, deadline_s=deadline_s)

    def command(self) -> list[str]:
        """The command line, as the place sees it."""
        raise NotImplementedError

    @property
    def ports(self) -> list[int]:
        return [self.port]

    def prepare(self) -> None:
        for port in self.ports:
            if not until(partial(is_free, port), CLOSING_S):
                raise StartError(self.title, f"port {port} is taken")

    def new_process(self) -> Process:
        argv = self.place.command(self.command(), self.user, self.stop_signal)
        return self.process_of(argv, stop_signal=self.stop_signal, wrapped=self.place.wraps)


class Postgres(StackServer):
    """PostgreSQL 17 with TimescaleDB and the database `biogate`, owned by the superuser `biogate`.

    `settings` go to the command line and so override deploy/postgresql.conf. The password is made at the first start
    and kept beside the data, because loopback is open to every user of the machine.
    """

    title = "PostgreSQL"
    user = "postgres"
    stop_signal = signal.SIGINT  # "fast" shutdown ends sessions; SIGTERM would wait for clients to leave

    def __init__(
        self,
        place: Place,
        paths: Paths,
        *,
        port: int,
        programs: str = "/usr/lib/postgresql/17/bin",
        settings: Mapping[str, str] | None = None,
        name: str = "postgres",
    ) -> None:
        self.programs, self.settings = programs, dict(settings or {})
        super().__init__(place, paths, name, port=port, deadline_s=30)

    @property
    def url(self) -> str:
        password = quote((self.data / "password").read_text(), safe="")
        return f"postgresql://{DATABASE}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def cluster(self) -> Path:
        return self.data / "17"

    def command(self) -> list[str]:
        settings = {
            "config_file": self.place.inside(self.data / "postgresql.conf"),
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # nothing is written outside the data directory
            "dynamic_shared_memory_type": "mmap",  # the private root has no /dev/shm
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [f"{self.programs}/postgres", "-D", self.place.inside(self.cluster), *options]

    def prepare(self) -> None:
        super().prepare()
        self.data.mkdir(parents=True, exist_ok=True)
        if not self.cluster.exists():
            self._initialise()
        shutil.copyfile(POSTGRES_CONF, self.data / "postgresql.conf")
        self.place.show(self.data / "postgresql.conf", self.user)
        # A crash leaves this file, and its number may be another process by now. The lock says that no server runs.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        """Run initdb under another name and rename when complete: an interrupted one must not be taken for a whole."""
        new = self.cluster.with_name("17.new")
        shutil.rmtree(new, ignore_errors=True)
        self.place.make(new, self.user)
        initdb = [
            f"{self.programs}/initdb", "-D", self.place.inside(new), "-U", DATABASE, "-E", "UTF8", "--locale=C.UTF-8",
            "--auth=scram-sha-256", f"--pwfile={self.place.inside(self.password())}",
        ]  # fmt: skip
        self.place.run(initdb, self.user)
        self.run_single(new, f"CREATE DATABASE {DATABASE}")
        new.rename(self.cluster)

    def password(self) -> Path:
        """The file with the password, which is made if it is not there."""
        file = self.data / "password"
        if not file.exists():
            file.write_text(secrets.token_urlsafe(24))
            self.place.show(file, self.user)
        return file

    def run_single(self, cluster: Path, statement: str) -> None:
        """Run a statement in a data directory on which no server runs. Raises StackError."""
        single = [f"{self.programs}/postgres", "--single", "-D", self.place.inside(cluster), "template1"]
        self.place.run(single, self.user, text=f"{statement}\n")

    def is_ready(self) -> bool:
        """Whether the last line of postmaster.pid says "ready"; pg_ctl reads it, too."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"


class Mosquitto(StackServer):
    """Mosquitto with the checkout's mosquitto.conf.

    `security`, the directory `broker` made by `biogate setup`, gives it logins, and TLS on three more ports.
    Without it there is one plain listener that accepts everybody, for tests of what is behind the logins. `settings`
    replace or add options by name, `extra` is appended as it is.
    """

    title = "Mosquitto"
    user = "mosquitto"

    def __init__(
        self,
        place: Place,
        paths: Paths,
        *,
        port: int,
        security: Path | None = None,
        tls_port: int = 0,
        enroll_port: int = 0,
        certificate_port: int = 0,
        program: str = "/usr/sbin/mosquitto",
        settings: Changes | None = None,
        extra: str = "",
        conf: Path = MOSQUITTO_CONF,
        name: str = "mosquitto",
    ) -> None:
        self.security = security
        self.tls_port, self.enroll_port, self.certificate_port = tls_port, enroll_port, certificate_port
        self.program, self.settings, self.extra, self.conf = program, dict(settings or {}), extra, conf
        super().__init__(place, paths, name, port=port, deadline_s=20)

    @property
    def url(self) -> str:
        return f"mqtt://{LOOPBACK}:{self.port}"

    @property
    def ports(self) -> list[int]:
        secure = [self.tls_port, self.enroll_port, self.certificate_port]
        return [self.port, *secure] if self.security is not None else [self.port]

    @property
    def logins(self) -> Path:
        """The broker's own file of logins and roles; we must not write it while the broker runs."""
        return self.data / "data" / LOGINS

    def command(self) -> list[str]:
        return [self.program, "-c", self.place.inside(self.data / "mosquitto.conf")]

    def prepare(self) -> None:
        super().prepare()
        self.place.make(self.data / "data", self.user)
        location: Changes = {"persistence_location": self.place.inside(self.data / "data") + "/"}
        settings, listeners = self._open() if self.security is None else self._secure(self.security)
        path = self.data / "mosquitto.conf"
        path.write_text(
            render(self.conf.read_text(), {**settings, **location, **self.settings}, listeners) + self.extra
        )
        self.place.show(path, self.user)

    def _open(self) -> tuple[Changes, dict[str, Changes | None]]:
        for_everybody = {"allow_anonymous": "true", "allow_zero_length_clientid": "true"}
        plain = {"listener": f"{self.port} {LOOPBACK}", "max_connections": "10000"}
        listeners: dict[str, Changes | None] = {"1883": plain, "8883": None, "8884": None, "8885": None}
        return {**for_everybody, "plugin": None, "plugin_opt_config_file": None}, listeners

    def _secure(self, security: Path) -> tuple[Changes, dict[str, Changes | None]]:
        plugin = plugin_path(self.place.root)
        if plugin is None:
            raise StartError(self.title, f"{self.program} has no dynamic security plugin")
        if not self.logins.exists():
            self.write_logins((security / LOGINS).read_text())
        given = {"certfile": "server.pem", "keyfile": "server.key.pem", "cafile": "ca.pem"}
        for name in given.values():  # copied to where only the broker can read them
            self.place.give(self.data / name, (security / name).read_text(), self.user)
        files = {option: self.place.inside(self.data / name) for option, name in given.items()}
        listeners: dict[str, Changes | None] = {"1883": {"listener": f"{self.port} {LOOPBACK}"}}
        for usual, port in zip(("8883", "8884", "8885"), self.ports[1:], strict=True):
            listeners[usual] = {"listener": f"{port} {LOOPBACK}", **files}
        return {"plugin": plugin, "plugin_opt_config_file": self.place.inside(self.logins)}, listeners

    def write_logins(self, text: str) -> None:
        """Replace the file of logins and roles of a broker that is not running; written as the broker's own user."""
        script = 'umask 077; cat > "$1.new" && mv "$1.new" "$1"'
        self.place.run(["sh", "-c", script, "sh", self.place.inside(self.logins)], self.user, text=text)

    def is_ready(self) -> bool:
        """Whether the broker listens. TLS ports are not connected to: the broker would log each try as a failure."""
        return self.process.running and listens(self.pid, self.port) and not any(is_free(port) for port in self.ports)
