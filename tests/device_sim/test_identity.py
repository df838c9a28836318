"""The file of a device's identity: durable, private, and never half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from device_sim.claims import Claim, read_claims
from device_sim.enroll import factory_reset
from device_sim.handshake import Granted, begin
from device_sim.identity import Damaged, Keeper
from tests.device_sim.responder import PSK, identity

CLAIM = Claim("BR-1", 1, PSK)
GRANTED = Granted(identity("BR-1"), bytes(32))


def keeper_in(directory: Path, claim: Claim = CLAIM) -> Keeper:
    return Keeper(directory, claim)


def begun(keeper: Keeper) -> None:
    keeper.go_on(begin(keeper.state.controller, "a" * 32, bytes(range(32)), 1))


def test_it_is_for_the_owner_alone_whatever_was_left_behind(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    draft = tmp_path / "state" / "BR-1.identity.new"
    draft.write_text("torn")
    draft.chmod(0o644)
    keeper = keeper_in(tmp_path / "state")
    assert stat.S_IMODE(keeper.path.stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["BR-1.identity"]
    assert stat.S_IMODE(keeper_in(tmp_path / "new").path.parent.stat().st_mode) == 0o700


def test_after_each_step_a_new_process_finds_all_of_it(tmp_path: Path) -> None:
    keeper = keeper_in(tmp_path)
    begun(keeper)
    assert keeper_in(tmp_path).state == keeper.state
    keeper.grant(GRANTED)
    again = keeper_in(tmp_path)
    assert again.state == keeper.state
    assert again.state.handshake
    assert again.state.granted
    assert (again.state.login, again.state.newest) == (None, again.state.granted)
    again.used()
    last = keeper_in(tmp_path).state
    assert (last.handshake, last.granted, last.login) == (None, None, keeper.state.granted)


def test_a_handshake_that_fails_leaves_the_login_there_is(tmp_path: Path) -> None:
    keeper = keeper_in(tmp_path)
    begun(keeper)
    keeper.grant(GRANTED)
    keeper.used()
    login = keeper.state.login
    begun(keeper)
    keeper.grant(Granted(identity("BR-1", generation=2), bytes(32)))
    assert keeper.state.newest != login
    keeper.give_up()
    assert keeper_in(tmp_path).state.newest == login


def test_a_factory_reset_keeps_claim_and_identity_key_alone(tmp_path: Path) -> None:
    keeper = keeper_in(tmp_path)
    begun(keeper)
    keeper.grant(GRANTED)
    keeper.used()
    (tmp_path / "BR-1.boot").write_text("7\n")
    (tmp_path / "BR-1").mkdir()
    (tmp_path / "BR-1" / "some.frames").write_text("")
    controller = keeper.state.controller
    factory_reset(keeper)
    state = keeper_in(tmp_path).state
    assert (state.controller, state.login, state.gateway) == (controller, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["BR-1.identity"]


def test_another_claim_key_replaces_the_old_one_and_the_identity_stays(tmp_path: Path) -> None:
    keeper = keeper_in(tmp_path)
    begun(keeper)
    state = keeper_in(tmp_path, Claim("BR-1", 2, bytes(32))).state
    assert (state.controller.claim, state.controller.psk, state.handshake) == (2, bytes(32), None)
    assert state.controller.identity == keeper.state.controller.identity


def test_a_damaged_file_is_named_and_never_replaced(tmp_path: Path) -> None:
    path = keeper_in(tmp_path).path
    whole = path.read_bytes()
    for damaged in (b"", b"\n", whole[:-20], whole[:40] + b"?" + whole[41:], whole + b"x", b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match=str(path)):
            keeper_in(tmp_path)
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    path.rename(tmp_path / "BR-2.identity")
    with pytest.raises(Damaged, match="is of BR-1"):
        keeper_in(tmp_path, Claim("BR-2", 1, PSK))


# The claims file


def test_claims_are_read_and_a_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    path, said = tmp_path / "claims.csv", list[str]()
    path.write_text(f"serial,claim_key,version\nBR-1,{PSK.hex()},1\nBR-2,{'ab' * 32},0\n")
    path.chmod(0o600)
    assert read_claims(path, said.append) == [CLAIM, Claim("BR-2", 0, b"\xab" * 32)]
    assert said == []
    path.chmod(0o640)
    read_claims(path, said.append)
    assert [str(path) in line for line in said] == [True]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a/b," + "ab" * 32 + ",1", "line 2: 'a/b' is not a serial number"),
        ("BR-1," + "ab" * 31 + ",1", "64 hexadecimal digits"),
        ("BR-1," + "xy" * 32 + ",1", "64 hexadecimal digits"),
        ("BR-1," + "ab" * 32 + ",", "64 hexadecimal digits"),
        ("BR-1," + "ab" * 32 + ",-1", "64 hexadecimal digits"),
        ("BR-1", "64 hexadecimal digits"),
        ("", "it has no serial"),
        ("BR-1,{0},1\nBR-1,{0},1".format("ab" * 32), "twice"),
    ],
)
def test_a_claims_file_that_is_wrong_is_refused_and_no_key_is_shown(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(f"serial,claim_key,version\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match=problem) as raised:
        read_claims(path, print)
    assert "ab" * 31 not in str(raised.value)
