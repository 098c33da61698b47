-- Signals, the runs they go to, and the runs that wait with a correlation key.

create table signals.partitions (
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

-- One row a signal: recorded before its sender is answered. The id is a digest of (company, signal id).
create table signals.deliveries (
    delivery_id uuid primary key,
    company_id text not null,
    signal_id text not null,
    name text not null,
    execution_id uuid,
    key text,
    payload bytea not null,
    sent_by text not null,
    sent_at timestamptz not null,
    expires_at timestamptz not null,
    for_future boolean not null,
    bucket int not null check (bucket >= 0),
    traceparent text not null default '',
    closed_at timestamptz,
    unique (company_id, signal_id),
    check ((execution_id is null) <> (key is null))
) with (fillfactor = 80);
alter table signals.deliveries alter column payload set storage external;
create index deliveries_by_key on signals.deliveries (company_id, name, key, sent_at, delivery_id)
    where closed_at is null and key is not null;
create index deliveries_by_expiry on signals.deliveries (expires_at) where closed_at is null;
create index deliveries_closed on signals.deliveries (closed_at) where closed_at is not null;

-- One row a run that a signal goes to; sent again while due_at is set.
create table signals.targets (
    delivery_id uuid not null references signals.deliveries on delete cascade,
    execution_id uuid not null,
    bucket int not null,
    attempts int not null default 0,
    due_at timestamptz,
    verdict text check (verdict in ('consumed', 'early', 'late', 'unknown', 'rejected')),
    rank int not null default 0,
    answered_at timestamptz,
    primary key (delivery_id, execution_id),
    check ((rank = 0) = (verdict is null))
) with (fillfactor = 70);
create index targets_due on signals.targets (due_at) where due_at is not null;
create index targets_by_execution on signals.targets (execution_id) where due_at is not null;

-- Runs that wait for a signal with a key.
create table signals.subscriptions (
    execution_id uuid not null,
    activity_id text not null,
    company_id text not null,
    signal text not null,
    key text not null,
    started_at timestamptz not null,
    primary key (execution_id, activity_id)
);
create index subscriptions_by_key on signals.subscriptions (company_id, signal, key);
