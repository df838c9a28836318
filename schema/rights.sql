-- What each process, and the tools, may do at the database: one role each, and what stands here is all it may. Runs at every
-- migrate, as a migration may have made a table: a new table is nobody's until it has a line here, and a test says so.
-- docs/roles.md has it in words.
--
-- Whoever adds a table: give each role that needs it a line below. A row that nobody may change is a trigger's matter, too
-- (record_kept in migrations/0034_roles.sql). Nobody but the owner has TRUNCATE, nobody has DELETE on a record.
-- A lock (`select … for update`) needs the right to update one column: where that is all, it is one that PostgreSQL itself
-- lets nobody change (generated always as identity).

-- First nobody may do anything.
do $$
declare
    roles constant text := 'biogate_storing, biogate_gateway, biogate_alarms, biogate_worker, biogate_backup, '
                           'biogate_evidence, biogate_operator';
begin
    execute 'revoke all on all tables in schema public from ' || roles;
    execute 'revoke all on all sequences in schema public from ' || roles;
    execute 'revoke all on all functions in schema public from ' || roles;
    execute 'grant usage on schema public to ' || roles;
    execute 'grant select on _pogo_migration to ' || roles;
    execute 'grant insert on audit to ' || roles;  -- trigger audit_append fills in what is proof; nobody updates or deletes
end $$;

-- Functions that run with the owner's rights, so that a role has a right to what they do and none on the tables. Other
-- functions of the schema public run with the rights of who calls them, so everybody may call them.
do $$
declare
    name text;
begin
    foreach name in array array[
        -- triggers
        'audit_append()', 'alarm_acts_audit()', 'backups_audit()', 'channels_given()', 'commands_audit()',
        'commands_given_away()', 'device_events_number()', 'device_organization()', 'deviation_version_keep()',
        'enrollment_audit()',
        'layout_channels_fill()', 'log_in_links_end()', 'plot_hours_drop()',
        'quarantine_count()', 'quarantine_told()', 'record_dropped()', 'retention_given()', 'retention_holds_bounded()',
        'rule_version_keep()', 'run_event()', 'seals_stale_mark()', 'users_password()', 'written_by()', 'session_shown()', 'account_shown()',
        -- the gateway's
        'channels_claim(integer, jsonb, text)', 'credentials_activate(text)', 'device_records_make(jsonb)',
        'enrollments_sweep(text, interval)', 'notice_channel(text)', 'notice_send(text, text)',
        'pending_acts_expire()',
        'retention_drop_chunk(text, regclass, regclass, timestamptz, timestamptz, text)',
        'retention_drop_quarantined(timestamptz, integer, text)', 'retention_drop_statuses(timestamptz, integer, text)',
        'sql_logins_end_late(float8, float8, float8)', 'waiting_acts_do(integer)', 'wide_views_follow(text)',
        -- who has shown a credential
        'credential_who()',
        -- what people do
        'account_change(integer, boolean, boolean, text, text)',
        'channel_describe(integer, integer, text, jsonb, timestamptz, integer, text, text)',
        'computed_channel_put(integer, text, jsonb, integer, text, text)',
        'computed_channel_remove(integer, text, integer, text, text)',
        'computed_constants_set(integer, integer, jsonb, integer, text, text)',
        'device_command(text, text, text, text)', 'device_login(text, text, text, jsonb, text, text)',
        'enrollment_approve(text, text, text, text)', 'enrollment_deny(text, text, text)',
        'enrollment_switch(text, boolean, text, text)', 'log_in_link_make(integer, bytea, timestamptz, text, text)',
        'login_end(text, text, text)', 'retention_hold(integer, integer, timestamptz, timestamptz, text, text)',
        'retention_hold_end(integer, integer, text, text)',
        'run_create(integer, text, integer[], timestamptz, jsonb, text, text)',
        'run_step(integer, text, text, timestamptz, integer, text, text)', 'serial_block(text, boolean, text, text)',
        'serials_import(text[], text[], smallint[], bytea[], text, integer, text, text)',
        'serials_import(text[], text[], smallint[], bytea[], text, integer, text, text, text)'
    ] loop
        execute format('alter function public.%s security definer set search_path = public, pg_temp', name);
        execute format('revoke all on function public.%s from public', name);
    end loop;
