-- wide views for SQL logins: org.<model>_wide, one column a channel
-- depends: 0023_imports

-- migrate: apply

alter table devices add column model text check (char_length(model) between 1 and 64);

comment on column devices.model is 'what hardware the controller said it is, at its last enrollment';

create or replace view org.devices with (security_barrier) as
select device_id, name as device, title, location, tags, state, registered_at, model
  from public.devices
 where organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

-- `rev C` → rev_c_wide; devices of which no model is known: device_wide.
create function wide_view_name(model_ text) returns text language sql immutable as $$
    select coalesce(nullif(left(trim(both '_' from regexp_replace(lower(model_), '[^a-z0-9]+', '_', 'g')), 50), ''),
                    'device') || '_wide'
$$;

-- The name of a channel's column: its own, unless PostgreSQL would cut it or the view has another column of that name.
create function wide_column_name(channel_ text, channel_id_ integer) returns text language sql immutable as $$
    select case when octet_length(channel_) > 63 or channel_ ~ '^(time|device|device_id|channel_[0-9]+)$'
                then 'channel_' || channel_id_ else channel_ end
$$;

-- Makes the wide views of the organization whose logins can read them, and returns how many have changed: a view that is
-- as it should be is not touched, so that nobody waits. Runs at every migrate. A column stays in its place; a channel that
-- is new comes at the end. A column has the good values in one unit, which its comment names: the newest when the view was
-- made. A sample in another one is null, also after a change; whether there was ever one is looked for once a query.
create function wide_views_make() returns integer language plpgsql as $$
declare
    wanted record;
    definition text;
    comments text[];
    made integer := 0;
begin
    for wanted in
        select wide_view_name(d.model) as name, count(*) as devices from devices d
         where d.organization_id = 1 and exists (select from device_layouts l where l.device_id = d.device_id)
         group by 1 order by 2 desc, 1 limit 100
    loop
        with sent as (
            select lc.channel_id, min(d.device_id) as one_of
              from devices d join device_layouts l using (device_id) join layout_channels lc using (layout_id)
             where d.organization_id = 1 and wide_view_name(d.model) = wanted.name
             group by lc.channel_id
        ), columns as (
            select c.channel_id, wide_column_name(c.name, c.channel_id) as name, a.attnum, t.unit,
                   coalesce(c.unit, '') as standard
              from channels c
              left join sent s using (channel_id)
              left join pg_attribute a on a.attrelid = to_regclass(format('org.%I', wanted.name)) and a.attnum > 3
                                      and not a.attisdropped and a.attname = wide_column_name(c.name, c.channel_id)
              left join lateral (
                   select t.unit from channel_terms t
                    where t.channel_id = c.channel_id and t.device_id = s.one_of) t on true
             where s.channel_id is not null or a.attnum is not null
             order by a.attnum nulls last, c.channel_id limit 1000)
        select string_agg(format(
                   E',\n       case when coalesce(f.quality[array_position(l.channel_ids, %1$s)], 0) = 0%3$s'
                   ' then f.values[array_position(l.channel_ids, %1$s)] end as %2$I',
                   k.channel_id, k.name,
                   format(
                       E'\n             and ((select not exists (select from public.channel_units u where'
                       ' u.organization_id = 1 and u.channel_id = %1$s and not u.plain))\n                  or'
                       ' coalesce((select s.unit from public.unit_spans s where s.device_id = d.device_id'
                       ' and s.channel_id = %1$s and s.since <= f.time order by s.since desc limit 1), %2$L) = %3$L)',
                       k.channel_id, k.standard, coalesce(k.unit, ''))), '' order by k.attnum nulls last, k.channel_id),
               array_agg(format('comment on column org.%I.%I is %L', wanted.name, k.name,
                                coalesce(k.unit, 'unit not known')
                                || '; null where a sample has another unit: see org.telemetry'))
          into definition, comments from columns k;
        definition := format(
            E'create or replace view org.%I with (security_barrier) as\nselect f.time, f.device_id, d.name as device%s\n'
            '  from public.frames f\n  join public.devices d using (device_id)\n  join public.layouts l using (layout_id)\n'
            ' where public.wide_view_name(d.model) = %L\n   and d.organization_id = (select s.organization_id'
            ' from public.sql_logins s where s.role = current_user)', wanted.name, definition, wanted.name);
        continue when obj_description(to_regclass(format('org.%I', wanted.name)), 'pg_class')
                      = 'one row a frame, one column a channel; definition ' || md5(definition || comments::text);
        execute definition;
        execute format('comment on view org.%I is %L', wanted.name,
                       'one row a frame, one column a channel; definition ' || md5(definition || comments::text));
        for place in 1 .. cardinality(comments) loop
            execute comments[place];
        end loop;
        execute format('grant select on org.%I to biogate_sql', wanted.name);
        made := made + 1;
    end loop;
    return made;
end $$;

-- For the leading gateway: makes the wide views if what they are made of has changed since the caller was told `seen`, and
-- returns what to say next time, and how many views have changed. Only a view that changes is locked, for those who read it;
-- while one of them reads for longer than a second, it raises lock_not_available, and is asked again later.
create function wide_views_follow(seen text, out state text, out changed integer)
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '1s' as $$
begin
    changed := 0;
    state := (select count(*) from device_layouts) || ' ' || (select count(*) from channel_units)
        || ' ' || coalesce((select md5(string_agg(device_id || ' ' || organization_id || ' ' || coalesce(model, ''), ','
                                                  order by device_id))
                              from devices), '');
    if state is distinct from seen then
        if pg_try_advisory_xact_lock(1785684852) then  -- other gateways do the same
            changed := wide_views_make();
        else
            state := seen;
        end if;
    end if;
end $$;

revoke all on function wide_views_follow from public;
grant execute on function wide_views_follow to biogate_gateway;

-- migrate: rollback

do $$
declare
    view_ text;
begin
    for view_ in select viewname from pg_views where schemaname = 'org' and viewname like '%\_wide' loop
        execute format('drop view org.%I', view_);
    end loop;
end $$;

drop function wide_views_follow, wide_views_make, wide_column_name, wide_view_name;
drop view org.devices;

create view org.devices with (security_barrier) as
select device_id, name as device, title, location, tags, state, registered_at
  from public.devices
 where organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on org.devices to biogate_sql;
alter table devices drop column model;
