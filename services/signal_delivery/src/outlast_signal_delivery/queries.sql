-- name: lock_keys
-- Signals and subscriptions with one key are stored one after the other, so that each sees the other.
select pg_advisory_xact_lock(1936287596, each) from unnest($1::int[]) as each;

-- name: insert_deliveries
-- Signals that are new; a known id changes nothing.
insert into deliveries (delivery_id, company_id, signal_id, name, execution_id, key, payload, sent_by, sent_at,
    expires_at, for_future, bucket, traceparent)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::bytea[], $8::text[],
    $9::timestamptz[], $10::timestamptz[], $11::boolean[], $12::int[], $13::text[])
on conflict do nothing
returning delivery_id;

-- name: target_executions
-- The run that each of these new signals names.
insert into targets (delivery_id, execution_id, bucket, due_at)
select delivery_id, execution_id, bucket, $2 from deliveries
where delivery_id = any($1::uuid[]) and execution_id is not null
on conflict do nothing;

-- name: target_subscribers
-- The runs that wait with the keys of these new signals.
insert into targets (delivery_id, execution_id, bucket, due_at)
select distinct d.delivery_id, s.execution_id, d.bucket, $2::timestamptz
from deliveries d join subscriptions s on s.company_id = d.company_id and s.signal = d.name and s.key = d.key
where d.delivery_id = any($1::uuid[]) and d.expires_at > $3 and (d.for_future or s.started_at <= d.sent_at)
on conflict do nothing;

-- name: target_waiting
-- The open signals for these runs, which have come to wait: the first of those that they were not sent.
insert into targets (delivery_id, execution_id, bucket, due_at)
select distinct d.delivery_id, s.execution_id, d.bucket, $2::timestamptz
from subscriptions s cross join lateral (
    select d.delivery_id, d.bucket from deliveries d
    where d.company_id = s.company_id and d.name = s.signal and d.key = s.key and d.closed_at is null
      and d.expires_at > $2 and (d.for_future or s.started_at <= d.sent_at)
      and not exists (select from targets t where t.delivery_id = d.delivery_id and t.execution_id = s.execution_id)
    order by d.sent_at, d.delivery_id limit $3
) d
where s.execution_id = any($1::uuid[])
on conflict do nothing;

-- name: put_subscriptions
-- Runs that wait.
insert into subscriptions (execution_id, activity_id, company_id, signal, key, started_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
on conflict (execution_id, activity_id) do update set
    company_id = excluded.company_id, signal = excluded.signal, key = excluded.key, started_at = excluded.started_at;

-- name: delete_subscriptions
-- Runs that wait no more.
delete from subscriptions s using unnest($1::uuid[], $2::text[]) as gone(execution_id, activity_id)
where s.execution_id = gone.execution_id and s.activity_id = gone.activity_id;

-- name: end_subscriptions
-- Runs that, by what they say of a signal with a key, wait for that key no more.
delete from subscriptions s
using unnest($1::uuid[], $2::uuid[]) as said(delivery_id, execution_id), deliveries d
where d.delivery_id = said.delivery_id and d.key is not null and s.execution_id = said.execution_id
  and s.company_id = d.company_id and s.signal = d.name and s.key = d.key;

-- name: send_first
-- What was not sent yet of these signals, and to these runs: now it is. What is too much for once stays due.
with chosen as (
    select t.delivery_id, t.execution_id from targets t join deliveries d using (delivery_id)
    where (t.delivery_id = any($1::uuid[]) or t.execution_id = any($2::uuid[]))
      and t.attempts = 0 and t.due_at is not null and d.expires_at > $3
    order by 1, 2 limit $5 for update of t
), sent as (
    update targets t set attempts = 1, due_at = $4 from chosen c
    where t.delivery_id = c.delivery_id and t.execution_id = c.execution_id
    returning t.delivery_id, t.execution_id, t.attempts
)
select sent.delivery_id, sent.execution_id, sent.attempts, d.company_id, d.signal_id, d.name, d.key, d.payload, d.sent_by,
    d.sent_at, d.bucket, d.traceparent
from sent join deliveries d using (delivery_id) order by d.sent_at, sent.delivery_id, sent.execution_id;

-- name: note_sent
-- These were sent again.
with said as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[])
        as s(delivery_id, execution_id, attempts, due_at)
), held as (
    select t.delivery_id, t.execution_id, s.attempts, s.due_at from targets t join said s using (delivery_id, execution_id)
    where t.due_at is not null order by 1, 2 for update of t
)
update targets t set attempts = h.attempts, due_at = h.due_at from held h
where t.delivery_id = h.delivery_id and t.execution_id = h.execution_id;

