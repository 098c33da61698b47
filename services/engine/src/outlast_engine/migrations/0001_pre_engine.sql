-- The engine's own schema: history is the truth, everything else can be derived from it.

create table engine.partitions (
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

-- Each definition once, by the digest that histories name.
create table engine.definitions (
    sha256 text primary key,
    body bytea not null
);

-- What happened, one row an event. A week a table, by the birth time in the id (outlast.db.partitioning).
create table engine.history (
    execution_id uuid not null,
    seq int not null check (seq > 0),
    at timestamptz not null,
    type text not null,
    data bytea not null,
    primary key (execution_id, seq)
) partition by range (execution_id);
alter table engine.history alter column data set storage external;
create table engine.history_default partition of engine.history default;

-- Runs that the finalizer has not recorded yet: where the walk over what is outstanding begins.
create table engine.open (
    partition int not null,
    execution_id uuid not null,
    company_id text not null,
    runbook_id text not null,
    runbook_name text not null,
    started_at timestamptz not null,
    primary key (partition, execution_id)
) with (fillfactor = 70);

-- What others may read: versioned, read-only, a contract like a topic.
create schema if not exists engine_read;
create view engine_read.history_v1 as
    select execution_id, seq, at, type, data from engine.history;
create view engine_read.open_v1 as
    select execution_id, company_id, runbook_id, runbook_name, started_at from engine.open;
create view engine_read.definitions_v1 as
    select sha256, body from engine.definitions;
