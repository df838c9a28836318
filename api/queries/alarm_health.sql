-- The figures of the alarm system after ISA-18.2 clause 16 and EEMUA 191. Raised is what was announced: a transition to
-- unacknowledged from any other state.

-- name: episodes
-- From $1 to $2 (of recording), of the device $3 or of all (null). An episode is a transition that raised an alarm, with
-- the acknowledgement and the return that came before the alarm was raised again: all of them name the raising one. How
-- long something lasted is told by the clock of the device (`at`); when it was announced, and how long people took, by
-- that of the database (`recorded_at`). $4: who is raised so soon after the one before the last chatters; $5: who returns
-- so soon is fleeting. All in one row, as everything is made of the same episodes, and gathering them takes the time. A
-- rule may clear what is unknown: that is a return, too. Open is what waits now: the newest raise of an alarm that nobody
-- has acknowledged, or that is still active; an older one was raised anew.
with episodes as materialized (
    select rule_id, device_id, raised_n,
           max(priority) filter (where n = raised_n) as priority,
           max(at) filter (where n = raised_n) as at,
           max(recorded_at) filter (where n = raised_n) as told,
           min(recorded_at) filter (where cause = 'acknowledge') as acknowledged,
           min(at) filter (where cause <> 'acknowledge' and n <> raised_n) as returned
      from alarm_transitions
     where recorded_at >= $1 and recorded_at < $2
       and ($3::text is null or device = $3)
       and (n = raised_n or cause in ('acknowledge', 'return')
            or (cause = 'unknown' and before in ('unacknowledged', 'acknowledged') and after <> before))
     group by rule_id, device_id, raised_n
    having bool_or(n = raised_n)
), by_alarm as materialized (
    select rule_id, device_id, count(*) as raised,
           count(*) filter (where at - last_but_one < $4::interval) as chattering,
           count(*) filter (where returned - at < $5::interval) as fleeting
      from (select *, lag(at, 2) over (partition by rule_id, device_id order by raised_n) as last_but_one
              from episodes) e
     group by rule_id, device_id
), ranked as (
    select *, row_number() over (order by raised desc, device_id, rule_id) as by_raised,
           row_number() over (order by chattering desc, device_id, rule_id) as by_chattering,
           row_number() over (order by fleeting desc, device_id, rule_id) as by_fleeting
      from by_alarm
), waiting as (
    select count(*) filter (where a.state in ('unacknowledged', 'returned-unacknowledged')) as unacknowledged,
           count(*) filter (where a.active) as active
      from episodes e join alarms a using (rule_id, device_id, raised_n)
), busiest as (
    select device_id, sum(raised)::bigint as raised from by_alarm group by device_id order by 2 desc, 1 limit 10
)
select coalesce((select json_agg(json_build_array(date_part('epoch', period), priority, raised)) from (
           select date_bin('10 minutes', told, '2000-01-03Z') as period, priority, count(*) as raised
             from episodes group by 1, 2) p), '[]') as periods,
       coalesce((select json_agg(json_build_array(t.device, t.rule, t.title, r.raised, r.chattering, r.fleeting)
                                 order by t.device, t.rule)
                   from ranked r
                  cross join lateral (
                        select * from alarm_transitions t
                         where t.rule_id = r.rule_id and t.device_id = r.device_id order by n desc limit 1) t
                  where least(r.by_raised, r.by_chattering, r.by_fleeting) <= 10), '[]') as alarms,
       coalesce((select json_agg(json_build_array(d.name, b.raised) order by b.raised desc, d.name)
                   from busiest b join devices d using (device_id)), '[]') as devices,
       (select count(*) filter (where chattering > 0) from by_alarm) as chattering,
       (select coalesce(sum(chattering), 0)::bigint from by_alarm) as raised_chattering,
       (select count(*) filter (where fleeting > 0) from by_alarm) as fleeting,
       (select coalesce(sum(fleeting), 0)::bigint from by_alarm) as raised_fleeting,
       (select unacknowledged from waiting) as acknowledged_open, (select active from waiting) as returned_open,
       count(*) as raised, count(acknowledged) as acknowledged, count(returned) as returned,
       percentile_disc(array[0.5, 0.9, 1])
           within group (order by date_part('epoch', acknowledged - told)) as to_acknowledge,
       percentile_disc(array[0.5, 0.9, 1]) within group (order by date_part('epoch', returned - at)) as to_return
  from episodes;

-- name: now
-- What stands now, of the device $1 or of all (null).
select count(*) filter (where state <> 'normal' or not_evaluated is not null) as standing,
       count(*) filter (where state in ('unacknowledged', 'returned-unacknowledged')) as unacknowledged,
       count(*) filter (where state = 'shelved') as shelved,
       count(*) filter (where state = 'suppressed') as suppressed,
       count(*) filter (where state = 'out-of-service') as out_of_service,
       count(*) filter (where condition = 'unknown') as unknown,
       count(*) filter (where not_evaluated is not null) as not_evaluated
  from alarms
 where $1::text is null or device = $1;

-- name: stale
-- Announced, active, and raised before $2; the longest ten, and how many there are.
select device, rule, title, priority, raised_at, count(*) over () as number
  from alarms
 where active and state in ('unacknowledged', 'acknowledged') and raised_at < $2
   and ($1::text is null or device = $1)
 order by raised_at, device, rule
 limit 10;
