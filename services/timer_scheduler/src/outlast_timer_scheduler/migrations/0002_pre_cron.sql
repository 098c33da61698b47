-- Schedules: how far each has come, and what fired lately.

-- One row for each rule with a schedule of each active runbook. `last_at` is the last time in the schedule that was
-- dealt with (fired or passed over), at first the instant at which the schedule was published; `next_at` follows
-- from it, never from the clock.
create table timers.cron_entries (
    company_id text collate "C" not null,
    runbook_id text collate "C" not null,
    rule int not null,
    version int not null,
    cron text not null,
    timezone text not null,
    last_at timestamptz not null,
    next_at timestamptz,
    primary key (company_id, runbook_id, rule),
    check (next_at > last_at)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- What fired: kept for a day, to be said again when the broker's data was lost.
create table timers.cron_firings (
    company_id text collate "C" not null,
    runbook_id text collate "C" not null,
    rule int not null,
    scheduled_at timestamptz not null,
    cron text not null,
    timezone text not null,
    is_catch_up boolean not null,
    fired_at timestamptz not null,
    primary key (company_id, runbook_id, rule, scheduled_at)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index cron_firings_by_age on timers.cron_firings (fired_at);
