-- Alarm rules.

-- name: page
-- Rules by name after $1, for which each of these holds that is not null: enabled is $2, its scope names all the tags $3,
-- priority among $4, $5 stands where channels are named. At most $6; null: all.
select rule_id, name, version, definition ->> 'title' as title, priority, enabled, created_at, changed_at, definition
  from alarm_rules
 where name > $1
   and ($2::boolean is null or enabled = $2)
   and ($3::text[] is null or definition -> 'scope' -> 'tags' ?& $3)
   and ($4::text[] is null or priority = any ($4))
   and ($5::text is null
        or strpos(concat_ws(' ', definition -> 'when' ->> 'channel', (definition -> 'when' ->> 'channel') || '_setpoint',
                            definition -> 'when' ->> 'setpoint', definition -> 'when' ->> 'expression',
                            definition ->> 'clear'), $5) > 0)
 order by name
 limit $6;

-- name: one
select rule_id, name, version, definition ->> 'title' as title, priority, enabled, created_at, changed_at, definition
  from alarm_rules where name = $1;

-- name: put
select alarm_rule_put($1, $2::jsonb, $3, $4, $5);

-- name: remove
select alarm_rule_remove($1, $2, $3, $4);

-- name: put_many
-- $1 names, $2 definitions, $3 versions that they must have, $4 who, $5 why
select alarm_rule_put(u.name, u.definition, u.version, $4, $5)
  from unnest($1::text[], $2::jsonb[], $3::integer[]) as u (name, definition, version);

-- name: remove_many
-- $1 names, $2 versions that they must have, $3 who, $4 why
select alarm_rule_remove(u.name, u.version, $3, $4) from unnest($1::text[], $2::integer[]) as u (name, version);

-- name: scope
-- Of the scope with the names $1 (null: any) and tags $2: how many devices it has, which of its names are nobody's, and
-- which of the channels $3 any of them has ever sent.
with covered as (
     select device_id from devices
      where ($1::text[] is null or name = any ($1)) and tags @> $2 and state <> 'retired')
select (select count(*) from covered) as devices,
       array(select u.name from unnest($1::text[]) as u (name)
              where not exists (select from devices d where d.name = u.name)) as strangers,
       array(select c.name from channels c
              where c.name = any ($3)
                and exists (select from layout_channels lc join device_layouts dl using (layout_id) join covered using (device_id)
                             where lc.channel_id = c.channel_id)) as sent;

-- name: covered
-- The first $3 devices by name of the scope with the names $1 (null: any) and tags $2.
select name from devices
 where ($1::text[] is null or name = any ($1)) and tags @> $2 and state <> 'retired'
 order by name limit $3;
