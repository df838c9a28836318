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

-- name: covered
-- The first $3 devices by name of the scope with the names $1 (null: any) and tags $2.
select name from devices
 where ($1::text[] is null or name = any ($1)) and tags @> $2 and state <> 'retired'
 order by name limit $3;
