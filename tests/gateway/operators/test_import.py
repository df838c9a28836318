"""Claim keys for production, and the list of controllers that may enroll: good as a whole, or not taken."""

from __future__ import annotations

import csv
import io
import secrets
import stat
import time
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.secrets import claim_key
from schema.sealed import unseal
from tests.gateway.operators.tool import SIGNED, Tool, tool_for, vault

MANY = 10_000


@pytest.fixture
async def private(database: asyncpg.Connection) -> X25519PrivateKey:
    return await vault(database)


@pytest.fixture
def tool(database_url: str) -> Tool:
    return tool_for(database_url)


def own_key() -> str:
    return secrets.token_hex(32)


async def count(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("select count(*) from serials"))


async def test_claim_keys_are_derived_from_the_newest_master_and_kept_from_others(
    secrets_dir: Path, tmp_path: Path
) -> None:
    tool = tool_for(None, secrets_dir=secrets_dir)
    master = bytes.fromhex((secrets_dir / "claim-1.key").read_text())
    ran = await tool("claim-keys", "BR-1", "--prefix", "sim-", "--count", 2)
    assert (ran.status, ran.err) == (0, "")
    assert list(csv.DictReader(io.StringIO(ran.out))) == [
        {"serial": serial, "claim_key": claim_key(master, serial).hex(), "version": "1"}
        for serial in ("BR-1", "sim-0001", "sim-0002")
    ]
    file = tmp_path / "keys.csv"
    ran = await tool("claim-keys", "BR-1", "--to", file)
    assert ran.out == f"1 claim keys of version 1 are in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ran = await tool("claim-keys", "BR-1", "--to", file)
    assert ran.status == 1
    assert ran.err.startswith(f"{file} cannot be written: ")
    ran = await tool_for(None, secrets_dir=tmp_path / "none")("claim-keys", "BR-1")
    assert ran.status == 1
    assert "biogate setup" in ran.err


async def test_what_claim_keys_wrote_can_be_imported_and_is_compared(
    database_url: str, database: asyncpg.Connection, secrets_dir: Path, tmp_path: Path
) -> None:
    tool = tool_for(database_url, secrets_dir=secrets_dir)
    file = tmp_path / "plant-north.csv"
    assert (await tool("claim-keys", "--prefix", "sim-", "--count", 3, "--to", file)).status == 0
    ran = await tool("import", file, "--quota", 2, *SIGNED)
    assert (ran.status, ran.out) == (0, "3 imported as plant-north, 0 known already and left as they were\n")
    assert "are not stored" in ran.err
    rows = await database.fetch("select claim_key, claim_version from serials")
    assert {(row["claim_key"], row["claim_version"]) for row in rows} == {(None, 1)}
    ran = await tool("import", file, *SIGNED)
    assert ran.out == "0 imported as plant-north, 3 known already and left as they were\n"
    [row] = (await tool("imports")).rows[1:]
    assert row[:4] == ["plant-north", "3", "0", "2"]
    assert [row["SERIAL"] for row in (await tool("serials", "--import", "plant-north")).table] == [
        *("sim-0001", "sim-0002", "sim-0003")
    ]
    assert (await tool("serials", "--import", "other")).table == []
    text = f"serial,claim_key,version\nBR-1,{own_key()},1\nBR-2,,7\n"
    ran = await tool("import", "-", *SIGNED, text=text)
    assert ran.status == 1
    assert "line 2: claim_key is not the one that master key 1 makes for BR-1" in ran.err
    assert "line 3: there is no master key of version 7" in ran.err
    events = await database.fetch("select who, action, subject, why from audit order by n")
    assert [tuple(event) for event in events] == [
        ("eva", "serials import", "import/plant-north", "as the test says")
    ] * 2


async def test_keys_of_their_own_are_sealed_so_that_only_a_gateway_can_read_them(
    tool: Tool, database: asyncpg.Connection, private: X25519PrivateKey
) -> None:
    keys = {f"BR-{number}": own_key() for number in range(3)}
    text = "\ufeffserial , device,claim_key\r\n" + "".join(f"{s},{s}-x, {key}\r\n\r\n" for s, key in keys.items())
    ran = await tool("import", "-", "--name", "a", *SIGNED, text=text)
    assert (ran.status, ran.err) == (0, "")
    for row in await database.fetch("select serial, device, claim_version, claim_key from serials"):
        assert (row["device"], row["claim_version"]) == (f"{row['serial']}-x", 0)
        assert unseal(private, row["claim_key"], f"serials/{row['serial']}").hex() == keys[row["serial"]]


