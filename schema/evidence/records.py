"""Records that are in the chain by digest: the signing process writes count, numbers and SHA-256 of their rows into the
audit trail, and a verification reads the rows again.

The digest is over the texts of the rows, each followed by a line feed, in the order of their numbers. A text is what
PostgreSQL gives for `jsonb_build_array` of the columns that never change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from schema.evidence.events import AuditEvent
from schema.evidence.standing import StandingCheck

DIGEST = "records digest"
"""The action of the events that have digests."""
SUBJECT = "records"
PAGE = 2000
AT_ONCE = 50_000
"""Rows of a kind in one event."""

# $1 organization, $2 number after which to begin, $3 last number, $4 limit. A row without text is one that is gone.
ROWS: Mapping[str, str] = {
    "alarm_transitions": """
select transition_id as id, pg_catalog.jsonb_build_array(
           transition_id, rule_id, device_id, n, extract(epoch from at), extract(epoch from recorded_at), cause, before,
           after, condition, priority, value, detail, who, why, raised_n)::text as text, null::timestamptz as time
  from public.alarm_transitions
 where organization_id = $1 and transition_id > $2 and transition_id <= $3 order by transition_id limit $4""",
    "device_events": """
select d.number as id, case when e.device_id is not null then pg_catalog.jsonb_build_array(
           d.number, e.device_id, extract(epoch from e.time), e.type, e.data, e.boot, extract(epoch from e.received_at),
           encode(e.digest, 'hex'), e.n)::text end as text, d.time
  from public.device_event_numbers d
  left join public.device_events e on e.device_id = d.device_id and e.time = d.time and e.digest = d.digest
 where d.organization_id = $1 and d.number > $2 and d.number <= $3 order by d.number limit $4""",
    "lab_samples": """
select s.lab_sample_id as id, pg_catalog.jsonb_build_array(
           s.lab_sample_id, s.sample, s.version, s.act, s.device_id, extract(epoch from s.taken_at), s.location, s.note,
           s.status, s.withdrawn, s.source, encode(s.event, 'hex'), s.who, s.why, extract(epoch from s.created_at),
           (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
                       a.analyte, a.value, a.reading, a.unit, a.method, a.status, extract(epoch from a.measured_at),
                       a.measured_by, extract(epoch from a.approved_at), a.approved_by) order by a.analyte)
              from public.lab_analytes a where a.lab_sample_id = s.lab_sample_id))::text as text,
       null::timestamptz as time
  from public.lab_samples s
 where s.organization_id = $1 and s.lab_sample_id > $2 and s.lab_sample_id <= $3 order by s.lab_sample_id limit $4""",
    "materials": """
select material_id as id, pg_catalog.jsonb_build_array(
           material_id, number, version, act, device_id, kind, material, lot, quantity, unit,
           extract(epoch from begins), extract(epoch from ends), note, withdrawn, source, encode(event, 'hex'), who,
           why, extract(epoch from created_at))::text as text, null::timestamptz as time
  from public.materials
 where organization_id = $1 and material_id > $2 and material_id <= $3 order by material_id limit $4""",
}
"""Kind of record, which is the name of its table → how its rows are read."""
NEWEST = """
select (select max(transition_id) from public.alarm_transitions where organization_id = $1) as alarm_transitions,
       (select max(number) from public.device_event_numbers where organization_id = $1) as device_events,
       (select max(lab_sample_id) from public.lab_samples where organization_id = $1) as lab_samples,
       (select max(material_id) from public.materials where organization_id = $1) as materials"""
"""The newest number of each kind."""

# What events of people say in full of rows that are elsewhere: whether it is so still. $1 subject, $2 new,
# $3 organization.
DOCUMENTS: Mapping[str, str] = {
    "annotation": """
select exists (select from public.annotations a where a.annotation_id = ($2::jsonb ->> 'id')::bigint
                  and a.text = $2::jsonb ->> 'text' and a.begins = ($2::jsonb ->> 'begins')::timestamptz
                  and a.ends is not distinct from ($2::jsonb ->> 'ends')::timestamptz)
   and $1::text is not null and $3::integer is not null""",
    "deviation comment": """
