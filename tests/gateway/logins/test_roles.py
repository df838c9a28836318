"""Roles and logins as data, and what the real broker makes of them."""

from __future__ import annotations

import itertools

from gateway.logins.roles import DEFAULTS, FIXED, LITERAL, PATTERN, RECEIVE, SEND, LoginEntry, device_role, security
from schema.enrollment import reply_topic, request_topic
from schema.topics import SUBSCRIPTIONS
from tests.gateway.cell import Cell
from tests.in_turn import in_turn
from tests.mqtt import NOT_AUTHORIZED, Client

TXN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def test_a_device_role_is_its_own_topics() -> None:
    role = device_role("r1")
    allowed = {kind: {acl.topic for acl in role.acls if acl.type == kind} for kind in (SEND, LITERAL, PATTERN, RECEIVE)}
    own = "bioreactors/r1"
    up = ("telemetry", "history", "status", "event", "backfill/result", "command/result")
    assert allowed == {
        SEND: {f"{own}/{kind}" for kind in up},
        LITERAL: {f"{own}/{kind}" for kind in ("receipt", "backfill", "command", "identity")},
        PATTERN: set(),
        RECEIVE: {f"{own}/#"},
    }
    assert all(acl.allow for acl in role.acls)


def test_no_device_role_reaches_into_another() -> None:
    """Names that begin alike, or have dots, as the broker's patterns see them."""
    for one, other in itertools.permutations(["r1", "r1.1", "r11", "R1", "r1-"], 2):
        assert not {acl.topic for acl in device_role(one).acls} & {acl.topic for acl in device_role(other).acls}
        for acl in device_role(one).acls:
            assert not acl.topic.startswith(f"bioreactors/{other}/")
            assert "+" not in acl.topic


def test_the_content_of_the_brokers_file() -> None:
    content = security(
        [LoginEntry("r1.1", "device-r1", b"s" * 12, b"v" * 64, "id"), LoginEntry("r1.2", "x", None, None)], []
    )
    assert content["defaultACLAccess"] == DEFAULTS
    assert content["clients"] == [
        {
            "username": "r1.1",
            "roles": [{"rolename": "device-r1"}],
            "clientid": "id",
            "password": "dnZ2" * 21 + "dg==",
            "salt": "c3Nzc3Nzc3Nzc3Nz",
            "iterations": 101,
        },
        {"username": "r1.2", "roles": [{"rolename": "x"}]},
    ]
    assert [role["rolename"] for role in content["roles"]] == list(FIXED)


async def _connect(cell: Cell, login: str) -> Client:
    return await Client.connect(cell.broker.port, f"t-{login}", login, cell.secrets.password(login))


async def test_setups_logins_get_in_and_nobody_else(cell: Cell) -> None:
    for login in FIXED:
        assert await cell.gets_in(login), login
        assert not await cell.gets_in(login, password="x" * 43), login
    assert not await cell.gets_in("root", password="x")


SUBSCRIBES: dict[str, list[str]] = {
    "gateway": [*SUBSCRIPTIONS, "$SYS/broker/publish/messages/dropped", "$SYS/#"],
    "alarms": [],
    "evidence": ["evidence/#"],
    "enrollment": ["$share/enroll/enroll/v1/req/+", "enroll/v1/req/+"],
    "admin": ["$CONTROL/dynamic-security/v1/response"],
    "observer": [
        "bioreactors/#",
        "bioreactors/+/telemetry",
        "bioreactors/r1/status",
        "alarms/#",
        "evidence/#",
        "$SYS/#",
    ],
    "enroll": [reply_topic(TXN)],
}
SENDS: dict[str, list[str]] = {
    "gateway": ["bioreactors/r1/receipt", "bioreactors/r1/backfill", "bioreactors/r1/command"],
    "alarms": ["alarms/r1/high"],
    "evidence": ["evidence/1/checkpoint", "evidence/keys"],
    "enrollment": [reply_topic(TXN), request_topic(TXN)],
    "admin": ["$CONTROL/dynamic-security/v1", "bioreactors/r1/identity"],
    "observer": [],
    "enroll": [request_topic(TXN)],
}
FILTERS = [
    "#", "+/#", "+", "$share/x/#", "bioreactors/#", "$share/x/bioreactors/#", "bioreactors/+/telemetry",
    "$share/gateway/bioreactors/+/telemetry", "enroll/#", "enroll/v1/req/+", "enroll/v1/res/+", "enroll/v1/res/#",
    "enroll/+/res/+", "+/v1/res/+", "$share/x/enroll/v1/res/+", f"$share/x/{reply_topic(TXN)}", "enroll/v1/+/" + TXN,
    "$share/enroll/enroll/v1/req/+", "$share/x/enroll/v1/req/+", "$CONTROL/#", "$CONTROL/dynamic-security/v1/response",
    "$CONTROL/dynamic-security/v1", "$SYS/#", "alarms/#", "evidence/#",
]  # fmt: skip
TOPICS = [
    "bioreactors/r1/telemetry", "bioreactors/r1/receipt", "bioreactors/r1/identity", "bioreactors/r1/command",
    request_topic(TXN), reply_topic(TXN), "enroll/v1/req/a/b", "alarms/r1/high", "$CONTROL/dynamic-security/v1",
    "$SYS/x", "evidence/1/checkpoint",
]  # fmt: skip


@in_turn("login", FIXED)
async def test_what_a_login_may_do_and_nothing_else(cell: Cell, login: str) -> None:
    async with await _connect(cell, login) as client:
        for pattern in SUBSCRIBES[login]:
            assert await client.subscribe(pattern) == [1], pattern
        for pattern in set(FILTERS) - set(SUBSCRIBES[login]):
            if login == "observer" and pattern.startswith(("bioreactors/", "alarms/", "evidence/", "$SYS/")):
                continue
            assert await client.subscribe(pattern) == [NOT_AUTHORIZED], pattern
    for topic in {*SENDS[login], *TOPICS}:
        async with await _connect(cell, login) as client:
            code = await client.publish(topic, b"")
            assert (code < 0x80) == (topic in SENDS[login]), topic


async def test_a_device_without_login_hears_its_own_reply_alone(cell: Cell) -> None:
    async with await _connect(cell, "enroll") as device, await _connect(cell, "enrollment") as gateway:
        assert await device.subscribe(reply_topic(TXN)) == [1]
        assert await gateway.subscribe("$share/enroll/enroll/v1/req/+") == [1]
        await device.publish(request_topic(TXN), b"request")
        assert (await gateway.next()).payload == b"request"
        await gateway.publish(reply_topic(OTHER), b"not for you")
        await gateway.publish(reply_topic(TXN), b"reply")
        assert (await device.next()).payload == b"reply"