async def test_without_a_vault_keys_of_their_own_are_not_taken(tool: Tool, database: asyncpg.Connection) -> None:
    ran = await tool("import", "-", *SIGNED, text=f"serial,claim_key\nBR-1,{own_key()}\n")
    assert ran.status == 1
    assert "no gateway with BIOGATE_SECRETS_DIR has run" in ran.err
    assert await count(database) == 0


async def test_bad_lines_are_told_with_their_numbers_and_nothing_is_imported(
    tool: Tool, database: asyncpg.Connection, private: X25519PrivateKey
) -> None:
    await database.execute("insert into serials (serial, device) values ('OLD', 'old'), ('GONE', 'gone')")
    key = own_key()
    lines = [
        "serial,device,claim_key,version",
        "GOOD,,,",
        "BAD/1,,,",
        "S-4,b d,,",
        f"S-5,,{key[:-2]},",
        f"S-6,,{'00' * 32},",
        f"S-7,,{key},",
        f"S-8,,{key},",
        "S-9,,,40000",
        "S-10,,,0",
        "GOOD,x,,",
        "S-12,GOOD,,",
    ]
    ran = await tool("import", "-", *SIGNED, text="\n".join(lines))
    assert ran.status == 1
    assert ran.err.splitlines()[0] == "-: nothing was imported:"
    found = dict(line.split(": ", 1) for line in ran.err.splitlines()[1:])
    assert list(found) == [f"line {n}" for n in (3, 4, 5, 6, 8, 9, 10, 11, 12)]
    for line, words in (
        ("line 3", "serial 'BAD/1'"),
        ("line 4", "device 'b d'"),
        ("line 5", "64 hexadecimal digits"),
        ("line 6", "not random"),
        ("line 8", "the same claim_key as in line 7"),
        ("line 9", "0 to 32767"),
        ("line 10", "version 0 needs a claim key"),
        ("line 11", "the same serial as in line 2"),
        ("line 12", "the same device as in line 2"),
    ):
        assert words in found[line]
    assert key[:20] not in ran.err
    ran = await tool("import", "-", *SIGNED, text="serial,device\nNEW,\nNEWER,old\nGONE,elsewhere\n")
    assert ran.status == 1
    assert "line 3: device old belongs to another serial" in ran.err
    assert "line 4: serial GONE is known already, as device gone with claim version 1" in ran.err
    for text, words in (
        ("", "the import is empty"),
        ("serial\n", "0 rows"),
        ("S-1\nS-2\n", "line 1: must name the columns"),
        ("serial;device\nS-1;x\n", "line 1: must name the columns"),
        ("serial,device\nS-1\n", "line 2: 1 cells, not 2"),
        ('serial\n"S-1\n', "not CSV"),
    ):
        ran = await tool("import", "-", *SIGNED, text=text)
        assert ran.status == 1
        assert words in ran.err
    assert await count(database) == 2
    assert await database.fetchval("select count(*) from claim_imports") == 0


async def test_a_second_file_of_an_import_leaves_its_quota_unless_it_says_another(
    tool: Tool, database: asyncpg.Connection
) -> None:
    for serial, options, quota in (("S-1", ["--quota", 5], 5), ("S-2", [], 5), ("S-3", ["--quota", 7], 7)):
        await tool("import", "-", "--name", "a", *options, *SIGNED, text=f"serial\n{serial}\n")
        assert await database.fetchval("select quota from claim_imports") == quota


async def test_ten_thousand_keys_are_imported_in_seconds(
    tool: Tool, database: asyncpg.Connection, private: X25519PrivateKey, tmp_path: Path
) -> None:
    file = tmp_path / "many.csv"
    file.write_text("serial,claim_key\n" + "".join(f"BR-{n:05},{own_key()}\n" for n in range(MANY)))
    begun = time.monotonic()
    ran = await tool("import", file, *SIGNED)
    seconds = time.monotonic() - begun
    print(f"{MANY} claim keys imported in {seconds:.1f} s")
    assert ran.out == f"{MANY} imported as many, 0 known already and left as they were\n"
    assert await count(database) == MANY
    assert seconds < 30
