"""A table is whole or an error, wherever the wire breaks: never a part of it in silence."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from api.files import stream
from biogate import ClientError
from biogate.arrow_body import END, whole_table
from biogate.asking import CutShort
from tests.api.client.asker import Asker
from tests.api.client.cutting import cutting_wire
from tests.api.plant import Plant, at

ROWS = 900


async def filled(plant: Plant) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.frames(device, layout, [(at(n), [float(n)], None) for n in range(ROWS)])


async def test_a_wire_that_breaks_in_a_stream_gives_the_whole_table_or_an_error(
    ask: Asker, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PAGE_VALUES", 50)
    await filled(plant)
    asked = {"from_": at(0), "to": at(ROWS)}
    async with cutting_wire(ask.url) as wire:
        through = Asker(ask.kind, wire.url, ask.key)
        whole = await through("telemetry", "br-1", **asked)
        size = wire.passed
        assert len(whole) == ROWS
        for cut in (1, 400, size // 3, size // 2, size - 600, size - 9, size - 1):
            wire.cuts, before = [cut], wire.connections
            found = await through("telemetry", "br-1", **asked)
            assert found.arrow.equals(whole.arrow)
            assert wire.connections == before + 2
        wire.always = size // 2
        impatient = Asker(ask.kind, wire.url, ask.key, patience=1)
        with pytest.raises(ClientError, match=r"broke off|no answer"):
            await impatient("telemetry", "br-1", **asked)


async def test_an_answer_whose_length_nobody_states_is_whole_by_its_mark_alone(ask: Asker, plant: Plant) -> None:
    """As through a proxy that speaks HTTP/1.0: its end is that of the connection, wherever that comes."""
    await filled(plant)
    table = pa.table({"time": pa.array(range(10))}, metadata={b"biogate": b'{"warnings": [], "devices": []}'})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    content = sink.getvalue().to_pybytes()
    for length in (len(content) - len(END), len(content) - 20, len(content) // 2):
        async with speaking(b"HTTP/1.0 200 OK\r\n\r\n" + content[:length]) as url:
            with pytest.raises(ClientError, match="broke off"):
                await Asker(ask.kind, url, ask.key, patience=0.1)("telemetry", "br-1")
    async with speaking(b"HTTP/1.0 200 OK\r\n\r\n" + content) as url:
        assert len(await Asker(ask.kind, url, ask.key)("telemetry", "br-1")) == 10


@asynccontextmanager
async def speaking(
    answer: bytes, heard: list[bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Whoever connects is told this, whatever it asks."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    finally:
        server.close()


async def test_a_key_goes_to_no_other_host(ask: Asker) -> None:
    heard: list[bytes] = []
    async with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", heard) as elsewhere:
        leads_on = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere}/api\r\nContent-Length: 0\r\n\r\n"
        async with speaking(leads_on.encode()) as url:
            with pytest.raises(ClientError, match=elsewhere):
                await Asker(ask.kind, url, ask.key)("devices")
    assert heard == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_server_is_trusted_by_the_authority_that_was_given(
    kind: str, secrets_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secrets_dir / "broker" / "server.pem", secrets_dir / "broker" / "server.key.pem")
    content = b'{"devices": [], "next": null}'
    async with speaking(b"HTTP/1.0 200 OK\r\n\r\n" + content, tls=context) as url:
        ask = Asker(kind, url, "bgk_1", patience=3600)
        with pytest.raises(ClientError, match="certificate"):
            await ask("devices")
        monkeypatch.setenv("BIOGATE_API_CA_FILE", str(secrets_dir / "ca.pem"))
        assert await ask("devices") == []
    monkeypatch.setenv("BIOGATE_API_CA_FILE", "/nowhere.pem")
    with pytest.raises(ClientError, match="/nowhere"):
        await ask("devices")


def test_no_beginning_of_a_stream_is_taken_for_the_whole() -> None:
    """Its last bytes may look like the mark of the end."""
    mark = np.frombuffer(END, np.int16)
    table = pa.table({"quality": pa.array(np.tile(mark, 2))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    content = sink.getvalue().to_pybytes()
    assert content[: -len(END)].endswith(END)
    assert whole_table(bytearray(content)).equals(table)
    for length in range(len(content)):
        with pytest.raises(CutShort):
            whole_table(bytearray(content[:length]))
    for more in (b"\0", END):
        with pytest.raises(CutShort):
            whole_table(bytearray(content + more))
