-- Firings that were queued or withheld, how a run came to be, and what its durable double came to in shadow mode.
-- Earlier releases leave all of it alone.
alter table records.runs
    add column detail text not null default '',
    add column ended_by text not null default '',
    add column is_degraded boolean not null default false,
    add column generation int not null default 0,
    add column started_by text not null default '',
    add column instead_of text not null default '';

-- One row a comparison, not a column of `runs`: it may come before the first word on its run.
create table records.comparisons (
    execution_id uuid primary key,
    company_id text not null,
    runbook_id text not null,
    lane int not null,
    at timestamptz not null,
    is_agreed boolean not null,
    comparison bytea not null
);
create index comparisons_that_differ on records.comparisons (company_id, execution_id desc) where not is_agreed;

create or replace view records_read.runs_v1 as
    select r.execution_id, r.company_id, r.runbook_id, r.runbook_name, r.runbook_version, r.definition_sha256, r.mode,
           r.status, r.event_source, r.event_id, r.event_type, r.event_time, r.started_at, r.finished_at, r.lane,
           r.payload, r.steps, r.error, r.reason, r.chain, r.waits, r.detail, r.ended_by, r.is_degraded, r.generation,
           r.started_by, r.instead_of, c.comparison
    from records.runs r left join records.comparisons c using (execution_id);
