-- name: add_definitions
-- Keep each body once.
insert into definitions (sha256, body)
select * from unnest($1::text[], $2::bytea[]) on conflict do nothing;

-- name: add_events
-- Take these events in; a duplicate is left as it was. Returns those that are new.
insert into events (company_id, source, event_id, event_type, event_time, subject, received_at, payload,
    traceparent, chain)
select company_id, source, event_id, event_type, event_time, subject, received_at, payload, traceparent,
    coalesce(string_to_array(nullif(chain, ''), ' '), '{}')
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[],
    $8::bytea[], $9::text[], $10::text[])
    as n(company_id, source, event_id, event_type, event_time, subject, received_at, payload, traceparent, chain)
on conflict do nothing
returning company_id, source, event_id;

-- name: add_dispatches
-- The executions that new events cause, those that nothing holds back.
insert into dispatches (execution_id, company_id, source, event_id, runbook_id, runbook_name, runbook_version,
    definition_sha256, mode, lane, status, received_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
    $9::text[], $10::int[], $11::text[], $12::timestamptz[]);

-- name: add_guarded_dispatches
-- The executions that new events cause, with all that may stand in their rows.
insert into dispatches (execution_id, company_id, source, event_id, runbook_id, runbook_name, runbook_version,
    definition_sha256, mode, lane, status, received_at, is_degraded, generation, started_by, instead_of, reason, detail,
    guard, concurrency_key, changed_at, asked_at, settled_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
    $9::text[], $10::int[], $11::text[], $12::timestamptz[], $13::boolean[], $14::int[], $15::text[], $16::text[],
    $17::text[], $18::text[], $19::bytea[], $20::text[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[]);

-- name: close_dispatches
-- Their run records are safe. What still held a slot holds it no more, and is returned: it should have given it back.
with closed as (
    update dispatches set version = version + 1, settled_at = coalesce(settled_at, $2), closed_at = $2, resuming_seq = 0,
        status = case when status in ('skipped', 'suppressed', 'cancelled') then status else 'settled' end,
        slot_freed_at = case when slot_taken_at is not null and slot_freed_at is null then $2 else slot_freed_at end
    where execution_id = any($1::uuid[]) and closed_at is null
        and status not in ('deferred', 'held', 'requested', 'queued')
    returning execution_id, slot_freed_at = $2 as has_leaked
)
select execution_id from closed where has_leaked;

-- name: store_waiting
-- Runs that came to wait or went on: those that wait do not count against their company's limit.
update dispatches d set is_waiting = n.is_waiting
from unnest($1::uuid[], $2::boolean[]) as n(execution_id, is_waiting)
where d.execution_id = n.execution_id and d.closed_at is null and d.is_waiting <> n.is_waiting;

-- name: store_compared
-- Shadowed runs whose doubles have ended, and are compared.
update dispatches set is_compared = true where execution_id = any($1::uuid[]) and not is_compared;

-- name: load_rows
-- These executions' rows with the whole start.
select d.*, e.event_type, e.event_time, e.subject, e.payload, e.traceparent, e.chain, f.body as definition
from dispatches d
join events e using (company_id, source, event_id)
join definitions f on f.sha256 = d.definition_sha256
where d.execution_id = any($1::uuid[])
order by d.execution_id;

-- name: lock_rows
-- These executions' rows, held until the end of the transaction, without payload and definition ("{}").
select d.*, e.event_type, e.event_time, e.subject, ''::bytea as payload, e.traceparent, e.chain,
    '{}'::bytea as definition
from dispatches d
join events e using (company_id, source, event_id)
where d.execution_id = any($1::uuid[])
order by d.execution_id for update of d;

-- name: add_guarded
-- The locks of these runbooks, where they are not there yet.
insert into guarded (company_id, runbook_id) select * from unnest($1::text[], $2::text[]) on conflict do nothing;

-- name: lock_guarded
-- Nobody else decides about these runbooks until the end of the transaction.
select 1 from guarded where (company_id, runbook_id) in (select * from unnest($1::text[], $2::text[]))
order by company_id, runbook_id for update;

-- name: held_slots
-- How many slots of these keys are held.
select k.company_id, k.runbook_id, k.key, (
    select count(*) from dispatches d
    where d.company_id = k.company_id and d.runbook_id = k.runbook_id and d.concurrency_key = k.key
        and d.slot_taken_at is not null and d.slot_freed_at is null) as held
from unnest($1::text[], $2::text[], $3::text[]) as k(company_id, runbook_id, key);

-- name: slot_use
-- How many slots of these keys are held, how many firings wait for one and how many ask for one, each as far as it
-- matters: of one instant. Who asks is sought among the latest of the runbook; whoever has windows may get none.
with k as (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[])
        as k(company_id, runbook_id, key, lane, places)),
