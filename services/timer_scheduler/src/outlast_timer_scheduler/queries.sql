-- name: start_timers
-- New timers; one that is there already stays as it is, but moves to the partition that speaks for it now (a topic
-- that was created anew may have other partitions). Returns those that are new to their partition.
insert into timers as t (partition, fire_at, execution_id, timer_id, traceparent)
select * from unnest($1::int[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[])
on conflict (execution_id, timer_id) do update set partition = excluded.partition
where t.partition <> excluded.partition
returning partition, fire_at, execution_id, timer_id, traceparent;

-- name: end_timers
-- Timers that fired or are cancelled. Returns those that were there.
delete from timers t using unnest($1::uuid[], $2::text[]) as gone(execution_id, timer_id)
where t.execution_id = gone.execution_id and t.timer_id = gone.timer_id
returning t.partition, t.fire_at, t.execution_id, t.timer_id, t.traceparent;

-- name: pages
-- Of each of these partitions the next timers after a position and before an instant, in order.
select page.*
from unnest($1::int[], $2::timestamptz[], $3::uuid[], $4::text[], $5::int[])
    as ask(partition, fire_at, execution_id, timer_id, timers_max)
cross join lateral (
    select t.partition, t.fire_at, t.execution_id, t.timer_id, t.traceparent
    from timers t
    where t.partition = ask.partition and t.fire_at < $6
      and (t.fire_at, t.execution_id, t.timer_id) > (ask.fire_at, ask.execution_id, ask.timer_id)
    order by t.fire_at, t.execution_id, t.timer_id
    limit ask.timers_max
) page;

-- name: entries
-- The entries of these runbooks.
select e.company_id, e.runbook_id, e.rule, e.version, e.cron, e.timezone, e.last_at, e.next_at
from cron_entries e join unnest($1::text[], $2::text[]) as wanted(company_id, runbook_id)
    on e.company_id = wanted.company_id and e.runbook_id = wanted.runbook_id
order by e.company_id, e.runbook_id, e.rule;

-- name: end_entries
-- Entries that no runbook has any more.
delete from cron_entries e using unnest($1::text[], $2::text[], $3::int[]) as gone(company_id, runbook_id, rule)
where e.company_id = gone.company_id and e.runbook_id = gone.runbook_id and e.rule = gone.rule;

-- name: put_entries
-- Entries that are new, or have come further.
insert into cron_entries (company_id, runbook_id, rule, version, cron, timezone, last_at, next_at)
select * from unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::text[], $6::text[], $7::timestamptz[],
    $8::timestamptz[])
on conflict (company_id, runbook_id, rule) do update set version = excluded.version, cron = excluded.cron,
    timezone = excluded.timezone, last_at = excluded.last_at, next_at = excluded.next_at;

-- name: add_firings
-- What fired; the same time of the same rule again is no second firing.
insert into cron_firings (company_id, runbook_id, rule, scheduled_at, cron, timezone, is_catch_up, fired_at)
select * from unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
    $8::timestamptz[])
on conflict do nothing;

-- name: drop_firings
-- A bounded part of the firings that are too old to be said again.
delete from cron_firings f using (
    select company_id, runbook_id, rule, scheduled_at from cron_firings where fired_at < $1
    limit 1000 for update skip locked
) old
where f.company_id = old.company_id and f.runbook_id = old.runbook_id and f.rule = old.rule
  and f.scheduled_at = old.scheduled_at;

-- name: firings_page
-- Firings since an instant after a position, in order.
select company_id, runbook_id, rule, scheduled_at, cron, timezone, is_catch_up, fired_at from cron_firings
where fired_at >= $1 and (company_id, runbook_id, rule, scheduled_at) > ($2, $3, $4, $5)
order by company_id, runbook_id, rule, scheduled_at limit $6;
