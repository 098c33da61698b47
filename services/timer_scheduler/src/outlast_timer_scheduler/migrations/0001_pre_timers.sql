-- Timers that wait for their time.

create table timers.partitions (
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

-- One row a timer, from its start until its firing is acknowledged or it is cancelled. `partition` is the one of
-- timers.commands whose owner fires it. Rows are short-lived: what is dead is cleared away early.
create table timers.timers (
    execution_id uuid not null,
    timer_id text collate "C" not null,
    partition int not null,
    fire_at timestamptz not null,
    traceparent text not null default '',
    primary key (execution_id, timer_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.05);
-- The order in which they are read, page after page: a page ends between two timers of one instant, too.
create index timers_by_time on timers.timers (partition, fire_at, execution_id, timer_id);