end $$;
alter function wide_views_follow set lock_timeout = '1s';

-- biogate_storing: what storing frames needs. Of gateways, of workers (imports, replays) and of the tools that store frames.
grant select on
    cells, channels, commands, device_events, device_heard, device_layouts, device_streams, devices, frames, imported_devices,
    imports, intake_totals, late_arrivals, layout_channels, layouts, organizations, presence, quarantine, quarantine_overflow,
    quarantine_usage, statuses to biogate_storing;
grant insert on frames, device_events, statuses, quarantine to biogate_storing;
grant insert on cells, channels, device_layouts, layouts, late_arrivals, plot_hours_stale to biogate_storing;
grant select, insert on stored_late to biogate_storing;
grant insert, update (heard_at) on device_heard to biogate_storing;
grant insert, update (received, lost, changed_at) on device_streams to biogate_storing;
grant insert, update (committed, duplicate, quarantined, discarded) on intake_totals to biogate_storing;
grant insert, update (count, bytes, hash, first_at, last_at) on quarantine_overflow to biogate_storing;
grant update (state, detail, result, sent_at, accepted_at, ended_at) on commands to biogate_storing;
grant update (device_id) on devices to biogate_storing;  -- a lock
grant execute on function device_records_make, notice_channel, notice_send to biogate_storing;

-- biogate_gateway: besides, enrollment, logins at the broker, commands, upkeep.
grant biogate_storing to biogate_gateway;
grant select on
    backups, challenge_salts, claim_imports, credentials, device_cards, enrollments, intake_beats, lead_beats, retention_holds,
    serials, vault to biogate_gateway;
grant update (epoch, enrollment_applied) on cells to biogate_gateway;
grant insert, delete on challenge_salts to biogate_gateway;
grant update (import_id) on claim_imports to biogate_gateway;  -- a lock
grant insert, update (wanted, applied, password, applied_at, activated_at, ended_at) on credentials to biogate_gateway;
grant insert, update (name, renew_told, model) on devices to biogate_gateway;
grant insert, update (state, reason, proof, reply, username, keys, changed_at, expires_at) on enrollments to biogate_gateway;
grant insert, update (settled_until, well_since, beat_at) on intake_beats to biogate_gateway;
grant delete on late_arrivals to biogate_gateway;  -- notes for the alarms process
grant insert, update (epoch, beat_at) on lead_beats to biogate_gateway;
grant update (device_id, identity_key) on serials to biogate_gateway;
grant insert on vault to biogate_gateway;
grant select on audit, waiting_acts to biogate_gateway;
grant execute on function channels_claim, credentials_activate, enrollments_sweep, pending_acts_expire, retention_drop_chunk,
    retention_drop_quarantined, retention_drop_statuses, sql_logins_end_late, waiting_acts_do, wide_views_follow to biogate_gateway;

-- biogate_alarms: evaluates, publishes, tells people.
grant select on
    alarm_acts, alarm_beat, alarm_devices, alarm_lead, alarm_notifications, alarm_routes, alarm_rules, alarm_transitions, alarms,
    channel_terms, channels, device_events, devices, frames, imported_devices, intake_beats, late_arrivals, layout_channels,
    lead_beats, run_devices, run_phases, runs to biogate_alarms;
grant select (device_id, cell, generation) on credentials to biogate_alarms;
grant insert on alarm_transitions to biogate_alarms;
grant update (done_at, refused, n) on alarm_acts to biogate_alarms;
grant insert, update (at) on alarm_beat to biogate_alarms;
grant insert, update, delete on alarm_devices to biogate_alarms;  -- what the evaluation remembers
grant update (epoch) on alarm_lead to biogate_alarms;
grant insert, update, delete on alarm_notifications to biogate_alarms;
grant update (sent_at, failing_since, failures, retry_at, last_error, last_error_at, reported_at) on alarm_routes
   to biogate_alarms;
