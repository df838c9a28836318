-- signatures stay those of the version that was signed when the record goes on to its next one
-- depends: 0040_run_gaps

-- migrate: apply

-- What deviations and alarm rules said in the versions before the newest, which their own tables do not keep. Samples and
-- reviews keep their versions themselves; comments, links and files of deviations are only ever added.
create table record_versions (
    organization_id integer not null references organizations,
    kind            text    not null check (kind in ('deviation', 'rule')),
    id              bigint  not null,
    version         integer not null,
    content         jsonb   not null,
    primary key (kind, id, version)
);

comment on column record_versions.content is 'what of its canonical form (record_form_<kind>) changes with the version';

create trigger record_versions_kept before update or delete or truncate on record_versions
    for each statement execute function signatures_kept();

create function deviation_version_keep() returns trigger language plpgsql as $$
begin
    insert into record_versions (organization_id, kind, id, version, content)
    values (old.organization_id, 'deviation', old.deviation_id, old.version, jsonb_build_object(
        'title', old.title, 'description', old.description, 'severity', old.severity, 'state', old.state,
        'tags', to_jsonb(old.tags), 'members', old.members, 'hold', old.hold_id, 'closed_at', record_time(old.closed_at)));
    return null;
end $$;

create function rule_version_keep() returns trigger language plpgsql as $$
begin
    insert into record_versions (organization_id, kind, id, version, content)
    values (old.organization_id, 'rule', old.rule_id, old.version, jsonb_build_object('definition', old.definition));
    return null;
end $$;

create trigger z_version_keep after update on deviations
    for each row when (new.version <> old.version) execute function deviation_version_keep();
create trigger z_version_keep after update on alarm_rules
    for each row when (new.version <> old.version) execute function rule_version_keep();

-- Of versions that were signed before this table was there the signature has what they said.
insert into record_versions (organization_id, kind, id, version, content)
select distinct on (v.deviation_id, s.version) v.organization_id, 'deviation', v.deviation_id, s.version,
       jsonb_build_object('title', f -> 'title', 'description', f -> 'description', 'severity', f -> 'severity',
                          'state', f -> 'state', 'tags', f -> 'tags', 'members', f -> 'members', 'hold', f -> 'hold',
                          'closed_at', f -> 'closed_at')
  from signatures s cross join lateral (select s.form::jsonb) as form (f)
  join deviations v on v.organization_id = s.organization_id and 'deviation/' || v.deviation = s.record
 where s.version < v.version
 order by v.deviation_id, s.version, s.signature_id;

insert into record_versions (organization_id, kind, id, version, content)
select distinct on (r.rule_id, s.version) r.organization_id, 'rule', r.rule_id, s.version,
       jsonb_build_object('definition', s.form::jsonb -> 'definition')
  from signatures s
  join alarm_rules r on r.organization_id = s.organization_id and starts_with(s.record, 'rule/')
                    and r.rule_id = (s.form::jsonb ->> 'rule')::integer
 where s.version < r.version
 order by r.rule_id, s.version, s.signature_id;

-- A kind of record that has versions, or to which something is added, has a function record_then_<kind>(organization,
-- reference, signed): the version that was signed, made of the rows as they are now, of which `signed` says which they are.
-- It is equal to `signed` unless somebody has changed them. Null: there is no such version.

create function record_then_sample(organization_ integer, reference_ text, signed_ jsonb) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', s.version, 'act', s.act, 'device', d.name, 'taken_at', record_time(s.taken_at), 'location', s.location,
        'note', s.note, 'status', s.status, 'withdrawn', s.withdrawn, 'source', s.source, 'who', s.who, 'why', s.why,
        'created_at', record_time(s.created_at),
        'analytes', (select coalesce(jsonb_agg(jsonb_build_object(
                            'analyte', a.analyte, 'value', a.value::text, 'reading', a.reading, 'unit', a.unit,
                            'method', a.method, 'status', a.status, 'measured_at', record_time(a.measured_at),
                            'measured_by', a.measured_by, 'approved_at', record_time(a.approved_at),
                            'approved_by', a.approved_by) order by a.analyte collate "C"), '[]')
                       from lab_analytes a where a.lab_sample_id = s.lab_sample_id))
      from lab_samples s join devices d using (device_id)
     where s.organization_id = organization_ and d.organization_id = organization_ and s.sample = reference_
       and s.version = (signed_ ->> 'version')::integer
$$;

