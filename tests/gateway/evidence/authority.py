"""A time stamp authority of RFC 3161: `openssl ts` behind a small HTTP server."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONF = """
[tsa]
default_tsa = one
[one]
serial = {0}/serial
signer_cert = {0}/tsa.pem
signer_key = {0}/tsa.key
certs = {0}/root.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ordering = no
tsa_name = no
ess_cert_id_chain = no
"""


@dataclass
class Authority:
    """Where it answers, and whose signature it has."""

    url: str
    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root.pem"

    def openssl_accepts(self, token: bytes, text: str) -> bool:
        (self.directory / "token").write_bytes(token)
        (self.directory / "text").write_text(text)
        command = "ts -verify -token_in -in token -data text -CAfile root.pem -untrusted tsa.pem"
        return _openssl(self.directory, command, check=False).returncode == 0


@contextlib.contextmanager
def authority_in(directory: Path) -> Iterator[Authority]:
    """Make root and signer, and serve while the context is open."""
    directory.mkdir()
    (directory / "conf").write_text(CONF.format(directory))
    (directory / "serial").write_text("01")
    (directory / "usage").write_text("extendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=root",
        "req -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=stamps",
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -days 30 -extfile usage",
    ):
        _openssl(directory, command)

    class Stamper(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (directory / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            _openssl(directory, "ts -reply -config conf -section one -queryfile query -out reply")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((directory / "reply").read_bytes())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Stamper) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Authority(f"http://127.0.0.1:{server.server_address[1]}/", directory)
        server.shutdown()


def _openssl(directory: Path, command: str, *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *command.split()], cwd=directory, capture_output=True, check=check)
