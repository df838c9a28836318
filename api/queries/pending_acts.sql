-- Acts that wait for a second person. The functions are in 0038_signatures.sql.

-- name: demanded
select coalesce((select $1::text = any (second_person) from policies), false);

-- name: page
-- $1 number before which the page begins, $2 limit, $3 states or null; newest first.
select p.*, n.digest
  from pending_acts p cross join lateral record_state('act/' || p.act_id) n
 where p.act_id < $1 and ($3::text[] is null or p.state = any ($3::text[]))
 order by p.act_id desc
 limit $2;

-- name: one
select p.*, n.digest
  from pending_acts p cross join lateral record_state('act/' || p.act_id) n
 where p.act_id = $1;

-- name: known
-- What $1 has asked for with the idempotency key $2 and a request of the hash $3.
select p.*, n.digest
  from pending_acts p cross join lateral record_state('act/' || p.act_id) n
 where p.who = $1 and p.idempotency_key = $2 and p.request_hash = $3;

-- name: waiting
-- Those that wait to be done to the subject $1.
select p.*, n.digest
  from pending_acts p cross join lateral record_state('act/' || p.act_id) n
 where p.subject = $1 and p.state = 'waiting'
 order by p.act_id;

-- name: ask
-- $1 kind, $2 subject, $3 request, $4 who, $5 why, $6 idempotency key or null, $7 hash of the request or null
select pending_act_ask($1, $2, $3, $4, $5, $6, $7);

-- name: confirm
-- $1 number, $2 session, $3 password hash, $4 e-mail or null, $5 digest, $6 why
select pending_act_confirm($1, $2, $3, $4, $5, $6);

-- name: refuse
-- $1 number, $2 who, $3 why
select pending_act_refuse($1, $2, $3);
