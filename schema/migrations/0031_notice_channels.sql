-- notifications on channels that only this installation's own processes know
-- depends: 0030_deviations

-- migrate: apply

-- PostgreSQL lets every login notify and listen on every channel it can name. A channel that it cannot name is not
-- flooded, and nobody listens there but who may ask for the name: the processes of this installation.
create table notice_names (
    only_one boolean primary key default true check (only_one),
    secret   text not null default replace(gen_random_uuid()::text, '-', '')
);
insert into notice_names default values;

create function notice_channel(channel_ text) returns text language sql stable as $$
    select channel_ || '_' || secret from public.notice_names
$$;

-- Also under the plain name: processes of the version before listen there, until the upgrade is over.
create function notice_send(channel_ text, said_ text) returns void language sql as $$
    select pg_notify(public.notice_channel(channel_), said_), pg_notify(channel_, said_)
$$;

create function api.notice_channel(channel_ text) returns text
language sql stable security definer set search_path = public, pg_temp as $$
    select notice_channel(channel_)
$$;

revoke all on function notice_channel, notice_send, api.notice_channel from public;
grant execute on function notice_channel, notice_send to biogate_gateway;
grant execute on function api.notice_channel to biogate_api;

-- What notifies so far does nothing else than before.
do $$
declare
    function_ oid;
begin
    for function_ in
        select p.oid from pg_proc p
         where p.pronamespace in ('public'::regnamespace, 'api'::regnamespace) and p.prosrc like '%perform pg_notify(%'
           and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    loop
        execute replace(pg_get_functiondef(function_), 'perform pg_notify(', 'perform public.notice_send(');
    end loop;
end $$;

-- migrate: rollback

do $$
declare
    function_ oid;
begin
    for function_ in select oid from pg_proc where prosrc like '%perform public.notice_send(%' loop
        execute replace(pg_get_functiondef(function_), 'perform public.notice_send(', 'perform pg_notify(');
    end loop;
end $$;
drop function api.notice_channel;
drop function notice_send;
drop function notice_channel;
drop table notice_names;
