"""The network of the harness does what it says: else the harness proves nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Link, Mode, Network


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture
def link(echo: int) -> Iterator[Link]:
    with Network() as network:
        yield network.link(echo)


@pytest.fixture
def client(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def test_a_cut_resets_connections_and_the_end_of_it_lets_new_ones_pass(link: Link, client: socket.socket) -> None:
    link.set(Mode.CUT)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with pytest.raises(ConnectionResetError):
        socket.create_connection(("127.0.0.1", link.port), timeout=5).recv(100)
    link.set(Mode.PASS)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as again:
        again.sendall(b"again")
        assert again.recv(100) == b"again"


def test_in_a_hang_nothing_arrives_not_even_a_connection_and_afterwards_all_does(
    link: Link, client: socket.socket
) -> None:
    link.set(Mode.HANG)
    client.sendall(b"are you there?")
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(100)
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", link.port), timeout=0.5)
    assert unacknowledged(client) == 1
    link.set(Mode.PASS)
    client.settimeout(5)
    assert client.recv(100) == b"are you there?"


def unacknowledged(client: socket.socket) -> int:
    """Segments that TCP would send again, from struct tcp_info."""
    return int.from_bytes(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[24:28], "little")


def test_a_slow_link_takes_its_time(link: Link, client: socket.socket) -> None:
    link.set(Mode.SLOW)
    begun = time.monotonic()
    client.sendall(b"slow")
    assert client.recv(100) == b"slow"
    assert time.monotonic() - begun >= 0.2


def test_the_end_of_a_connection_is_passed_on(link: Link, client: socket.socket) -> None:
    client.sendall(b"the last")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"the last"
    assert client.recv(100) == b""
