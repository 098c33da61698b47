-- name: has_any
-- Whether anything stands in these lanes that is not sent, resumes, or is to be run again.
select exists (select 1 from dispatches where lane = any($1::int[])
        and status in ('deferred', 'held', 'requested', 'queued'))
    or exists (select 1 from dispatches where lane = any($1::int[]) and resuming_seq > 0)
    or exists (select 1 from dispatches where lane = any($1::int[]) and answer = 'run' and not is_answered);

-- name: unanswered
-- Asked before an instant, without an answer: firings, and runs that want their slot back.
select execution_id from (
    (select execution_id, asked_at from dispatches
     where lane = any($1::int[]) and status = 'requested' and asked_at <= $2 order by asked_at limit $3)
    union all
    (select execution_id, asked_at from dispatches
     where lane = any($1::int[]) and resuming_seq > 0 and asked_at <= $2 order by asked_at limit $3)
) asked order by asked_at limit $3;

-- name: unserved
-- The head of each queue that has a free slot: every key is met once, by walking the index from key to key.
with recursive keys as (
    (select lane, company_id, runbook_id, concurrency_key, execution_id from dispatches
     where status = 'queued' and lane = any($1::int[])
     order by lane, company_id, runbook_id, concurrency_key, received_at, execution_id limit 1)
    union all
    select n.* from keys k cross join lateral (
        select lane, company_id, runbook_id, concurrency_key, execution_id from dispatches d
        where d.status = 'queued'
            and (d.lane, d.company_id, d.runbook_id, d.concurrency_key)
              > (k.lane, k.company_id, k.runbook_id, k.concurrency_key)
        order by lane, company_id, runbook_id, concurrency_key, received_at, execution_id limit 1) n
)
select d.execution_id from keys k join dispatches d using (execution_id)
where k.lane = any($1::int[]) and d.asked_at <= $2 and (
    select count(*) from dispatches s
    where s.company_id = k.company_id and s.runbook_id = k.runbook_id and s.concurrency_key = k.concurrency_key
        and s.slot_taken_at is not null and s.slot_freed_at is null
    ) < coalesce((convert_from(d.guard, 'UTF8')::json -> 'slot' ->> 'limit')::int, 1) -- left out where it is 1
order by d.asked_at limit $3;

-- name: expired
-- Queued for too long.
select execution_id from dispatches
where lane = any($1::int[]) and status = 'queued' and expires_at <= $2 order by expires_at limit $3;

-- name: held
-- Held for the engine. (Here and below the order is the index's: by the id alone, the whole table may be walked for it.)
select execution_id from dispatches where lane = any($1::int[]) and status = 'held' order by lane, execution_id limit $2;

-- name: deferred
-- Of each company that has firings deferred (and, if so asked, held), as many as it has room for: one of each company in
-- turn, oldest first.
with recursive deferring as (
    (select company_id from dispatches where status = 'deferred' order by company_id limit 1)
    union all
    select n.company_id from deferring c cross join lateral (
        select d.company_id from dispatches d
        where d.status = 'deferred' and d.company_id > c.company_id order by d.company_id limit 1) n
), holding as (
    (select company_id from dispatches where $4::boolean and status = 'held' order by company_id limit 1)
    union all
    select n.company_id from holding c cross join lateral (
        select d.company_id from dispatches d
        where d.status = 'held' and d.company_id > c.company_id order by d.company_id limit 1) n
), companies as (
    select company_id from deferring union select company_id from holding
)
select next.execution_id from companies c
cross join lateral (
    select count(*) as running from (
        select 1 from dispatches d
        where d.company_id = c.company_id and d.status = 'sent' and d.closed_at is null and not d.is_waiting
        limit $2) counted) under_way
cross join lateral (
    select d.execution_id, row_number() over (order by d.execution_id) as turn from (
        (select execution_id from dispatches
         where status = 'deferred' and company_id = c.company_id and lane = any($1::int[])
         order by execution_id limit least($3, $2 - under_way.running))
        union all
        (select execution_id from dispatches
         where $4::boolean and status = 'held' and company_id = c.company_id and lane = any($1::int[])
         order by execution_id limit least($3, $2 - under_way.running))
        order by execution_id limit least($3, $2 - under_way.running)) d) next
order by next.turn, c.company_id limit $3;

-- name: runbooks
-- The runbooks that have something unsent, by walking the index from runbook to runbook.
with recursive runbooks as (
    (select lane, company_id, runbook_id from dispatches
     where status in ('deferred', 'held', 'requested', 'queued') order by lane, company_id, runbook_id limit 1)
    union all
    select n.* from runbooks r cross join lateral (
        select d.lane, d.company_id, d.runbook_id from dispatches d
        where d.status in ('deferred', 'held', 'requested', 'queued')
            and (d.lane, d.company_id, d.runbook_id) > (r.lane, r.company_id, r.runbook_id)
        order by d.lane, d.company_id, d.runbook_id limit 1) n
)
select lane, company_id, runbook_id from runbooks where lane = any($1::int[]);

-- name: unsent
-- What one runbook of a lane has unsent.
select execution_id from dispatches
where lane = $1 and company_id = $2 and runbook_id = $3 and status in ('deferred', 'held', 'requested', 'queued')
order by execution_id limit $4;

-- name: leaked
-- Closed, and still holding a slot.
select execution_id from dispatches
where slot_taken_at is not null and slot_freed_at is null and closed_at is not null and lane = any($1::int[])
order by lane, execution_id limit $2;

-- name: to_run
-- Suppressed firings that somebody ordered to run, without those of some runbooks.
select execution_id from dispatches
where lane = any($1::int[]) and answer = 'run' and not is_answered
    and (company_id, runbook_id) not in (select * from unnest($3::text[], $4::text[]))
order by lane, execution_id limit $2;

-- name: prune
-- Forget window entries that were over before an instant.
with gone as (
    delete from admissions where ctid in (select ctid from admissions where until < $1 order by until limit $2)
    returning 1
)
select count(*) from gone;