grant insert, update on alarms to biogate_alarms;
grant insert, update (epoch, beat_at) on lead_beats to biogate_alarms;
grant execute on function notice_channel, notice_send to biogate_alarms;

-- biogate_worker: does jobs. An export or a report reads by the API's login, as its organization sees it.
grant biogate_storing to biogate_worker;
grant select on audit, channel_units, jobs, plot_hours, plot_hours_stale, plot_hours_until to biogate_worker;
grant update, delete on jobs to biogate_worker;
grant insert, delete on plot_hours to biogate_worker;  -- computed from frames
grant delete on plot_hours_stale to biogate_worker;
grant insert, update (until) on plot_hours_until to biogate_worker;
grant insert, update (attempt, pending, job_id, position, committed, duplicate, quarantined, discarded, finished_at, result)
   on imports to biogate_worker;
grant insert on devices, imported_devices to biogate_worker;
grant update (state, settled_at, shift_ms) on quarantine to biogate_worker;

-- biogate_backup: its login has the attribute REPLICATION, too, by which it reads the server's files.
grant select, insert, update on backups to biogate_backup;

-- biogate_evidence: signs the audit trail, seals frames, and looks at both again.
grant select on
    alarm_transitions, audit, channel_units, channels, checkpoints, device_clocks, device_event_numbers, device_events,
    device_layouts, device_streams, devices, evidence_keys, evidence_lead, frames, imported_devices, imports, intake_beats,
    layout_channels, layouts, lead_beats, organizations, record_positions, retention_drops, seal_checks, seal_layouts,
    seal_passes, seals, seals_stale, seals_until, statuses, stored_late, unit_spans to biogate_evidence;
grant insert, update (token) on checkpoints to biogate_evidence;
grant insert on evidence_keys, seal_checks, seal_layouts, seal_passes, seals to biogate_evidence;
grant update (epoch) on evidence_lead to biogate_evidence;
grant insert, update (last) on record_positions to biogate_evidence;
grant insert, update (until) on seals_until to biogate_evidence;
grant delete on seals_stale to biogate_evidence;  -- marks
grant insert, update, delete on device_clocks to biogate_evidence;  -- computed from frames
grant insert, update (epoch, beat_at) on lead_beats to biogate_evidence;
grant usage on sequence seal_passes_pass_seq to biogate_evidence;

-- What the audit trail says of records is compared with them: by the process that signs, and by `biogate audit verify`.
grant select on
    alarm_rules, annotations, computed_channels, corrections, deviation_attachments, deviation_comments, deviations, devices,
    lab_analytes, lab_samples, locations, materials, memberships, pending_acts, policies, report_templates, reports,
    retention_holds, run_devices, run_phases, runs, shift_entries, signatures to biogate_evidence, biogate_operator;
grant select (organization_id, name, definition, address) on alarm_routes to biogate_evidence, biogate_operator;
grant select (key_id, organization_id, name, role, scopes, expires_at, ended_at) on api_keys to biogate_evidence;
grant select (user_id, email, disabled, verified) on users to biogate_evidence;

-- biogate_operator: `biogate devices`, `quarantine`, `accounts`, `audit`, `import` and the others. Whoever has this login makes
-- accounts, so it may be anybody to the API; it changes no record either.
grant biogate_storing to biogate_operator;
grant select on
    alarm_acts, alarm_notifications, alarm_transitions, alarms, audit, backups, channel_descriptions,
    checkpoints, device_event_numbers, evidence_keys, record_positions, seal_checks, seal_layouts, seal_passes, seals,
    seals_stale, seals_until,
    channel_terms, channel_units, claim_imports, computed_constants, device_cards, enrollments, intake_beats, jobs, lead_beats,
    organization_channel_terms, retention_drops, run_states, serials, telemetry, unit_spans, vault to biogate_operator;
