-- the leading process says again and again that it leads: a standby can end one that hangs
-- depends: 0018_tenants_apart

-- migrate: apply

-- Apart from cells and alarm_lead: the evaluation of alarms holds a lock on the row of its epoch.
create table lead_beats (
    what    text primary key,
    epoch   bigint      not null,
    beat_at timestamptz not null
) with (fillfactor = 10);

comment on column lead_beats.what is 'what is led: "cell main", "alarms"';
comment on column lead_beats.epoch is 'the epoch of who beat last; an older version, which does not beat, leaves an older one';
comment on column lead_beats.beat_at is 'when the leading process last said that it leads';

-- migrate: rollback

drop table lead_beats;
