-- name: load_histories
-- Every event of these executions, in order; the bounds let the planner pass over weeks.
select execution_id, seq, at, data
from history
where execution_id = any($1::uuid[]) and execution_id between $2::uuid and $3::uuid
order by execution_id, seq;

-- name: load_definitions
-- The bodies of these definitions.
select sha256, body from definitions where sha256 = any($1::text[]);

-- name: add_definitions
-- Keep each body once.
insert into definitions (sha256, body)
select * from unnest($1::text[], $2::bytea[]) on conflict do nothing;

-- name: turn_parts
-- Part of a fenced statement: events, runs that began and runs that are recorded, where they are few.
events as (
    insert into history (execution_id, seq, at, type, data)
    select * from unnest($8::uuid[], $9::int[], $10::timestamptz[], $11::text[], $12::bytea[])
    where exists (select from fence)
), opened as (
    insert into open (partition, execution_id, company_id, runbook_id, runbook_name, started_at, mode)
    select * from unnest($13::int[], $14::uuid[], $15::text[], $16::text[], $17::text[], $18::timestamptz[], $19::text[])
    where exists (select from fence)
    on conflict do nothing
), closed as (
    delete from open o using unnest($20::int[], $21::uuid[]) as r(partition, execution_id)
    where o.partition = r.partition and o.execution_id = r.execution_id and (o.mode <> 'shadow' or o.is_compared)
        and exists (select from fence)
);

-- name: open_runs
-- Runs that began.
insert into open (partition, execution_id, company_id, runbook_id, runbook_name, started_at, mode)
select * from unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
on conflict do nothing;

-- name: compare_runs
-- Shadow runs that have their comparison.
update open o set is_compared = true
from unnest($1::int[], $2::uuid[]) as r(partition, execution_id)
where o.partition = r.partition and o.execution_id = r.execution_id;

-- name: close_runs
-- Runs whose record is safe with the finalizer; a shadow run only when it has its comparison.
delete from open o using unnest($1::int[], $2::uuid[]) as r(partition, execution_id)
where o.partition = r.partition and o.execution_id = r.execution_id and (o.mode <> 'shadow' or o.is_compared);

-- name: open_page
-- Open runs of one partition after a given id, in order.
select execution_id from open
where partition = $1 and execution_id > $2::uuid
order by execution_id limit $3;
