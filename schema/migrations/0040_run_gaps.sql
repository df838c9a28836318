-- rules that follow confirmed phases, and what runs, samples and probes lacked
-- depends: 0039_reviews

-- migrate: apply

-- Alarm rules follow phases that people confirm: the alarms process hears of each change.
create trigger run_phases_notify after insert or update or delete on run_phases
    for each statement execute function alarms_notify('biogate_alarm_rules');
create trigger run_devices_notify after insert or update or delete on run_devices
    for each statement execute function alarms_notify('biogate_alarm_rules');

-- It asks for the runs that last or have just ended.
create index run_devices_ends on run_devices (ends);

-- migrate: rollback

drop index run_devices_ends;
drop trigger run_devices_notify on run_devices;
drop trigger run_phases_notify on run_phases;
