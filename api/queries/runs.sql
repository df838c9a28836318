-- Runs, their devices, phases and states. The functions are in 0028_runs.sql.

-- name: page
-- $1 and $2 (sorted_at, run_id) before which the page begins, $3 limit, and filters that are null if left out: $4 states,
-- $5 device, $6 material, $7 strain, $8 pattern of words in small letters.
-- Newest first.
select r.run_id, r.name as run, r.state, r.next_states, r.material, r.strain, r.recipe, r.recipe_version, r.note, r.begins,
       r.ends, r.version, r.created_by, r.created_at, r.sorted_at,
       array(select d.device from run_devices d where d.run_id = r.run_id order by d.device) as devices
  from runs r
 where r.sorted_at <= $1 and (r.sorted_at, r.run_id) < ($1, $2)
   and ($4::text[] is null or r.state = any ($4))
   and ($5::text is null or exists (select from run_devices d where d.run_id = r.run_id and d.device = $5))
   and ($6::text is null or r.material = $6)
   and ($7::text is null or r.strain = $7)
   and ($8::text is null or r.words like $8)
 order by r.sorted_at desc, r.run_id desc
 limit $3;

-- name: one
select r.run_id, r.name as run, r.state, r.next_states, r.material, r.strain, r.recipe, r.recipe_version, r.note, r.begins,
       r.ends, r.version, r.created_by, r.created_at, r.plan,
       array(select d.device from run_devices d where d.run_id = r.run_id order by d.device) as devices,
       array(select d.device_id from run_devices d where d.run_id = r.run_id order by d.device) as device_ids
  from runs r
 where r.name = $1;

-- name: states
select state, at, who, why from run_states where run_id = $1 order by run_state_id;

-- name: phases
select name as phase, begins, ends, origin, confirmed_by, confirmed_at from run_phases where run_id = $1 order by begins;

-- name: phase_events
-- Phases that the devices $1 have reported from $2 up to $3, at most $4.
select d.name as device, e.data ->> 'phase' as phase, e.time
  from device_events e join devices d using (device_id)
 where e.device_id = any ($1) and e.type = 'phase' and e.data ->> 'phase' is not null
   and e.time >= $2 and e.time < $3
 order by e.time, d.name
 limit $4;

-- name: of_devices
-- The run that each of the devices $1 is in at $2.
select d.device, r.name as run, r.state, r.material, r.strain, r.begins, r.ends
  from run_devices d join runs r using (run_id)
 where d.device = any ($1) and d.begins <= $2 and (d.ends is null or d.ends > $2);

-- name: proposed
-- What events `run` of devices from $1 on say has begun, where there is no such run and the device was in none; at most $2.
select e.run, d.name as device, min(e.time) as begins
  from devices d
 cross join lateral (
       select e.time, e.data ->> 'run' as run from device_events e
        where e.device_id = d.device_id and e.type = 'run' and e.time >= $1 and e.data ->> 'state' = 'running') e
 where e.run ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$'
   and not exists (select from runs r where r.name = e.run)
   and not exists (select from run_devices m where m.device_id = d.device_id and m.begins <= e.time
                      and (m.ends is null or m.ends > e.time))
 group by e.run, d.name
 order by begins desc, e.run, d.name
 limit $2;

-- name: near
-- Names of runs, for a name that there is not.
select name from runs where name ilike $1 order by sorted_at desc limit 5;

-- name: create
-- $1 run, $2 devices, $3 start or null, $4 facts, $5 who, $6 why
select run_create($1, $2, $3, $4, $5, $6);

-- name: change
-- $1 run, $2 devices or null, $3 facts and times, $4 version or null, $5 who, $6 why
select run_change($1, $2, $3, $4, $5, $6);

-- name: step
-- $1 run, $2 state, $3 when, $4 version or null, $5 who, $6 why
select run_step($1, $2, $3, $4, $5, $6);

-- name: put_phases
-- $1 run, $2 phases, $3 version or null, $4 who, $5 why
select run_phases_put($1, $2, $3, $4, $5);