-- Of a list those items that a list of before has, too, by the members `names`.
create function record_items_then(items jsonb, before_ jsonb, names text[]) returns jsonb language sql immutable as $$
    select coalesce(jsonb_agg(e.item order by e.n), '[]')
      from jsonb_array_elements(items) with ordinality as e (item, n)
     where exists (select from jsonb_array_elements(before_) b
                    where (select bool_and(b -> name = e.item -> name) from unnest(names) name))
$$;

create function record_then_deviation(organization_ integer, reference_ text, signed_ jsonb) returns jsonb
language sql stable as $$
    select now_ || case when now_ -> 'version' = signed_ -> 'version' then '{}' else k.content end || jsonb_build_object(
        'version', signed_ -> 'version',
        'links', (select coalesce(jsonb_agg(case when before_ -> 'withdrawn_at' = 'null'
                                                 then l || '{"withdrawn_at": null}' else l end order by n), '[]')
                    from jsonb_array_elements(record_items_then(now_ -> 'links', signed_ -> 'links', '{link}'))
                         with ordinality as links (l, n)
                    join jsonb_array_elements(signed_ -> 'links') before_ on before_ -> 'link' = l -> 'link'),
        'comments', record_items_then(now_ -> 'comments', signed_ -> 'comments', '{comment,version}'),
        'attachments', record_items_then(now_ -> 'attachments', signed_ -> 'attachments', '{attachment}'))
      from record_form_deviation(organization_, reference_) now_
      join deviations v on v.organization_id = organization_ and v.deviation = reference_
      left join record_versions k on k.kind = 'deviation' and k.id = v.deviation_id
                                 and k.version = (signed_ ->> 'version')::integer
$$;

create function record_then_rule(organization_ integer, reference_ text, signed_ jsonb) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', signed_ -> 'version', 'rule', r.rule_id,
        'definition', case when r.version = (signed_ ->> 'version')::integer then r.definition
                           else k.content -> 'definition' end)
      from alarm_rules r
      left join record_versions k on k.kind = 'rule' and k.id = r.rule_id and k.version = (signed_ ->> 'version')::integer
     where r.organization_id = organization_ and r.name = reference_ and r.rule_id = (signed_ ->> 'rule')::integer
$$;

create function record_then_review(organization_ integer, reference_ text, signed_ jsonb) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', v.version, 'run', r.name, 'devices', to_jsonb(v.devices), 'begins', record_time(v.begins),
        'ends', record_time(v.ends), 'n', v.n, 'hash', v.hash, 'exceptions', v.exceptions, 'routine', v.routine, 'who', v.who,
        'looks', (select record_items_then(
                             coalesce(jsonb_agg(jsonb_build_object('look', l.look_id, 'key', l.key, 'note', l.note,
                                                                   'who', l.who) order by l.look_id), '[]'),
                             signed_ -> 'looks', '{look}')
                    from review_looks l where l.organization_id = v.organization_id and l.number = v.number))
      from reviews v left join runs r using (run_id)
     where v.organization_id = organization_ and v.number::text = reference_
       and v.version = (signed_ ->> 'version')::integer
$$;

-- The version of a record that a form is of, as the rows have it now; null: there is none, or the form is none.
create function record_then(organization_ integer, record_ text, signed_ text) returns text language plpgsql stable as $$
declare
    kind text := split_part(record_, '/', 1);
    form jsonb;
begin
    if kind !~ '^[a-z]{1,30}$' or to_regprocedure(format('public.record_then_%s(integer, text, jsonb)', kind)) is null then
        return record_form(organization_, record_);
    end if;
    execute format('select public.record_then_%s($1, $2, $3)', kind)
       into form using organization_, substr(record_, length(kind) + 2), signed_::jsonb;
    return record_json(form || jsonb_build_object('record', record_, 'organization', organization_));
exception when data_exception then
    return null;
end $$;

-- The version that was signed, as the rows have it now.
create function api.signed_version(signature_ bigint) returns text
language sql stable security definer set search_path = public, pg_temp as $$
    select record_then(s.organization_id, s.record, s.form)
      from signatures s where s.signature_id = signature_ and s.organization_id = api.organization()
$$;

-- migrate: rollback

drop function api.signed_version;
drop function record_then, record_then_review, record_then_rule, record_then_deviation, record_items_then, record_then_sample;
drop trigger z_version_keep on alarm_rules;
drop trigger z_version_keep on deviations;
drop function rule_version_keep, deviation_version_keep;
drop table record_versions;
