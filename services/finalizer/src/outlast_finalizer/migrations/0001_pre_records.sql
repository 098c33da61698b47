-- The run records: what happened to each execution, for people and for counting.

create table records.partitions (
    loop text not null,
    topic text not null,
    partition int not null,
    topic_id text not null,
    epoch bigint not null,
    next_offset bigint not null,
    pending text[] not null default '{}',
    rederive_after text,
    acquired_at_offset bigint not null,
    acquisitions int not null default 1,
    attempts int not null default 0,
    primary key (loop, topic, partition)
) with (fillfactor = 50);

-- One row a run. (rank, seq) order the messages of several writers: only a later one changes the row.
create table records.runs (
    execution_id uuid primary key,
    company_id text not null,
    runbook_id text not null,
    runbook_name text not null,
    runbook_version int not null,
    definition_sha256 text not null,
    mode text not null check (mode in ('workflow', 'inline', 'shadow')),
    status text not null check (status in
        ('queued', 'running', 'waiting', 'success', 'failed', 'partial', 'skipped', 'cancelled')),
    rank int not null,
    seq int not null,
    event_source text not null,
    event_id text not null,
    event_type text not null,
    event_time timestamptz not null,
    lane int not null,
    started_at timestamptz,
    finished_at timestamptz,
    payload bytea,
    steps bytea,
    error bytea,
    reason text not null default '',
    chain text[] not null default '{}',
    check ((finished_at is not null) = (status in ('success', 'failed', 'partial', 'skipped', 'cancelled')))
) with (fillfactor = 70);
alter table records.runs alter column payload set storage external;
alter table records.runs alter column steps set storage external;
create index runs_by_company on records.runs (company_id, execution_id desc);

-- What others may read: versioned, read-only, a contract like a topic.
create schema if not exists records_read;
create view records_read.runs_v1 as
    select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status,
           event_source, event_id, event_type, event_time, started_at, finished_at, lane, payload, steps, error,
           reason, chain
    from records.runs;
