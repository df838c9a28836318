-- a role for control rooms, which may acknowledge and nothing more
-- depends: 0027_log_in_links

-- migrate: apply

alter table memberships drop constraint memberships_role_check;
alter table memberships add constraint memberships_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

alter table invitations drop constraint invitations_role_check;
alter table invitations add constraint invitations_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

alter table api_keys drop constraint api_keys_role_check;
alter table api_keys add constraint api_keys_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

-- migrate: rollback

update memberships set role = 'viewer' where role = 'control-room';
alter table memberships drop constraint memberships_role_check;
alter table memberships add constraint memberships_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));

update invitations set role = 'viewer' where role = 'control-room';
alter table invitations drop constraint invitations_role_check;
alter table invitations add constraint invitations_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));

update api_keys set role = 'viewer' where role = 'control-room';
alter table api_keys drop constraint api_keys_role_check;
alter table api_keys add constraint api_keys_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));