select exists (select from public.deviation_comments c join public.deviations d using (deviation_id)
                where d.organization_id = $3 and 'deviation/' || d.deviation = $1
                  and c.comment_id = ($2::jsonb ->> 'comment')::bigint and c.text = $2::jsonb ->> 'text')""",
    "deviation attach": """
select exists (select from public.deviation_attachments a join public.deviations d using (deviation_id)
                where d.organization_id = $3 and 'deviation/' || d.deviation = $1
                  and a.attachment_id = ($2::jsonb ->> 'attachment')::bigint
                  and encode(sha256(a.content), 'hex') = $2::jsonb ->> 'sha256')""",
    "shift entry": """
select exists (select from public.shift_entries s
                where s.organization_id = $3 and 'shift/' || s.entry_id = $1 and s.text = $2::jsonb ->> 'text')""",
    "report make": """
select exists (select from public.reports r
                where r.organization_id = $3 and 'report/' || r.report_id = $1
                  and encode(sha256(r.document), 'hex') = $2::jsonb ->> 'document_sha256'
                  and encode(sha256(r.html), 'hex') = $2::jsonb ->> 'html_sha256'
                  and encode(sha256(r.pdf), 'hex') is not distinct from $2::jsonb ->> 'pdf_sha256')""",
    "policy change": """
select $1::text is not null and (
       $2::jsonb is distinct from (select a.new from public.audit a
                                    where a.organization_id = $3 and a.action = 'policy change'
                                    order by a.n desc limit 1)
       or exists (select from public.policies p
                   where p.organization_id = $3
                     and (select bool_and(to_jsonb(p) -> e.key = e.value) from jsonb_each($2::jsonb) e)))""",
    "signature": """
select exists (select from public.signatures s
                where s.organization_id = $3 and s.text::jsonb = $2::jsonb and $1::text is not null
                  and s.record = $2::jsonb ->> 'record' and s.digest = $2::jsonb ->> 'digest'
                  and encode(sha256(convert_to(s.form, 'UTF8')), 'hex') = s.digest
                  and s.meaning = $2::jsonb ->> 'meaning' and s.name = $2::jsonb ->> 'name'
                  and s.who = $2::jsonb ->> 'who' and s.at = ($2::jsonb ->> 'at')::timestamptz)""",
    "correction make": """
select exists (select from public.corrections c
                where c.organization_id = $3 and 'correction/' || c.number = $1
                  and c.version = ($2::jsonb ->> 'version')::integer
                  and c.begins = ($2::jsonb ->> 'begins')::timestamptz
                  and c.ends = ($2::jsonb ->> 'ends')::timestamptz
                  and c.value is not distinct from ($2::jsonb ->> 'value')::float8
                  and c.factor is not distinct from ($2::jsonb ->> 'factor')::float8
                  and c.added is not distinct from ($2::jsonb ->> 'added')::float8
                  and c.quality is not distinct from ($2::jsonb ->> 'quality')::smallint
                  and c.unit is not distinct from $2::jsonb ->> 'unit'
                  and c.deviation is not distinct from $2::jsonb ->> 'deviation')""",
    "second person ask": """
select exists (select from public.pending_acts p
                where p.organization_id = $3 and p.subject = $1 and p.act_id = ($2::jsonb ->> 'act')::bigint
                  and p.kind = $2::jsonb ->> 'kind' and p.request = $2::jsonb -> 'request')""",
    **dict.fromkeys(
        ("second person confirm", "second person expire"),
        """
