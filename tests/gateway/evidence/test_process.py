"""The process that signs: killed at any moment, beside another one, with a broker and a time stamp service."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.evidence.checkpoint_file import CheckpointFile
from gateway.evidence.stamps import stamped
from schema.evidence.checkpoints import Checkpoint
from schema.evidence.key_files import ask_to_resume, change_key, load_keys, make_first
from schema.evidence.keys import load_public, read_change
from schema.evidence.retained import BrokerUnreadable, retained_checkpoint
from schema.evidence.tokens import TokenRefused, authorities, check_token
from schema.evidence.verification import ChainVerification, Elsewhere, verify_chain
from tests.conftest import Broker
from tests.gateway.evidence.authority import Authority
from tests.gateway.evidence.signing import WRITE, Signing, signing_of
from tests.mqtt import Client
from tests.processes import GatewayProcess, wait_until
from tests.roles import forced

PATIENCE_S = 60


class EvidenceProcess(GatewayProcess):
    """`python -m gateway.evidence`. Ready means that it leads."""

    module, port_setting = "gateway.evidence", "BIOGATE_EVIDENCE_HTTP_PORT"

    def __init__(self, database_url: str, mqtt_url: str, directory: Path) -> None:
        make_first(directory)
        super().__init__(database_url, mqtt_url, directory / "log")
        self.directory = directory
        self.environment |= {
            "BIOGATE_EVIDENCE_DIR": str(directory),
            "BIOGATE_EVIDENCE_INTERVAL_S": "0.05",
            "BIOGATE_EVIDENCE_VERIFY_S": "0.2",
        }


@pytest.fixture
async def process(evidence_url: str, broker: Broker, tmp_path: Path) -> AsyncIterator[EvidenceProcess]:
    one = EvidenceProcess(evidence_url, broker.url, tmp_path / "key")
    yield one
    one.kill()


async def verified(database: asyncpg.Connection, process: EvidenceProcess) -> ChainVerification:
    public = load_public(process.directory / "public.pem")
    return await verify_chain(database, 1, Elsewhere(public, process.directory / "checkpoints.jsonl"))


async def all_signed(database: asyncpg.Connection) -> None:
    behind = "select max(n) > (select coalesce(max(n), 0) from checkpoints) from audit"
    async with asyncio.timeout(PATIENCE_S):
        while await database.fetchval(behind):
            await asyncio.sleep(0.05)


async def all_in_the_file(database: asyncpg.Connection, process: EvidenceProcess) -> None:
    """The table has a checkpoint a moment before the file: who ends the process then finds it there alone."""
    file, newest = CheckpointFile(process.directory / "checkpoints.jsonl"), "select max(n) from checkpoints"
    async with asyncio.timeout(PATIENCE_S):
        while 1 not in file.newest or file.newest[1].says.n < await database.fetchval(newest):
            await asyncio.sleep(0.05)
            file.load()


async def test_killed_at_any_moment_it_goes_on_with_one_chain_of_checkpoints(
    process: EvidenceProcess, database: asyncpg.Connection
) -> None:
    chance = random.Random(1)
    for _ in range(8):
        process.start()
        ends = time.monotonic() + chance.uniform(0.1, 0.6)
        while time.monotonic() < ends:
            await database.execute(WRITE, 1, 1)
        process.kill()
    process.start()
    await all_signed(database)
    await all_in_the_file(database, process)
    assert process.terminate() == 0
    found = await verified(database, process)
    assert found.faults == []
    assert found.remarks == []
    assert found.certain is not None
    assert found.certain.n == await database.fetchval("select max(n) from audit")
    numbers = [row[0] for row in await database.fetch("select number from checkpoints order by number")]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_line_that_was_torn_by_a_kill_ends_where_the_next_begins(tmp_path: Path, database_url: str) -> None:
    async with signing_of(database_url, tmp_path / "key") as signing:
        for _ in range(2):
            await signing.events(2)
            await signing.sign()
        path = signing.directory.file
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        await signing.sign()
        assert (await signing.verify()).faults == []
        await signing.events(1)
        await signing.sign()
        file = CheckpointFile(path)
        file.load()
        assert len(file.unreadable) == 1
        assert file.newest[1].says.number == 3
        assert (await signing.verify()).faults == []


async def test_of_two_one_signs_and_the_other_takes_over(
    process: EvidenceProcess, database: asyncpg.Connection, evidence_url: str, broker: Broker, tmp_path: Path
) -> None:
    process.start()
    other = EvidenceProcess(evidence_url, broker.url, tmp_path / "other")
    for name in ("key.pem", "keys.jsonl", "public.pem"):
        (other.directory / name).write_bytes((process.directory / name).read_bytes())
    other.start(ready=False)
    try:
        await database.execute(WRITE, 1, 3)
        await all_signed(database)
        process.kill()
        await database.execute(WRITE, 1, 3)
        await all_signed(database)
        assert other.terminate() == 0
        assert (await verified(database, other)).faults == []
    finally:
        other.kill()


async def test_keys_and_newest_checkpoint_are_retained_at_the_broker(
    process: EvidenceProcess, database: asyncpg.Connection, broker: Broker
) -> None:
    await database.execute(WRITE, 1, 3)
    process.start()
    await all_signed(database)
    newest = await database.fetchval("select text from checkpoints order by number desc limit 1")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with await Client.connect(broker.port, "reader") as client:
                await client.subscribe("evidence/#")
                messages = {(message := await client.next()).topic: message.payload for _ in range(2)}
            if Checkpoint.from_json(json.loads(messages["evidence/1/checkpoint"])).text == newest:
                break
    kept = await retained_checkpoint(broker.url, 1)
    assert kept is not None
    assert kept.text == newest
    with pytest.raises(BrokerUnreadable, match="cannot be asked"):
        await retained_checkpoint("mqtt://127.0.0.1:1", 1)
    [key] = json.loads(messages["evidence/keys"])
    assert read_change(key["text"])[0] == load_public(process.directory / "public.pem")


async def test_it_verifies_by_itself_and_its_figures_tell(
    process: EvidenceProcess, database: asyncpg.Connection
) -> None:
    await database.execute(WRITE, 1, 3)
    process.start()
    wait_until(lambda: process.metrics().get("biogate_audit_verified") == 1, PATIENCE_S, process.log.read_text)
    await database.execute("alter table audit disable trigger all; update audit set why = 'else' where n = 2")
    wait_until(lambda: process.metrics().get("biogate_audit_verified") == 0, PATIENCE_S, process.log.read_text)
    assert process.metrics()["biogate_audit_faults"] == 1
    assert "event 2: changed" in process.log.read_text()


async def test_a_recomputed_history_is_never_signed_until_a_person_says_so(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.events(6)
        await signing.sign()
        await database.execute("alter table audit disable trigger all; delete from audit where n > 3")
        await database.execute("alter table audit enable trigger all")
        await signing.events(1)
        for _ in range(2):
            await signing.sign()
        assert await database.fetchval("select count(*) from checkpoints") == 1
        assert "is not signed" in signing.troubles["sign 1"]
        ask_to_resume(signing.directory.path, 1, "eva", "restored")
        await signing.signer.sign_all()
        assert "sign 1" not in signing.troubles
        await signing.events(1)
        await signing.sign()
        found = await signing.verify()
        assert found.faults == []
        assert any("told by eva in event" in remark and "restored" in remark for remark in found.remarks)
        signed = await database.fetchval("select count(*) from checkpoints")
        await database.execute("alter table audit disable trigger all; delete from audit where n > 5")
        await database.execute("alter table audit enable trigger all")
        await signing.sign()  # what a person has said once is not said of this
        assert "is not signed" in signing.troubles["sign 1"]
        assert await database.fetchval("select count(*) from checkpoints") == signed


async def test_database_and_file_set_back_together_show_by_what_the_broker_has(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.events(2)
        await signing.sign()
        earlier = signing.directory.file.read_bytes()
        await signing.events(2)
        await signing.sign()
        retained = signing.signer.newest[1]
        await database.execute("alter table audit disable trigger all; alter table checkpoints disable trigger all")
        await database.execute("delete from audit where n > 3; delete from checkpoints where number > 1")
        await database.execute("alter table audit enable trigger all")
        signing.directory.file.write_bytes(earlier)
    async with signing_of(database_url, tmp_path / "key") as signing:
        signing.signer.retained = {1: retained}
        await signing.sign()
        assert "event 5 is not what checkpoint 2 has signed" in signing.troubles["sign 1"]


async def test_another_checkpoint_of_the_same_number_at_the_broker_halts(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.events(2)
        await signing.sign()
        earlier = signing.directory.file.read_bytes()
        await signing.events(1)
        await signing.sign()
        retained = signing.signer.newest[1]
        await forced(database, "delete from checkpoints where number > 1")
        signing.directory.file.write_bytes(earlier)
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.events(1)
        await signing.sign()
        assert signing.troubles == {}
        signing.signer.retained = {1: retained}
        await signing.sign()
        assert "checkpoint 2 of the broker is another one than elsewhere" in signing.troubles["sign 1"]


async def test_a_signed_event_that_is_another_one_halts_though_what_follows_is_whole(signing: Signing) -> None:
    await signing.events(3)
    await signing.sign()
    signed = signing.signer.newest[1].says.n
    await signing.events(1)
    await signing.owner.execute("alter table audit disable trigger all")
    await signing.owner.execute(f"update audit set why = 'else', hash = sha256('else') where n = {signed}")
    await signing.signer.sign_all()
    assert f"event {signed} is not what checkpoint" in signing.troubles["sign 1"]


async def test_a_key_change_is_signed_by_both_and_the_chain_goes_on(signing: Signing) -> None:
    await signing.events(2)
    await signing.sign()
    first = load_public(signing.directory.path / "public.pem")
    old, new = change_key(signing.directory.path)
    await signing.events(2)
    await signing.sign()
    used = await signing.pool.fetch("select key_id from checkpoints order by number")
    assert [row[0] for row in used] == [old, new]
    for trusted in (first, load_public(signing.directory.path / "public.pem")):
        found = await signing.verify(elsewhere=Elsewhere(trusted, signing.directory.file))
        assert found.faults == []
    assert await signing.pool.fetchval("select count(*) from audit where action = 'evidence key'") == 2


def test_a_key_change_that_was_cut_off_is_done_or_was_not(tmp_path: Path) -> None:
    make_first(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    change_key(tmp_path)
    newest = load_keys(tmp_path).ring.newest
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "key.pem").write_bytes(before["key.pem"])
    (tmp_path / "next.pem").write_bytes(after["key.pem"])
    (tmp_path / "next.pem").chmod(0o600)
    assert load_keys(tmp_path).ring.newest == newest  # both had signed: it counts
    (tmp_path / "keys.jsonl").write_bytes(before["keys.jsonl"])
    assert load_keys(tmp_path).ring.newest != newest
    change_key(tmp_path)
    assert len(load_keys(tmp_path).changes) == 2


async def test_checkpoints_get_time_stamps_of_a_real_service(
    database_url: str, tmp_path: Path, authority: Authority
) -> None:
    changes = {"evidence_tsa_url": authority.url, "evidence_tsa_ca_file": authority.root}
    async with signing_of(database_url, tmp_path / "key", **changes) as signing:
        await signing.events(2)
        await signing.sign()
        text, token = await signing.pool.fetchrow("select text, token from checkpoints")
        roots = authorities(authority.root)
        check_token(token, text, roots)
        with pytest.raises(TokenRefused, match="no time stamp of this checkpoint"):
            check_token(token, text + " ", roots)
        assert authority.openssl_accepts(token, text)
        public = load_public(signing.directory.path / "public.pem")
        elsewhere = Elsewhere(public, signing.directory.file, None, roots)
        assert (await signing.verify(elsewhere=elsewhere)).stamps == 2  # of the table and of the file
        await signing.owner.execute("alter table checkpoints disable trigger all; update checkpoints set token = 'x'")
        assert (await signing.verify(elsewhere=elsewhere)).faults != []


async def test_a_time_stamp_that_the_service_did_not_give_is_asked_for_at_the_next_checkpoint(
    database_url: str, tmp_path: Path, authority: Authority
) -> None:
    changes = {"evidence_tsa_url": authority.url, "evidence_tsa_ca_file": authority.root, "evidence_tsa_s": 3600}
    key = authority.directory / "tsa.key"
    async with signing_of(database_url, tmp_path / "key", **changes) as signing:
        key.rename(tmp_path / "away")
        await signing.events(1)
        await signing.sign()
        (tmp_path / "away").rename(key)
        for _ in range(2):  # the second is not its turn yet
            await signing.events(1)
            await signing.signer.sign_all()
        stamped_ = await signing.pool.fetch("select token is not null from checkpoints order by number")
        assert [row[0] for row in stamped_] == [False, True, False]


async def test_a_time_stamp_of_an_authority_that_nobody_trusts_does_not_count(
    authority: Authority, other_authority: Authority
) -> None:
    with pytest.raises(TokenRefused, match="gives no time stamp that counts"):
        await stamped(authority.url, "text", authorities(other_authority.root))
    with pytest.raises(TokenRefused, match="gives no answer"):
        await stamped("http://127.0.0.1:1/", "text", authorities(authority.root))


@pytest.fixture
async def signing(database_url: str, tmp_path: Path) -> AsyncIterator[Signing]:
    async with signing_of(database_url, tmp_path / "key") as signing:
        yield signing
