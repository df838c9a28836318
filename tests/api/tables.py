"""All that organizations have, by table: to see whether it has changed."""

from __future__ import annotations

import asyncpg

from tests.api.tenants import Tenant


async def state(sql: asyncpg.Connection, tenants: list[Tenant]) -> dict[str, str]:
    """All that is theirs, and all that is nobody's, by table: to see whether it has changed."""
    tables = await sql.fetch("select tablename from pg_tables where schemaname = 'public'")
    each = (
        f"select '{name}', md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {name} t"
        f" where {WHOSE[name]}"
        for (name,) in tables
    )
    return dict(await sql.fetch(" union all ".join(each), [tenant.organization_id for tenant in tenants]))


OF_DEVICE = "device_id in (select device_id from devices where organization_id = any ($1))"
OF_ORGANIZATION = "organization_id = any ($1)"
OF_RUN = "run_id in (select run_id from runs where organization_id = any ($1))"
OF_DEVIATION = f"deviation_id in (select deviation_id from deviations where {OF_ORGANIZATION})"
EVERYTHING = "$1::integer[] is not null"
OWN_EVENTS = "('account create', 'password change', 'log-in failed')"
"""What is nobody's organization's to note, the first one notes."""
WHOSE = {
    "_pogo_migration": EVERYTHING,
    "_pogo_version": EVERYTHING,
    "alarm_acts": OF_ORGANIZATION,
    "alarm_beat": EVERYTHING,
    "alarm_devices": OF_DEVICE,
    "alarm_lead": EVERYTHING,
    "lead_beats": EVERYTHING,
    "alarm_notifications": "route_id in (select route_id from alarm_routes where organization_id = any ($1))",
    "alarm_routes": OF_ORGANIZATION,
    "alarm_rules": OF_ORGANIZATION,
    "alarm_transitions": OF_ORGANIZATION,
    "alarms": OF_DEVICE,
    "annotations": OF_DEVICE,
    "api_keys": OF_ORGANIZATION,
    "audit": f"organization_id = any ($1) and action not in {OWN_EVENTS}",
    "audit_sums": "organization_id = any ($1) and action <> 'log-in failed'",
    "backups": EVERYTHING,
    "cells": EVERYTHING,
    "checkpoints": OF_ORGANIZATION,
    "challenge_salts": EVERYTHING,
    "channel_descriptions": OF_ORGANIZATION,
    "channel_units": OF_ORGANIZATION,
    "channels": EVERYTHING,
    "claim_imports": EVERYTHING,
    "commands": OF_ORGANIZATION,
    "computed_channels": OF_ORGANIZATION,
    "computed_constants": OF_ORGANIZATION,
    "corrections": OF_DEVICE,
    "credentials": OF_DEVICE,
    "deviation_attachments": OF_DEVIATION,
    "deviation_comments": OF_DEVIATION,
    "deviation_links": OF_DEVIATION,
    "deviations": OF_ORGANIZATION,
    "device_cards": OF_ORGANIZATION,
    "device_event_numbers": OF_ORGANIZATION,
    "device_events": OF_DEVICE,
    "device_clocks": OF_DEVICE,
    "device_heard": OF_DEVICE,
    "device_layouts": OF_DEVICE,
    "device_streams": OF_DEVICE,
    "devices": OF_ORGANIZATION,
    "enrollments": "serial in (select serial from serials where organization_id = any ($1))",
    "former_passwords": "user_id in (select user_id from memberships where organization_id = any ($1))",
    "evidence_keys": EVERYTHING,
    "evidence_lead": EVERYTHING,
    "frames": OF_DEVICE,
    "imported_devices": OF_DEVICE,
    "imports": OF_ORGANIZATION,
    "intake_beats": EVERYTHING,
    "intake_totals": EVERYTHING,
    "invitations": OF_ORGANIZATION,
    "jobs": OF_ORGANIZATION,
    "lab_analytes": f"lab_sample_id in (select lab_sample_id from lab_samples where {OF_ORGANIZATION})",
    "lab_samples": OF_ORGANIZATION,
    "late_arrivals": OF_DEVICE,
    "layout_channels": EVERYTHING,
    "layouts": EVERYTHING,
    "locations": OF_ORGANIZATION,
    "log_in_links": "user_id in (select user_id from memberships where organization_id = any ($1))",
    "materials": OF_ORGANIZATION,
    "memberships": OF_ORGANIZATION,
    "notice_names": EVERYTHING,
    "organizations": OF_ORGANIZATION,
    "password_resets": "user_id in (select user_id from memberships where organization_id = any ($1))",
    "pending_acts": OF_ORGANIZATION,
    "plot_hours": OF_DEVICE,
    "plot_hours_stale": OF_DEVICE,
    "plot_hours_until": OF_DEVICE,
    "policies": OF_ORGANIZATION,
    "quarantine": "device in (select name from devices where organization_id = any ($1))",
    "quarantine_overflow": EVERYTHING,
    "quarantine_usage": EVERYTHING,
    "record_positions": OF_ORGANIZATION,
    "record_versions": OF_ORGANIZATION,
    "report_templates": OF_ORGANIZATION,
    "reports": OF_ORGANIZATION,
    "review_looks": OF_ORGANIZATION,
    "reviews": OF_ORGANIZATION,
    "retention_drops": EVERYTHING,
    "retention_holds": OF_ORGANIZATION,
    "run_devices": OF_ORGANIZATION,
    "run_phases": OF_RUN,
    "run_states": OF_RUN,
    "runs": OF_ORGANIZATION,
    "seal_checks": EVERYTHING,
    "seal_layouts": EVERYTHING,
    "seal_passes": OF_ORGANIZATION,
    "seals": OF_ORGANIZATION,
    "seals_stale": OF_DEVICE,
    "seals_until": OF_DEVICE,
    "serials": OF_ORGANIZATION,
    "sessions": "user_id in (select user_id from memberships where organization_id = any ($1))",
    "shift_entries": OF_ORGANIZATION,
    "signatures": OF_ORGANIZATION,
    "sql_logins": EVERYTHING,
    "statuses": OF_DEVICE,
    "stored_late": OF_DEVICE,
    "users": "user_id in (select user_id from memberships where organization_id = any ($1))",
    "vault": EVERYTHING,
    "waiting_acts": OF_ORGANIZATION,
}
"""The rows that count, for each table: a new one has to be put here."""