select exists (select from public.pending_acts p
                where p.organization_id = $3 and p.subject = $1 and p.act_id = ($2::jsonb ->> 'act')::bigint
                  and p.state = $2::jsonb ->> 'state')""",
    ),
}
DOCUMENTS_ALIKE = {
    "deviation comment edit": "deviation comment",
    "correction change": "correction make",
    "correction withdraw": "correction make",
    "second person refuse": "second person confirm",
    "second person withdraw": "second person confirm",
}

DROPPED = """
select new from public.audit
 where organization_id = $1 and action = 'retention drop' and subject = 'retention/event'"""
"""Spans of which retention has dropped the events of devices: told in the chain itself."""


@dataclass(frozen=True, slots=True)
class RecordDigest:
    """What is said of the records of a kind whose numbers are above `after`, up to `last`."""

    after: int
    first: int
    last: int
    count: int
    sha256: str
    gone: int = 0
    """Rows that were there when they were numbered, and are not."""

    def to_json(self) -> dict[str, Any]:
        names = ("after", "first", "last", "count", "sha256")
        return {name: getattr(self, name) for name in names}


async def record_digest(
    connection: asyncpg.Connection, organization: int, kind: str, after: int, last: int
) -> RecordDigest | None:
    """Read the rows of a kind with numbers above `after` up to `last`; None if there are none. AT_ONCE at most."""
    digest = hashlib.sha256()
    first, at, count, gone = 0, after, 0, 0
    while page := await connection.fetch(ROWS[kind], organization, at, last, min(PAGE, AT_ONCE - count)):
        first = first or page[0]["id"]
        for row in page:
            gone += row["text"] is None
            digest.update(f"{row['text']}\n".encode())
        at, count = page[-1]["id"], count + len(page)
        if count >= AT_ONCE:
            break
    return RecordDigest(after, first, at, count, digest.hexdigest(), gone) if count else None


class RecordCheck:
    """Reads again what the events of a chain say of records; `faults` are sentences."""

    def __init__(self, connection: asyncpg.Connection, organization: int) -> None:
        self._connection, self._organization = connection, organization
        self._last: dict[str, int] = {}
        self._standing = StandingCheck(connection, organization)
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self.checked = 0

    async def event(self, event: AuditEvent) -> None:
        """Check what an event says of records, if it does."""
        if f'"{DIGEST}"' in event.text and event.fields["action"] == DIGEST:
            for kind, said in event.fields["new"].items():
                await self._digest(event.n, kind, said)
            return
        said = event.fields
        self._standing.event(event.n, said)
        action = DOCUMENTS_ALIKE.get(said["action"], said["action"])
        if action in DOCUMENTS:
            self.checked += 1
            given = said["subject"], json.dumps(said["new"]), self._organization
            if not await self._connection.fetchval(DOCUMENTS[action], *given):
                self.faults.append(f"{said['subject']}: what event {event.n} ({said['action']}) says of it was changed")

    async def end(self) -> None:
        """Compare what stands now with all events."""
        self.faults += await self._standing.faults()
        self.checked += self._standing.checked

    async def _digest(self, n: int, kind: str, said: dict[str, Any]) -> None:
        if kind not in ROWS:
            self.remarks.append(f"event {n} has a digest of {kind}, which this version does not know")
            return
        if said["after"] != self._last.get(kind, 0):
            self.faults.append(f"{kind}: event {n} begins after {said['after']}, and not {self._last.get(kind, 0)}")
        self._last[kind] = said["last"]
        found = await record_digest(self._connection, self._organization, kind, said["after"], said["last"])
        self.checked += found.count if found else 0
        if found is not None and found.to_json() == said:
            return
        rows = f"{kind} {said['first']} to {said['last']}"
        if found is not None and found.gone and await self._were_dropped(said["after"], said["last"]):
            self.remarks.append(f"{rows}: {found.gone} were dropped by retention")
            return
        count = found.count if found else 0
        how = "changed" if count == said["count"] else f"{said['count']} were there, and {count} are"
        self.faults.append(f"{rows}: {how}; certain by event {n}")

    async def _were_dropped(self, after: int, last: int) -> bool:
        """Whether retention has dropped all events of devices that are gone."""
        spans = [json.loads(row["new"]) for row in await self._connection.fetch(DROPPED, self._organization)]
        from_, to = [span["from"] for span in spans], [span["to"] for span in spans]
        return bool(await self._connection.fetchval(ALL_DROPPED, self._organization, after, last, from_, to))


ALL_DROPPED = """
select not exists (
    select from public.device_event_numbers d
      left join public.device_events e on e.device_id = d.device_id and e.time = d.time and e.digest = d.digest
     where d.organization_id = $1 and d.number > $2 and d.number <= $3 and e.device_id is null
       and not exists (select from unnest($4::text[], $5::text[]) as s (begins, ends)
                        where d.time between s.begins::timestamptz and s.ends::timestamptz))"""