asking as (
    select r.company_id, r.runbook_id, d.concurrency_key as key, count(*) as asking
    from (select distinct lane, company_id, runbook_id from k) r
    cross join lateral (
        select status, concurrency_key, guard from dispatches
        where lane = r.lane and company_id = r.company_id and runbook_id = r.runbook_id
            and status in ('deferred', 'held', 'requested', 'queued')
        order by execution_id desc limit 2000) d
    where d.status = 'requested' and position('"windows"'::bytea in d.guard) = 0
    group by r.company_id, r.runbook_id, d.concurrency_key)
select k.company_id, k.runbook_id, k.key, (
    select count(*) from dispatches d
    where d.company_id = k.company_id and d.runbook_id = k.runbook_id and d.concurrency_key = k.key
        and d.slot_taken_at is not null and d.slot_freed_at is null) as held, (
    select count(*) from (
        select 1 from dispatches d
        where d.status = 'queued' and d.lane = k.lane and d.company_id = k.company_id and d.runbook_id = k.runbook_id
            and d.concurrency_key = k.key
        limit k.places) waiting) as queued, coalesce(a.asking, 0) as asking
from k left join asking a using (company_id, runbook_id, key);

-- name: seen_events
-- Those of these events that were taken in before.
select company_id, source, event_id from events
where (company_id, source, event_id) in (select * from unnest($1::text[], $2::text[], $3::text[]));

-- name: window_entries
-- The latest entries of these windows, as many as may be admitted.
select w.company_id, w.runbook_id, w.key, a.at
from unnest($1::text[], $2::text[], $3::text[], $4::int[]) as w(company_id, runbook_id, key, limit_)
cross join lateral (
    select at from admissions a
    where a.company_id = w.company_id and a.runbook_id = w.runbook_id and a.window_key = w.key
    order by a.at desc limit w.limit_) a;

-- name: add_admissions
-- New entries of windows.
insert into admissions (company_id, runbook_id, window_key, at, execution_id, until)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[], $6::timestamptz[])
on conflict do nothing;

-- name: store_rows
-- Rows as they were decided; they are locked, and none goes back.
update dispatches d set status = n.status, version = n.version, reason = n.reason, detail = n.detail,
    ended_by = n.ended_by, changed_at = n.changed_at, asked_at = n.asked_at, expires_at = n.expires_at,
    slot_taken_at = n.slot_taken_at, slot_freed_at = n.slot_freed_at, slot_seq = n.slot_seq,
    resuming_seq = n.resuming_seq, granted_seq = n.granted_seq, generation = n.generation, cancel = n.cancel,
    answer = n.answer, answered_by = n.answered_by, is_answered = n.is_answered, settled_at = n.settled_at
from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::bigint[], $14::bigint[], $15::int[],
    $16::bytea[], $17::text[], $18::text[], $19::boolean[], $20::timestamptz[])
    as n(execution_id, status, version, reason, detail, ended_by, changed_at, asked_at, expires_at, slot_taken_at,
        slot_freed_at, slot_seq, resuming_seq, granted_seq, generation, cancel, answer, answered_by, is_answered,
        settled_at)
where d.execution_id = n.execution_id and d.version < n.version;

-- name: answer_suppressed
-- What was decided about firings that were suppressed: those that are named, or all that nobody has answered.
update dispatches set answer = $3, answered_by = $4, is_answered = $3 = 'let_go'
where company_id = $1 and runbook_id = $2 and status = 'suppressed' and (answer is null or answer = 'let_go')
    and case when cardinality($5::uuid[]) > 0 then execution_id = any($5::uuid[])
             else reason = 'breaker_open' and answer is null end;

-- name: runbooks_of
-- Which runbook each of these executions is of.
select execution_id, runbook_id from dispatches where execution_id = any($1::uuid[]);

-- name: unended
-- The rules with a schedule that have something that has not ended: to be sent, or sent and not settled.
select w.company_id, w.runbook_id, w.subject
from unnest($2::text[], $3::text[], $4::text[]) as w(company_id, runbook_id, subject)
where exists (
    select from dispatches d join events e using (company_id, source, event_id)
    where d.company_id = w.company_id and d.runbook_id = w.runbook_id and d.source = $1
        and d.settled_at is null and d.closed_at is null and e.subject = w.subject);

-- name: in_flight
-- How many runs of these companies are under way, counted up to a limit, and whether some wait for room already.
select c.company_id,
    (select count(*) from (
        select 1 from dispatches d
        where d.company_id = c.company_id and d.status = 'sent' and d.closed_at is null and not d.is_waiting
        limit $2) counted) as running,
    exists (select 1 from dispatches d where d.company_id = c.company_id and d.status = 'deferred') as has_deferred
from unnest($1::text[]) as c(company_id);

-- name: unclosed_page
-- Accepted executions of one lane after a given id, in order, that are not recorded, or whose double is not compared.
(select execution_id from dispatches
 where lane = $1 and closed_at is null and execution_id > $2::uuid
 order by execution_id limit $3)
union all
(select execution_id from dispatches
 where lane = $1 and mode = 'shadow' and status = 'settled' and not is_compared and execution_id > $2::uuid
 order by execution_id limit $3)
order by execution_id limit $3;
