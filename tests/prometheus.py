"""Finds Prometheus and promtool: the machine's own, else Debian's package `prometheus`, unpacked under
`.stack/prometheus`.

The package is not installed, and not in the private root: the two programs need only the C library, take 19 MB to fetch
and 96 MB on the disk, and only tests want them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deploy.stack import ports
from deploy.stack.errors import with_log
from deploy.stack.paths import STACK, Paths
from deploy.stack.process import Process, run_logged, with_death_signal
from deploy.stack.service import Service

UNPACKED = STACK / "prometheus"


def programs() -> Path:
    """The directory with both programs, which are fetched if necessary. Raises StackError."""
    found = shutil.which("promtool")
    if found and shutil.which("prometheus"):
        return Path(found).parent
    if not (UNPACKED / "usr" / "bin" / "promtool").exists():
        _fetch(STACK / "log" / "setup" / "prometheus.log")
    return UNPACKED / "usr" / "bin"


def _fetch(log: Path) -> None:
    """Fetch the package of this machine's Debian, whole or not at all; two fetches at once do no harm."""
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=STACK) as name:
        folder = Path(name)
        folder.chmod(0o755)

        def run(*command: str) -> bool:
            return run_logged(command, log, cwd=folder) == 0

        own = ["-o", f"Dir::State={folder}", "-o", f"Dir::Cache={folder}"]  # the machine's package lists belong to root
        fetched = run("apt-get", "download", "prometheus") or (
            run("apt-get", *own, "update") and run("apt-get", *own, "download", "prometheus")
        )
        packages = [str(path) for path in folder.glob("prometheus_*.deb")]
        new = folder / "unpacked"
        if not (fetched and packages and run("dpkg-deb", "-x", packages[0], str(new))):
            raise with_log("Debian's package prometheus cannot be fetched", log)
        try:
            new.rename(UNPACKED)
        except OSError:
            if not UNPACKED.exists():
                raise


class Prometheus(Service):
    """A Prometheus with data of its own, run with a configuration file."""

    title = "Prometheus"

    def __init__(self, paths: Paths, config: Path, data: Path, *, port: int) -> None:
        self._config, self._data, self.port = config, data, port
        super().__init__(paths, "prometheus", deadline_s=20)

    def new_process(self) -> Process:
        argv = [
            str(programs() / "prometheus"), f"--config.file={self._config}", f"--storage.tsdb.path={self._data}",
            f"--web.listen-address={ports.LOOPBACK}:{self.port}", "--log.level=warn",
        ]  # fmt: skip
        return self.process_of(with_death_signal(argv))

    @property
    def url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        return ports.answers(f"{self.url}/-/ready")
