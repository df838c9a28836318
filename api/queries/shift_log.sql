-- The log of the shifts.

-- name: page
-- $1 and $2 (at, entry_id) before which the page begins, $3 limit, $4 from, $5 to; of locations that begin with $6, with
-- device $7, $8: only handovers that nobody has accepted.
select entry_id, at, who, text, location, devices, handed_to, accepted_at
  from shift_entries
 where at >= $4 and at < $5 and at <= $1 and (at, entry_id) < ($1, $2)
   and ($6::text is null or starts_with(location, $6))
   and ($7::text is null or $7 = any (devices))
   and (not $8 or handed_to is not null and accepted_at is null)
 order by at desc, entry_id desc
 limit $3;

-- name: one
select entry_id, at, who, text, location, devices, handed_to, accepted_at from shift_entries where entry_id = $1;

-- name: add
select shift_entry($1, $2, $3, $4, $5);

-- name: accept
select shift_accept($1, $2);
