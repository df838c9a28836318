-- What of the devices' messages was rejected. Newest first.

-- name: quarantine
-- $1 reasons, $2 states, $3 from, $4 to, $5 and $6 (received_at, quarantine_id) before which the page begins, $7 limit,
-- $8 bytes up to which a payload is given. One walk through the index for each reason and state, then the newest of all.
select q.quarantine_id, q.received_at, q.device, q.topic, q.reason, q.detail, q.content_type, q.state, q.settled_at,
       coalesce(octet_length(q.payload), q.bytes) as bytes,
       case when octet_length(q.payload) <= $8 then q.payload end as payload
  from unnest($1::text[]) as r (reason)
 cross join unnest($2::text[]) as s (state)
 cross join lateral (
       select * from quarantine q
        where q.reason = r.reason and q.state = s.state and q.received_at >= $3 and q.received_at < $4
          and q.received_at <= $5 and (q.received_at, q.quarantine_id) < ($5, $6)
        order by q.received_at desc, q.quarantine_id desc limit $7) q
 order by q.received_at desc, q.quarantine_id desc
 limit $7;

-- name: quarantine_of_devices
-- The same for the devices $9, through their own index.
select q.quarantine_id, q.received_at, q.device, q.topic, q.reason, q.detail, q.content_type, q.state, q.settled_at,
       coalesce(octet_length(q.payload), q.bytes) as bytes,
       case when octet_length(q.payload) <= $8 then q.payload end as payload
  from unnest($2::text[]) as s (state)
 cross join unnest($9::text[]) as d (device)
 cross join lateral (
       select * from quarantine q
        where q.device = d.device and q.state = s.state and q.reason = any ($1::text[])
          and q.received_at >= $3 and q.received_at < $4
          and q.received_at <= $5 and (q.received_at, q.quarantine_id) < ($5, $6)
        order by q.received_at desc, q.quarantine_id desc limit $7) q
 order by q.received_at desc, q.quarantine_id desc
 limit $7;

-- name: quarantined
-- One, with all of its payload.
select quarantine_id, received_at, device, topic, reason, detail, content_type, state, settled_at,
       coalesce(octet_length(payload), bytes) as bytes, payload
  from quarantine
 where quarantine_id = $1;

-- name: states
-- The states of the messages $1.
select quarantine_id, state from quarantine where quarantine_id = any ($1::bigint[]);

-- name: discard
select quarantine_discard($1::bigint[], $2, $3);
