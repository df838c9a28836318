-- What people ask to be done to alarms.

-- name: act
-- $1 device, $2 rule, $3 action, $4 and $5 until then or for so long, $6 once, $7 who, $8 why, $9 the longest shelving in
-- s by priority, $10 the transition that was seen last
select alarm_act($1, $2, $3, coalesce($4::timestamptz, clock_timestamp() + $5::interval), $6, $7, $8, $9, $10);

-- name: act_on_many
-- The same for the devices $1, rules $2 and transitions $10, each with each; null where there is no such device or rule.
select case when d.name is not null and r.name is not null
            then alarm_act(u.device, u.rule, $3, coalesce($4::timestamptz, clock_timestamp() + $5::interval), $6, $7, $8,
                           $9, u.seen)
       end as act_id
  from unnest($1::text[], $2::text[], $10::bigint[]) with ordinality as u (device, rule, seen, place)
  left join devices d on d.name = u.device
  left join alarm_rules r on r.name = u.rule
 order by u.place;

-- name: acts
select * from alarm_acts where act_id = any ($1::bigint[]);
