-- Jobs of the worker, newest first.

-- name: page
-- $1 kind or null, $2 states or null, $3 and $4 (created_at, job_id) before which the page begins, $5 limit
select *
  from jobs
 where ($1::text is null or kind = $1)
   and ($2::text[] is null or state = any ($2::text[]))
   and created_at <= $3 and (created_at, job_id) < ($3, $4)
 order by created_at desc, job_id desc
 limit $5;

-- name: one
select * from jobs where job_id = $1;

-- name: make
select job_make($1, $2, $3::jsonb, $4, $5);

-- name: cancel
select job_cancel($1, $2, $3);

-- name: drop_files
select job_files_drop($1, $2, $3);
