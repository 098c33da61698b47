-- The executor's own schema: what was claimed, by whom, and what came of it.

create table executor.partitions (
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

-- Lives of executor processes. A claim of an earlier life of its ordinal is dead.
create table executor.instances (
    ordinal text primary key,
    incarnation bigint not null check (incarnation > 0),
    started_at timestamptz not null default now()
) with (fillfactor = 50);

-- One row an attempt at one operation of one activity: claimed before the call, settled after it.
-- A week a table, by the birth time in the execution id (outlast.db.partitioning).
create table executor.claims (
    execution_id uuid not null,
    activity_id text not null,
    operation text not null,
    attempt int not null check (attempt > 0),
    ordinal text not null,
    incarnation bigint not null,
    claimed_at timestamptz not null default now(),
    deadline timestamptz not null,
    takeovers int not null default 0,
    unknown_resolution text check (unknown_resolution in ('looked_up', 'retried', 'failed')),
    result bytea,
    succeeded boolean,
    settled_at timestamptz,
    primary key (execution_id, activity_id, operation, attempt),
    check ((result is null) = (settled_at is null) and (result is null) = (succeeded is null))
) partition by range (execution_id);
alter table executor.claims alter column result set storage external;
create table executor.claims_default partition of executor.claims default with (fillfactor = 60);
