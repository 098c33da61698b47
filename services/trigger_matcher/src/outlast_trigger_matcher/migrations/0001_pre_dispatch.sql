-- Where a run is born: the events that were seen, and one dispatch row for each execution they cause.

create table dispatch.partitions (
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

-- Each definition once, by the digest that dispatch rows name.
create table dispatch.definitions (
    sha256 text primary key,
    body bytea not null
);

-- Every event that was taken in, known by (company, source, id). `payload` is the enriched payload that its
-- executions start with: kept once for all of them.
create table dispatch.events (
    company_id text not null,
    source text not null,
    event_id text not null,
    event_type text not null,
    event_time timestamptz not null,
    subject text not null default '',
    received_at timestamptz not null,
    payload bytea not null,
    traceparent text not null default '',
    chain text[] not null default '{}',
    primary key (company_id, source, event_id)
);
alter table dispatch.events alter column payload set storage external;

-- One row an execution, from the moment it is accepted. Unguarded rows begin as `sent`.
create table dispatch.dispatches (
    execution_id uuid primary key,
    company_id text not null,
    source text not null,
    event_id text not null,
    runbook_id text not null,
    runbook_name text not null,
    runbook_version int not null,
    definition_sha256 text not null,
    mode text not null check (mode in ('workflow', 'inline', 'shadow')),
    is_degraded boolean not null default false,
    lane int not null,
    status text not null check (status in ('deferred', 'held', 'requested', 'queued', 'admitted', 'sent', 'started',
        'settled', 'skipped', 'suppressed', 'cancelled')),
    reason text not null default '',
    version int not null default 1,
    throttle_key text,
    concurrency_key text,
    slot_taken_at timestamptz,
    slot_freed_at timestamptz,
    received_at timestamptz not null,
    admitted_at timestamptz,
    settled_at timestamptz,
    closed_at timestamptz,
    unique (company_id, source, event_id, runbook_id),
    check (slot_taken_at is not null or slot_freed_at is null),
    check (closed_at is null or settled_at is not null)
) with (fillfactor = 70);
-- What is accepted and not yet recorded: where the walk after a loss begins.
create index dispatches_unclosed on dispatch.dispatches (lane, execution_id) where closed_at is null;
-- The slots that are held, by key.
create index dispatches_slots on dispatch.dispatches (company_id, runbook_id, concurrency_key)
    where slot_taken_at is not null and slot_freed_at is null;
-- The rows admitted in a throttle window, by key.
create index dispatches_admitted on dispatch.dispatches (company_id, runbook_id, throttle_key, admitted_at)
    where throttle_key is not null;
