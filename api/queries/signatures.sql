-- Signatures of records. The functions, and what a record's canonical form is, are in 0038_signatures.sql.

-- name: state
-- $1 record; no row: there is none
select digest, version, form from record_state($1, now());

-- name: signatures
-- Those of the record $1, oldest first, with what has become of the record.
select s.signature_id, s.record, s.version, s.digest, s.meaning, s.name, s.who, s.at, s.text,
       coalesce(n.digest = s.digest, false) as intact, n.changed_at
  from signatures s left join lateral record_state(s.record, s.at) n on true
 where s.record = $1 and ($2::bigint is null or s.signature_id = $2)
 order by s.signature_id;

-- name: of_records
-- Those of the records $1, oldest first.
select s.signature_id, s.record, s.version, s.digest, s.meaning, s.name, s.who, s.at, s.text,
       coalesce(n.digest = s.digest, false) as intact, n.changed_at
  from signatures s left join lateral record_state(s.record, s.at) n on true
 where s.record = any ($1::text[])
 order by s.signature_id;

-- name: signer
-- $1 session, $2 network
select user_id, email, name, password_hash, has_signed, known, rounds from session_signer($1, $2);

-- name: sign
-- $1 session, $2 password hash, $3 e-mail or null, $4 record, $5 digest, $6 meaning
select signature_put($1, $2, $3, $4, $5, $6);

-- name: failed
-- $1 session, $2 record, $3 address
select signature_failed($1, $2, $3);
