-- what live feeds and the activity of an organization read
-- depends: 0020_channels

-- migrate: apply

create view api.device_heard as
select h.device_id, d.name as device, h.heard_at from public.device_heard h join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

grant select on api.device_heard to biogate_api;

create index annotations_created on annotations (device_id, created_at);
create index enrollments_changed on enrollments (changed_at desc, txn desc);

-- migrate: rollback

drop index enrollments_changed, annotations_created;
drop view api.device_heard;
