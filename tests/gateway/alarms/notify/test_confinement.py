"""What code that sends messages may do, tried in a context of its own."""

from __future__ import annotations

import contextvars
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.alarms.notify.confinement import AddressRefused, Confinement, confine, is_public


def refused(work: Callable[[], object], *, private: bool = False) -> str:
    """What of it was refused; empty: nothing."""
    confinement = Confinement(private)

    def confined() -> None:
        confine(confinement)
        try:
            work()
        except AddressRefused:
            assert confinement.refused

    contextvars.Context().run(confined)
    return confinement.refused


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[(address, True) for address in ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101")],
        *[(address, False) for address in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.9", "169.254.169.254")],
        *[(address, False) for address in ("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "localhost", "")],
        *[(address, False) for address in ("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1")],
        *[(address, False) for address in ("64:ff9b::a01:203", "2002:7f00:1::", "2001:db8::1", "192.88.99.1")],
        *[(address, False) for address in ("64:ff9b:1::1", "64:ff9b:1::a01:203", "fec0::1", "::10.0.0.1", "::1.1.1.1")],
        *[(address, False) for address in ("::ffff:0:10.0.0.1", "3fff::1", "5f00::1", "100::1", "4000::1", "e000::1")],
        *[(address, False) for address in ("2001::1", "198.18.0.1", "192.0.2.1", "240.0.0.1", "192.0.0.170")],
    ],
)
def test_what_a_public_address_is(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_files_programs_and_inner_addresses_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        port = server.getsockname()[1]
        assert "not public" in refused(lambda: socket.create_connection(("127.0.0.1", port)))
        assert "not public" in refused(lambda: datagrams.sendto(b"", ("127.0.0.1", port)))
        assert refused(lambda: socket.create_connection(("127.0.0.1", port)).close(), private=True) == ""
    assert refused(secret.read_text) == "a file"
    assert refused(lambda: (tmp_path / "new").write_text("x")) == "a file"
    assert refused(lambda: subprocess.run(["true"], check=False)) == "a program"
    assert refused(lambda: Path(zipfile.__file__).read_text()) == ""
    assert secret.read_text() == "secret"  # out here nothing is confined


def test_threads_of_others_are_not_confined() -> None:
    found: list[str] = []

    def work() -> None:
        thread = threading.Thread(target=lambda: found.append(Path(sys.executable).read_bytes()[:4].hex()))
        thread.start()
        thread.join()

    assert refused(work) == ""
    assert found
