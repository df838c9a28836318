-- The audit trail of the organization that is asking.

-- name: newest_first
-- $1 subject, $2 what the action begins with, $3 who, $4 from, $5 to: null is any; $6 number before which the page begins,
-- $7 limit
select n, at, who, action, subject, old, new, why, hash
  from audit
 where ($1::text is null or subject = $1) and ($2::text is null or starts_with(action, $2))
   and ($3::text is null or who = $3) and at >= $4 and at < $5
   and n < $6
 order by n desc
 limit $7;

-- name: oldest_first
-- The same; $6 number after which the page begins
select n, at, who, action, subject, old, new, why, hash
  from audit
 where ($1::text is null or subject = $1) and ($2::text is null or starts_with(action, $2))
   and ($3::text is null or who = $3) and at >= $4 and at < $5
   and n > $6
 order by n
 limit $7;

-- name: verify
-- Of one moment: the chain, its end, and at most $1 numbers at which it is not whole.
select (select name from organizations) as organization,
       count(*) as events, min(at) as first_at, max(n) as last_n,
       (select at from audit order by n desc limit 1) as last_at,
       (select hash from audit order by n desc limit 1) as last_hash,
       array(select f from audit_faults() f limit $1) as faults
  from audit;
