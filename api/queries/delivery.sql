-- What has arrived of what devices sent, by the numbers of their frames. In a boot they begin at 0. What a device had sent
-- after the greatest number that is known, nobody can know.

-- name: newest
-- Of the newest boot of each of the devices $1: frames that arrived, that are missing, and that are lost.
select d.name as device, b.boot, b.received, b.missing, b.lost, b.changed_at
  from devices d
 cross join lateral (
       select s.boot, s.changed_at, n.received, n.missing, n.lost
         from device_streams s
        cross join lateral (
              select (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.received) r) as received,
                     (select coalesce(sum(upper(r) - lower(r)), 0)::bigint
                        from unnest(int8multirange(int8range(0, upper(s.received))) - s.received - s.lost) r) as missing,
                     (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.lost - s.received) r) as lost) n
        where s.device_id = d.device_id
        order by s.boot desc limit 1) b
 where d.name = any ($1::text[]);

-- name: boots
-- The same of the newest $2 boots of the device $1.
select s.boot, upper(s.received) - 1 as newest, s.changed_at,
       (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.received) r) as received,
       (select coalesce(sum(upper(r) - lower(r)), 0)::bigint
          from unnest(int8multirange(int8range(0, upper(s.received))) - s.received - s.lost) r) as missing,
       (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.lost - s.received) r) as lost
  from device_streams s
  join devices d using (device_id)
 where d.name = $1
 order by s.boot desc
 limit $2;

-- name: holes
-- Holes of all devices, or of $1: what changed last first, at most $2.
select d.name as device, s.boot, lower(h.seqs) as first, upper(h.seqs) - 1 as last, h.lost, s.changed_at
  from devices d
  join device_streams s using (device_id)
 cross join lateral (
       select unnest(int8multirange(int8range(0, upper(s.received))) - s.received - s.lost) as seqs, false as lost
        union all
       select unnest(s.lost - s.received), true) h
 where $1::text is null or d.name = $1
 order by h.lost, s.changed_at desc, d.name, s.boot desc, first
 limit $2;

-- name: span
-- Of each device: what lies between the frames at the two ends of the time from $1 to $2, and those just outside, which
-- tell what is missing at the ends. The ends are found by the times of the frames, the rest is told by their numbers; frames
-- of the last seconds, which are stored and not yet noted in device_streams, are left out.
with ends as (
    select d.device_id, d.name, f.time as first_at, l.time as last_at, f.boot as first_boot, l.boot as last_boot,
           case when b.boot = f.boot then b.seq + 1 when b.boot is not null then 0 else f.seq end as begins,
           case when a.boot = l.boot then a.seq - 1 when a.boot is null then l.seq end as ends
      from devices d
      left join lateral (
           select x.time, x.boot, x.seq from frames x
            where x.device_id = d.device_id and x.time >= $1 and x.time < $2 order by x.time limit 1) f on true
      left join lateral (
           select x.time, x.boot, x.seq from frames x
            where x.device_id = d.device_id and x.time >= $1 and x.time < $2 order by x.time desc limit 1) l on true
      left join lateral (
           select x.boot, x.seq from frames x
            where x.device_id = d.device_id and x.time >= $1 - interval '1 day' and x.time < $1
            order by x.time desc limit 1) b on true
      left join lateral (
           select x.boot, x.seq from frames x
            where x.device_id = d.device_id and x.time >= $2 and x.time < $2 + interval '1 day'
            order by x.time limit 1) a on true
)
select e.name as device, e.first_at, e.last_at, n.expected, n.missing, n.lost, n.holes
  from ends e
  left join lateral (
       select sum(p.numbers)::bigint as expected, coalesce(sum(p.missing), 0)::bigint as missing,
              coalesce(sum(p.lost), 0)::bigint as lost,
              string_agg(p.holes, '; ' order by p.boot) filter (where p.holes <> '') as holes
         from (select s.boot, upper(w.span) - lower(w.span) as numbers,
                      (select sum(upper(r) - lower(r)) from unnest(int8multirange(w.span) - s.received - s.lost) r) as missing,
                      (select sum(upper(r) - lower(r)) from unnest((s.lost - s.received) * int8multirange(w.span)) r) as lost,
                      (select 'boot ' || s.boot || ': ' || string_agg(h.said, ', ')
                         from (select lower(r) || case when upper(r) - lower(r) > 1 then ' to ' || upper(r) - 1 else '' end
                                 from unnest(int8multirange(w.span) - s.received) r order by lower(r) limit 10) h (said)) as holes
                 from device_streams s
                cross join lateral (
                      select int8range(l.begins, greatest(l.begins, least(
                                 upper(s.received), case when s.boot = e.last_boot then e.ends + 1 end))) as span
                        from (select case when s.boot = e.first_boot then e.begins else 0 end as begins) l) w
                where s.device_id = e.device_id and s.boot between e.first_boot and e.last_boot
                  and not isempty(w.span)) p) n on true
 order by e.name;

-- name: quarantined
-- Messages that came into quarantine from $1 to $2 and are still open, by device and reason; $3 is all reasons, as the
-- index is by them.
select q.device, q.reason, count(*) as messages
  from unnest($3::text[]) as r (reason)
 cross join lateral (
       select q.device, q.reason from quarantine q
        where q.reason = r.reason and q.state = 'open' and q.received_at >= $1 and q.received_at < $2) q
 group by q.device, q.reason
 order by messages desc, q.device, q.reason;

-- name: totals
-- What became of all that the cells of the installation have received; no rows for who does not run it.
select cell in ('replay', 'import') as beside, cell, kind, committed, duplicate, quarantined, discarded, settled_until, beat_at
  from intake_totals
 order by beside, cell, array_position(array['frame', 'status', 'event', 'result'], kind);
