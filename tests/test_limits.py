"""The limits on docs/firmware.md and docs/enrollment.md are those of the code: number by number, row by row.

Each row of a table has its text here, made of the code's constants and settings. A row that is missing on the page, or
that nobody knows here, fails; so a limit cannot change without the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from api.admin.sql import MOST_CONNECTIONS
from api.jobs import worker
from api.settings import ApiSettings
from api.shapes import commands
from gateway import settings
from gateway.alarms.notify.channel import AT_ONCE, AT_ONCE_FAILING, OF_ONE, OF_ONE_FAILING
from gateway.broker.limits import options
from gateway.enrollment import pace as pace_of
from gateway.enrollment.decisions import retry_after_s
from gateway.errors import Rejected
from gateway.intake import admit, registry
from gateway.receipts import holes, receipts, streams
from gateway.upkeep import sql_logins
from schema import enrollment, messages, topics
from schema.channels import LONGEST_UNIT, MOST_DECIMALS
from schema.enrollment import Refusal
from schema.messages import CommandResult, Event, Status
from schema.reasons import Reason

CHECKOUT = Path(__file__).parents[1]
CONF = (CHECKOUT / "mosquitto.conf").read_text()
NAMES = "1 to 64 of letters, digits, `.`, `_`, `-`; begins with a letter or digit"


def meta(annotated: Any) -> Any:
    """The bounds of an annotated type, also inside `… | None`."""
    for part in (annotated, *get_args(annotated)):
        for one in (part, *get_args(part)):
            if isinstance(one, msgspec.Meta):
                return one
    raise AssertionError(f"{annotated} has no bounds")


def field(of: type, name: str) -> Any:
    return meta({one.name: one.type for one in msgspec.structs.fields(of)}[name])


def default(name: str) -> Any:
    return settings.Settings.model_fields[name].default


def setting(name: str) -> str:
    """The default of a setting of the gateway, with its variable."""
    return f"{default(name):,} (`BIOGATE_{name.upper()}`)"


def seconds(name: str) -> str:
    return f"{default(name):,.0f} s (`BIOGATE_{name.upper()}`)"


def of_the_broker(name: str) -> int:
    return int(options(CONF)[name])


def connections(port: int) -> int:
    found = re.search(rf"^listener {port}\b.*\nmax_connections (\d+)$", CONF, re.MULTILINE)
    assert found is not None
    return int(found[1])


def firmware() -> Iterable[tuple[str, str, str]]:
    """What, limit, reason: the rows of docs/firmware.md."""
    wrong, none = f"`{Reason.WRONG_TYPE}`", "–"
    boot, seq, quality = meta(messages.Boot), meta(messages.Seq), meta(messages.Quality)
    generation, kind = field(Status, "generation"), field(Event, "type")
    yield "device name", NAMES, f"`{Reason.UNKNOWN_DEVICE}`"
    channel = "1 to 64 characters that can be seen, no blanks at the ends, in Unicode's form NFC, once in a frame"
    yield "channel name", channel, f"`{Reason.BAD_CHANNEL}`"
    yield "event `type`", f"{kind.min_length} to {kind.max_length} characters", wrong
    yield "`firmware`", f"at most {field(Status, 'firmware').max_length} characters", wrong
    yield "`detail` of a command's result", f"at most {field(CommandResult, 'detail').max_length} characters", wrong
    yield "command name", "1 to 64 of small letters, digits, `-`; begins with a letter", none
    yield "`boot`", f"{boot.ge} to {boot.le:,} (2³² − 1)", wrong
    yield "`seq`", f"{seq.ge} to {seq.le:,} (2⁵³ − 1)", wrong
    yield "`q`", f"{quality.ge} to {quality.le:,}", wrong
    yield "`generation`", f"{generation.ge} to {generation.le:,} (2³¹ − 1)", wrong
    yield (
        "an MQTT packet",
        f"{of_the_broker('max_packet_size'):,} bytes (`max_packet_size` of mosquitto.conf); about 4,000 frames of 20 "
        "channels in a block",
        "the broker ends the connection: split the block, and never send such a packet again",
    )
    yield (
        "channels of a frame, and of a device over its life",
        setting("max_channels"),
        f"`{Reason.TOO_MANY_CHANNELS}`",
    )
    yield (
        "different sets of channels of a device",
        f"{setting('max_layouts')}; from the {registry.EXACT_LAYOUTS + 1}th on they are widened to the union",
        f"`{Reason.TOO_MANY_LAYOUTS}`",
    )
    yield (
        "`data` of an event or of a command's result",
        setting("max_event_bytes").replace(" (", " bytes as JSON ("),
        f"`{Reason.TOO_LARGE}`",
    )
    yield "`parameters` of a command", f"{commands.MOST_PARAMETERS:,} bytes as JSON", none
    yield "ranges in a backfill result", f"{admit.MOST_RANGES:,}", f"`{Reason.TOO_LARGE}`"
    yield "ranges in a backfill request", f"{streams.MOST_HOLES}, and {receipts.FRAMES_ASKED:,} frames", none
    boots = f"the newest {streams.OPEN_BOOTS}, and those that have just sent"
    yield "boots that have receipts and backfill", boots, none
    given_up = "frames given up above all that has arrived of the boot, by `oldest` or a backfill result"
    yield given_up, f"{streams.MOST_AHEAD:,}; by a greater number nothing is lost", none
    yield "ranges of a boot that are remembered", f"{streams.MOST_RANGES}; newer ones are asked for later", none
    in_flight = of_the_broker("max_inflight_messages")
    yield "messages in flight to one client", f"{in_flight:,} (`max_inflight_messages` of mosquitto.conf)", none
    yield (
        "connections of devices to one broker",
        f"{connections(8883):,}; {connections(8884):,} at the enrollment listener",
        "the broker refuses",
    )
    yield (
        "open in quarantine for a device",
        f"{setting('quarantine_bytes').replace(' (', ' bytes (')} and "
        f"{setting('quarantine_rows').replace(' (', ' messages (')}",
        "counted, not kept, no receipt",
    )
    days = default("max_age_s") // 86400
    yield (
        "age of a frame or event; a status in seconds since 1970",
        seconds("max_age_s").replace(" s (", f" s, {days} days ("),
        f"`{Reason.TOO_OLD}`",
    )
    yield "time in the future, of frames, events and statuses", seconds("max_skew_s"), f"`{Reason.TOO_NEW}`"
    yield (
        "a receipt",
        f"once in {seconds('receipt_interval_s')}, at the latest after {receipts.LONGEST_S:.0f} s with very many "
        "devices",
        none,
    )
    yield (
        "a missing frame is asked for",
        f"after {seconds('reorder_window_s')}, again after {seconds('backfill_retry_s')}, doubled each time up to "
        f"{holes.LONGEST_RETRY_S:,.0f} s",
        none,
    )
    shortest, longest = commands.SHORTEST.total_seconds(), commands.LONGEST.days
    yield "a command expires", f"{shortest:.0f} s to {longest} day after it was asked for", none
    yield (
        "a command's result is taken",
        f"until {seconds('command_grace_s').replace(' (', ' after it expired (')}",
        none,
    )
    expiry = options(CONF)["persistent_client_expiration"].replace("d", " days")
    yield (
        "session and queue of a client that is away",
        f"{expiry} (`persistent_client_expiration` of mosquitto.conf)",
        none,
    )
    yield (
        "rate of messages of a device",
        "no limit of its own; a broker's core carries about 45,000 messages/s in all ([scale.md](scale.md))",
        none,
    )


def handshake() -> Iterable[tuple[str, str]]:
    """What, limit: the rows of docs/enrollment.md."""
    claim = field(enrollment.Hello, "claim")
    yield "serial number", NAMES
    yield "version of the claim key", f"{claim.ge} to {claim.le:,}"
    yield "`hardware`, `firmware`, a channel's name", f"{meta(enrollment.Words).max_length} characters"
    yield "channels in HELLO", f"{field(enrollment.Hello, 'channels').max_length}"
    yield (
        "channels described in HELLO; `unit`, `title`, `decimals` of one",
        f"{field(enrollment.Hello, 'described').max_length}; {LONGEST_UNIT} and 64 characters, 0 to {MOST_DECIMALS}",
    )
    yield "`csr`", f"{field(enrollment.Proof, 'csr').max_length:,} characters"
    yield "a HELLO", f"{enrollment.MAX_HELLO:,} bytes"
    yield "a PROOF", f"{enrollment.MAX_REQUEST:,} bytes"
    yield "a reply", f"{enrollment.MAX_REPLY:,} bytes"
    yield (
        "proved handshakes on their way to a login at once, and as many that wait for an operator",
        setting("enroll_sessions"),
    )
    pace = default("enroll_hellos_per_s")
    shares = f"of which {pace * pace_of.EACH:.0f} for one of them; {pace} for those with their identity key"
    unknown = f"{pace * pace_of.UNKNOWN:.0f} for all unknown serials"
    challenges = f"{setting('enroll_hellos_per_s')} for known serials, {shares}; {unknown}"
    yield "challenges in a second, at a gateway", challenges
    yield "handshakes proved in a minute for a serial", setting("enroll_tries_per_minute")
    yield "time for the proof", seconds("enroll_challenge_s")
    hours = default("enroll_approval_s") // 3600
    yield "wait for an operator", seconds("enroll_approval_s").replace(" s (", f" s, {hours} hours (")
    yield "a device that waits asks again", f"after {seconds('enroll_pending_s')}"
    minutes = default("enroll_unused_s") // 60
    unused = seconds("enroll_unused_s").replace(" s (", f" s, {minutes} minutes (")
    yield "a granted login is used", f"within {unused}"
    least, most = (retry_after_s(Refusal.BUSY, txn) for txn in ("00000000", f"{30:08x}"))
    yield "`retry_after_s` of `busy`, `expired`, `conflict`", f"{least} to {most} s; null for all other codes"


def rows(page: str) -> list[tuple[str, ...]]:
    """The rows of the tables under the heading "Limits"."""
    section = (CHECKOUT / "docs" / page).read_text().split("\n## Limits\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


@pytest.mark.parametrize(("page", "wanted"), [("firmware.md", firmware()), ("enrollment.md", handshake())])
def test_each_limit_on_the_page_is_the_codes(page: str, wanted: Iterable[tuple[str, ...]]) -> None:
    assert rows(page) == list(wanted)


@pytest.mark.parametrize("is_name", [topics.is_device_name, re.compile(meta(enrollment.Serial).pattern).match])
def test_names_of_devices_and_serials_are_what_the_pages_say(is_name: Any) -> None:
    for name in ("a", "7", "A" * 64, "a.b_c-d"):
        assert is_name(name), name
    for name in ("", "A" * 65, ".a", "_a", "-a", "a b", "ä", "a/b"):
        assert not is_name(name), name


def test_names_of_commands_are_what_the_page_says() -> None:
    is_name = re.compile(field(messages.Command, "name").pattern).match
    assert all(map(is_name, ("a", "a" * 64, "set-point-2")))
    assert not any(map(is_name, ("", "a" * 65, "A", "2a", "-a", "a_b")))


def test_names_of_channels_are_what_the_page_says() -> None:
    most = default("max_channels")
    for good in (("a",), ("µ" * 64, "pH 2")):
        registry.check_channels(good, most)
    for bad in (("",), ("a" * 65,), ("a\n",), ("a", "a"), ("a ",), ("a\u200b",), ("e\u0301",)):
        with pytest.raises(Rejected) as rejected:
            registry.check_channels(bad, most)
        assert rejected.value.reason is Reason.BAD_CHANNEL


def test_only_some_refusals_say_when_to_come_again() -> None:
    later = {code for code in Refusal if retry_after_s(code, "0" * 32) is not None}
    assert later == {Refusal.BUSY, Refusal.EXPIRED, Refusal.CONFLICT}


def test_the_numbers_of_what_organizations_share_are_those_of_the_code() -> None:
    """docs/shares.md; the tests that its rows name hold what the numbers mean."""
    page = (Path(__file__).parents[1] / "docs" / "shares.md").read_text()
    pool = ApiSettings.model_fields["api_pool_size"].default
    pace = default("enroll_hellos_per_s")
    for said in (
        f"| the API's connections to the database | {pool} | an organization has seven",
        f"{ApiSettings.model_fields['api_live_feeds'].default} for each caller",
        f"| an eighth of the API's connections | {ApiSettings.model_fields['api_streams'].default} for each caller",
        f"| {AT_ONCE} of healthy routes, {AT_ONCE_FAILING} of failing ones | {OF_ONE} and {OF_ONE_FAILING} for each",
        f"| processes that try alarm rules | {worker.MOST} | one for each",
        f"{default('max_layouts')} layouts and {default('max_channels')} channels for each device",
        f"{default('quarantine_bytes') // 2**20} MiB for each device",
        f"{pace} a second at a gateway | {pace * pace_of.UNKNOWN:.0f} for all unknown serials; {pace} for known ones",
        f"of which {pace * pace_of.EACH:.0f} for one serial",
        f"{default('enroll_sessions')} handshakes on their way",
        f"{default('enroll_tries_per_minute')} proofs a minute for a serial",
        f"{MOST_CONNECTIONS} connections each | a transaction ends after {sql_logins.LONGEST_S:.0f} s",
        f"a pause in one after {sql_logins.IDLE_S:.0f} s",
    ):
        assert said in page, said
    assert pool - 1 - pool // 4 == 7
