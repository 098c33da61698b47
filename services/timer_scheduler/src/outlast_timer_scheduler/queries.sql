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
