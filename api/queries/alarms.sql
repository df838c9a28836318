-- Alarms and their transitions.

-- name: page
-- Alarms after the key $1, $2 (device, rule), for which each of these holds that is not null: state among $3, it is not
-- normal or not evaluated (or neither): $4, priority among $5, of the device $6, whose device has all the tags $7, of the
-- rule $8, nobody has acknowledged it (or it needs none): $9. At most $10.
select a.device, a.rule, a.title, a.state, a.condition, a.priority, a.since, a.raised_at, a.value, a.detail,
       a.shelved_until, a.message, a.response, a.n, a.not_evaluated, a.evaluated_until, a.received_until,
       a.clock_set_back_at, a.numbers_back_at
  from alarms a
 where (a.device, a.rule) > ($1, $2)
   and ($3::text[] is null or a.state = any ($3))
   and ($4::boolean is null or (a.state <> 'normal' or a.not_evaluated is not null) = $4)
   and ($5::text[] is null or a.priority = any ($5))
   and ($6::text is null or a.device = $6)
   and ($7::text[] is null or a.tags @> $7)
   and ($8::text is null or a.rule = $8)
   and ($9::boolean is null or (a.state in ('unacknowledged', 'returned-unacknowledged')) = $9)
 order by a.device, a.rule
 limit $10;

-- name: urgent
-- At most $7 alarms as people see to them: first those that wait for an acknowledgement, then by priority, the newest
-- first; each of these holds that is not null: state among $1, it is not normal or not evaluated (or neither): $2, it is
-- not evaluated (or is): $3, priority among $4, of the device $5, whose device has all the tags $6.
select a.device, a.rule, a.title, a.state, a.condition, a.priority, a.since, a.raised_at, a.value, a.detail,
       a.shelved_until, a.message, a.response, a.n, a.not_evaluated, a.evaluated_until, a.received_until,
       a.clock_set_back_at, a.numbers_back_at
  from alarms a
 where ($1::text[] is null or a.state = any ($1))
   and ($2::boolean is null or (a.state <> 'normal' or a.not_evaluated is not null) = $2)
   and ($3::boolean is null or (a.not_evaluated is not null) = $3)
   and ($4::text[] is null or a.priority = any ($4))
   and ($5::text is null or a.device = $5)
   and ($6::text[] is null or a.tags @> $6)
 order by a.state in ('unacknowledged', 'returned-unacknowledged') desc,
          array_position(array['critical', 'high', 'medium', 'low'], a.priority), a.since desc, a.device, a.rule
 limit $7;

-- name: silenced
-- Alarms that are held back, after the key $1, $2 (device, rule), with the person who did it and why, null where the phase
-- of the run did; each of these holds that is not null: state among $3, priority among $4, of the device $5, whose device
-- has all the tags $6. At most $7.
select a.device, a.rule, a.title, a.priority, a.state, a.condition, a.active, a.since, a.shelved_until as until,
       x.who, x.why, a.n
  from alarms a
  left join lateral (
       select c.action, c.who, c.why from alarm_acts c
        where c.device_id = a.device_id and c.rule_id = a.rule_id and c.n is not null
          and c.action = any (case a.state when 'shelved' then array['shelve']
                                           when 'out-of-service' then array['remove-from-service']
                                           else array['suppress', 'unsuppress'] end)
        order by c.act_id desc limit 1) x on x.action <> 'unsuppress'
 where (a.device, a.rule) > ($1, $2)
   and a.state in ('shelved', 'suppressed', 'out-of-service')
   and ($3::text[] is null or a.state = any ($3))
   and ($4::text[] is null or a.priority = any ($4))
   and ($5::text is null or a.device = $5)
   and ($6::text[] is null or a.tags @> $6)
 order by a.device, a.rule
 limit $7;

-- name: one
select * from alarms where device = $1 and rule = $2;

-- name: last
-- The newest $3 transitions of the rule $1 on the device $2.
select * from alarm_transitions where rule_id = $1 and device_id = $2 order by n desc limit $3;

-- name: history
-- Transitions recorded from $1 to $2, before number $3; null is any: of the devices $4, of the rule $5, priority among $6,
-- cause among $7. At most $8, newest first.
select *
  from alarm_transitions
 where recorded_at >= $1 and recorded_at < $2
   and transition_id < $3
   and ($4::text[] is null or device = any ($4))
   and ($5::text is null or rule = $5)
   and ($6::text[] is null or priority = any ($6))
   and ($7::text[] is null or cause = any ($7))
 order by transition_id desc
 limit $8;
