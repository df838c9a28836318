-- What live feeds tell: the alarms that stand, and transitions in the order of their numbers, which is that of commits.

-- name: standing
-- All that are not normal or not evaluated, and the number of the newest transition that they are the outcome of: one statement, so both
-- are of one moment. Without an alarm there is one row, with the number alone.
select c.newest, a.device, a.rule, a.title, a.state, a.condition, a.priority, a.since, a.raised_at, a.value, a.detail,
       a.shelved_until, a.message, a.response, a.n, a.not_evaluated, a.evaluated_until, a.received_until,
       a.clock_set_back_at, a.numbers_back_at
  from (select coalesce((select transition_id from alarm_transitions order by transition_id desc limit 1), 0)) c (newest)
  left join alarms a on a.state <> 'normal' or a.not_evaluated is not null
 order by a.since, a.device, a.rule;

-- name: after
-- The oldest $2 transitions after the number $1. Usually there are few or none, so they are sorted: in the order of the
-- primary key, those of all other organizations since then would be looked through, each time.
select * from alarm_transitions where transition_id > $1 order by transition_id + 0 limit $2;

-- name: newest_after
-- The newest $2 of them, newest first.
select * from alarm_transitions where transition_id > $1 order by transition_id desc limit $2;

-- name: bounds
select (select transition_id from alarm_transitions order by transition_id limit 1) as oldest,
       (select transition_id from alarm_transitions order by transition_id desc limit 1) as newest;
