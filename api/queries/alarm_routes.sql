-- Alarm routes, without their URLs.

-- name: page
-- By name after $1, at most $2.
select name, version, definition, address, created_at, changed_at, sent_at, failing_since, last_error, waiting,
       test_asked_at, test_state, test_sent_at,
       exists (select from alarm_routes o where o.name = r.definition ->> 'escalate_to' and not o.enabled) as diverted
  from alarm_routes r where name > $1 order by name limit $2;

-- name: one
select name, version, definition, address, created_at, changed_at, sent_at, failing_since, last_error, waiting,
       test_asked_at, test_state, test_sent_at,
       exists (select from alarm_routes o where o.name = r.definition ->> 'escalate_to' and not o.enabled) as diverted
  from alarm_routes r where name = $1;

-- name: vault_key
select vault_key();

-- name: put
select alarm_route_put($1, $2::jsonb, $3, $4, $5, $6, $7);

-- name: remove
select alarm_route_remove($1, $2, $3, $4);

-- name: test
select alarm_route_test($1, $2, $3);
