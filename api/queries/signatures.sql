-- Signatures of records. The functions, and what a record's canonical form is, are in 0038_signatures.sql.

-- name: state
-- $1 record; no digest: there is none
select digest, version, form from record_state($1);

-- name: signatures
-- Those of the records $1, oldest first, with what has become of each record; its form is made once, and that of the version
-- that was signed only where it is not the newest.
with present as materialized (
    select r as record, n.digest, n.version, n.form::jsonb as form
      from unnest($1::text[]) r left join lateral record_state(r) n on true
)
select s.signature_id, s.record, s.version, s.digest, s.meaning, s.name, s.who, s.at, s.text,
       coalesce(p.digest = s.digest, false) as newest,
       case when p.digest = s.digest then true
            else coalesce(encode(sha256(convert_to(signed_version(s.signature_id), 'UTF8')), 'hex') = s.digest, false)
        end as intact,
       case when p.digest is distinct from s.digest then record_changed(s.record, s.at) end as changed_at,
       p.version as version_now,
       case when (p.form ->> 'withdrawn')::boolean then 'withdrawn' else coalesce(p.form ->> 'status', p.form ->> 'state')
        end as state_now
  from present p join signatures s using (record)
 order by s.signature_id;

-- name: signer
-- $1 session, $2 network
select user_id, email, name, password_hash, has_signed, known, rounds, has_password(user_id) as has_password
  from session_signer($1, $2);

-- name: sign
-- $1 session, $2 password hash, $3 e-mail or null, $4 record, $5 digest, $6 meaning
select signature_put($1, $2, $3, $4, $5, $6);

-- name: failed
-- $1 session, $2 record, $3 address
select signature_failed($1, $2, $3);