grant select (key_id, organization_id, name, role, scopes, created_by, created_at, expires_at, ended_at) on api_keys
   to biogate_operator;
grant select (username, device_id, cell, generation, kind, client_id, salt, verifier, wanted, applied, created_at, applied_at,
              activated_at, ended_at, by_hand, certificate_serial) on credentials to biogate_operator;
grant select (session_id, user_id, kind, created_at, renewed_at, expires_at, ended_at) on sessions to biogate_operator;
grant select (user_id, email, name, disabled, created_at, verified, last_login_at) on users to biogate_operator;
grant insert, update (ended_at) on api_keys to biogate_operator;
grant insert, update (applied_at, activated_at) on credentials to biogate_operator;  -- logins made in advance
grant insert on devices, imported_devices, memberships, organizations to biogate_operator;
grant insert, update (attempt, pending, job_id, position, committed, duplicate, quarantined, discarded, finished_at, result)
   on imports to biogate_operator;
grant update (state, settled_at, shift_ms, bytes, payload) on quarantine to biogate_operator;
grant update (ended_at) on sessions to biogate_operator;
grant insert, update (password_hash, verified) on users to biogate_operator;
grant execute on function
    account_change, channel_describe, computed_channel_put, computed_channel_remove, computed_constants_set, device_command,
    device_login, enrollment_approve, enrollment_deny, enrollment_switch, log_in_link_make, login_end, retention_hold,
    retention_hold_end, run_create, run_step, serial_block to biogate_operator;
grant execute on function
    serials_import(text[], text[], smallint[], bytea[], text, integer, text, text),
    serials_import(text[], text[], smallint[], bytea[], text, integer, text, text, text) to biogate_operator;
grant usage on schema api to biogate_operator;
grant execute on function api.device_give, api.lab_sample_put, api.material_put, api.organization to biogate_operator;
grant select on api.devices, api.lab_analytes, api.lab_samples, api.materials, api.run_devices, api.runs to biogate_operator;

-- biogate_api: the schema api, which shows what is one organization's, and nothing else.
revoke all on all functions in schema api from public;
grant usage on schema api to biogate_api;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;
grant select on _pogo_migration to biogate_api;

-- Nobody's but the owner's, so that the functions of the schema api alone read and write them.
revoke all on
    audit_sums, corrections, deviation_attachments, deviation_comments, deviation_links, deviations, former_passwords, invitations,
    lab_analytes, lab_samples, locations, log_in_links, materials, notice_names, password_resets, pending_acts, policies,
    record_versions, report_templates, reports, review_looks, reviews, shift_entries, signatures, sql_logins, waiting_acts
    from public;

-- So that figures show what the server says of all connections. Without a superuser's rights they are missing.
do $$
begin
    grant pg_read_all_stats to biogate_gateway;
exception when insufficient_privilege then
    null;
end $$;

-- What `biogate sql-login add` took from everyone, and a version that knew of fewer roles gave back to the gateway alone: each
-- of our processes needs locks and notifications. Whoever could take that away, a superuser, can give it.
do $$
declare
    barred regprocedure;
    role text;
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        return;
    end if;
    foreach role in array array['biogate_gateway', 'biogate_alarms', 'biogate_api', 'biogate_worker', 'biogate_backup',
                                'biogate_evidence', 'biogate_operator'] loop
        for barred in select p.oid from pg_proc p, aclexplode(p.proacl) a
                       where a.grantee = 'biogate_gateway'::regrole and p.pronamespace = 'pg_catalog'::regnamespace loop
            execute format('grant execute on function %s to %I', barred, role);
        end loop;
        if not has_language_privilege(role, 'plpgsql', 'usage') then
            execute format('grant usage on language plpgsql to %I', role);
        end if;
    end loop;
end $$;