-- name: record_verdicts
-- What runs say, where it outranks what they said. A key's signal needs no record of the run: it subscribed.
with said as (
    select s.delivery_id, s.execution_id, s.verdict, case when d.key is null then s.rank else greatest(s.rank, 2) end
        as rank
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) as s(delivery_id, execution_id, verdict, rank)
    join deliveries d using (delivery_id)
), held as (
    select t.delivery_id, t.execution_id, s.verdict, s.rank from targets t join said s using (delivery_id, execution_id)
    where t.rank < s.rank order by 1, 2 for update of t
)
update targets t set verdict = h.verdict, rank = h.rank, answered_at = $5,
    due_at = case when h.rank >= 2 then null else t.due_at end
from held h where t.delivery_id = h.delivery_id and t.execution_id = h.execution_id
returning t.delivery_id, t.verdict;

-- name: close_answered
-- Signals to an execution that has answered: nothing more is sent.
update deliveries d set closed_at = $2
where d.delivery_id = any($1::uuid[]) and d.closed_at is null and d.execution_id is not null
  and exists (select from targets t where t.delivery_id = d.delivery_id and t.rank >= 2);

-- name: stop_targets
-- Signals whose time is over are sent to nobody any more.
update targets set due_at = null where due_at is not null and delivery_id = any($1::uuid[]);

-- name: close_expired
-- Signals whose time is over.
update deliveries set closed_at = $2 where closed_at is null and delivery_id = any($1::uuid[]);

-- name: open_targets
-- What has no last word yet (rank 3 is "early"), of these signals; what has no answer, to these runs. What is too
-- much for once is due by itself.
select t.delivery_id, t.execution_id, t.attempts, d.company_id, d.signal_id, d.name, d.key, d.payload, d.sent_by, d.sent_at,
    d.bucket, d.traceparent
from targets t join deliveries d using (delivery_id)
where (t.delivery_id = any($1::uuid[]) and (t.due_at is not null or t.rank = 3))
   or (t.execution_id = any($2::uuid[]) and t.due_at is not null)
order by t.due_at, d.sent_at, t.delivery_id, t.execution_id limit $3;

-- name: due_targets
-- What is to be sent again now, of the partitions that the caller owns.
select t.delivery_id, t.execution_id, t.attempts, d.company_id, d.signal_id, d.name, d.key, d.payload, d.sent_by, d.sent_at,
    d.bucket, d.traceparent
from targets t join deliveries d using (delivery_id)
where t.due_at <= $1 and t.bucket % $2 = any($3::int[]) and d.expires_at > $1
order by t.due_at, t.delivery_id, t.execution_id limit $4;

-- name: due_expiries
-- Signals whose time is over, of the partitions that the caller owns.
select delivery_id, bucket from deliveries
where closed_at is null and expires_at <= $1 and bucket % $2 = any($3::int[])
order by expires_at, delivery_id limit $4;

-- name: next_due
-- When there is something to do for these partitions; null if nothing is open.
select least(
    (select due_at from targets where due_at is not null and bucket % $1 = any($2::int[]) order by due_at limit 1),
    (select expires_at from deliveries where closed_at is null and bucket % $1 = any($2::int[])
     order by expires_at limit 1));

-- name: outstanding_page
-- Signals of one partition without a last word, after a given id, in order.
select distinct delivery_id from targets
where (due_at is not null or rank = 3) and delivery_id > $1 and bucket % $2 = $3 order by delivery_id limit $4;

-- name: shown
-- Signals as their senders see them, with how their targets stand.
select d.delivery_id, d.company_id, d.signal_id, d.name, d.execution_id, d.key, d.payload, d.sent_by, d.sent_at,
    d.expires_at, d.for_future, d.closed_at is not null as is_closed, c.targets, c.delivered, c.unanswered
from deliveries d cross join lateral (
    select count(*) as targets, count(*) filter (where t.verdict in ('consumed', 'early')) as delivered,
        count(*) filter (where t.rank < 2) as unanswered
    from targets t where t.delivery_id = d.delivery_id) c
where d.delivery_id = any($1::uuid[]);

-- name: shown_targets
-- What each run made of a signal, the first of them. An "unknown" that is not final is not shown.
select execution_id, case when rank >= 2 then verdict end as verdict, answered_at from targets where delivery_id = $1 order by execution_id limit $2;

-- name: prune
-- Closed signals that nobody asks for any more.
delete from deliveries where delivery_id in
    (select delivery_id from deliveries where closed_at < $1 order by closed_at limit $2);

-- name: known_runs
-- Those of these (company, execution) pairs whose record says that they are not over. Read from the finalizer's view.
select r.company_id, r.execution_id
from unnest($1::text[], $2::uuid[]) as asked(company_id, execution_id)
join records_read.runs_v1 r on r.execution_id = asked.execution_id and r.company_id = asked.company_id
where r.finished_at is null;
