-- the list of handshakes, newest first, without sorting all there ever were
-- depends: 0012_dashboards

-- migrate: apply

create index enrollments_newest on enrollments (created_at desc, txn desc);

-- migrate: rollback

drop index enrollments_newest;
