-- what live feeds and the activity of an organization read
-- depends: 0022_jobs

-- migrate: apply

create view api.device_heard as
select h.* from public.device_heard h join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

grant select on api.device_heard to biogate_api;

-- migrate: rollback

drop view api.device_heard;
