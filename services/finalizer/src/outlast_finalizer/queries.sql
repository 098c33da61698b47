-- name: upsert_runs
-- The latest word on each run of the batch; an earlier (rank, seq) changes nothing. Returns the runs that need a second
-- look: ended ones whose record lacks its payload (is_bare; of a durable run the history has it), those whose missing
-- payload came with an earlier word (is_filling), and newly ended ones that a breaker counts (is_counted): where
-- `counting` is 2, and where it is 1 and the breaker has failures to clear. Its caller owns their lanes: nobody writes
-- these rows between the look and the change.
with n as materialized (
    select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status, rank, seq,
        event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps, error,
        coalesce(string_to_array(nullif(chain, ''), ' '), '{}') as chain, waits, reason, detail, ended_by, is_degraded,
        generation, started_by, instead_of, counting, told_at, check_at, is_slotted
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::int[],
        $10::int[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::int[], $16::timestamptz[],
        $17::timestamptz[], $18::bytea[], $19::bytea[], $20::bytea[], $21::text[], $22::bytea[], $23::text[], $24::text[],
        $25::text[], $26::boolean[], $27::int[], $28::text[], $29::text[], $30::smallint[],
        $31::timestamptz[], $32::timestamptz[], $33::boolean[])
        as u(execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status, rank,
             seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps, error,
             chain, waits, reason, detail, ended_by, is_degraded, generation, started_by, instead_of,
             counting, told_at, check_at, is_slotted)
), looked as materialized (
    select n.execution_id, n.finished_at is not null as is_end, n.payload is not null as brings_payload,
        n.mode = 'workflow' and n.rank > 0 as is_durable, b.has_payload, b.is_ended,
        coalesce((b.rank, b.seq) < (n.rank, n.seq), true) as is_news,
        case n.counting when 2 then true when 1 then exists (
            select from breakers k
            where k.company_id = n.company_id and k.runbook_id = n.runbook_id and k.failures > 0
        ) else false end as may_count
    from n left join lateral (
        select r.rank, r.seq, r.payload is not null as has_payload, r.finished_at is not null as is_ended
        from runs r where r.execution_id = n.execution_id limit 1
    ) b on true
), written as (
    insert into runs as r (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
        status, rank, seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps,
        error, chain, waits, reason, detail, ended_by, is_degraded, generation, started_by, instead_of, told_at, check_at,
        is_slotted)
    select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status, rank, seq,
        event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps, error, chain, waits,
        reason, detail, ended_by, is_degraded, generation, started_by, instead_of, told_at, check_at, is_slotted
    from n
    on conflict (execution_id) do update set
        mode = excluded.mode, status = excluded.status, rank = excluded.rank, seq = excluded.seq,
        started_at = coalesce(excluded.started_at, r.started_at), finished_at = excluded.finished_at,
        payload = coalesce(r.payload, excluded.payload), steps = excluded.steps, error = excluded.error,
        waits = excluded.waits, reason = excluded.reason, detail = excluded.detail, ended_by = excluded.ended_by,
        is_degraded = excluded.is_degraded, generation = excluded.generation, started_by = excluded.started_by,
        instead_of = excluded.instead_of, told_at = excluded.told_at, check_at = excluded.check_at, asked_at = null,
        is_slotted = excluded.is_slotted
    where (r.rank, r.seq) < (excluded.rank, excluded.seq)
), weighed as (
    select execution_id, not is_news and not has_payload and brings_payload as is_filling,
        case when is_news then is_end else is_ended end and not is_durable
            and not brings_payload and not coalesce(has_payload, false) as is_bare,
        is_news and may_count as is_counted
    from looked
)
select execution_id, is_bare, is_filling, is_counted from weighed where is_bare or is_filling or is_counted;

-- name: fill_payloads
-- Payloads for records that have none, brought by words that change nothing else.
update runs r set payload = n.payload
from unnest($1::uuid[], $2::bytea[]) as n(execution_id, payload)
where r.execution_id = n.execution_id and r.payload is null;

-- name: insert_comparisons
-- What the durable doubles of inline runs came to; the first word stays. Returns those that are new.
insert into comparisons (execution_id, company_id, runbook_id, lane, at, is_agreed, comparison)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::boolean[], $7::bytea[])
on conflict (execution_id) do nothing
returning execution_id;

-- name: finished_runs
-- Those of these runs that have ended: where they belong, whose they are, and whether the record has a payload.
select execution_id, lane, company_id, runbook_id, mode, rank, payload is not null as has_payload
from runs where execution_id = any($1::uuid[]) and finished_at is not null;

-- name: compared_runs
-- Those of these runs whose comparison is kept.
select execution_id from comparisons where execution_id = any($1::uuid[]);

-- name: lock_breakers
-- These breakers, made where there is none, locked to the end of the transaction.
insert into breakers as b (company_id, runbook_id)
select * from unnest($1::text[], $2::text[]) as k(company_id, runbook_id) order by 1, 2
on conflict (company_id, runbook_id) do update set generation = b.generation
returning company_id, runbook_id, generation, failures, tripped_at;

-- name: put_breakers
-- What these breakers are now; a null revision leaves the one that was published.
update breakers b set generation = n.generation, failures = n.failures, tripped_at = n.tripped_at,
    revision = coalesce(n.revision, b.revision)
from unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::timestamptz[], $6::bigint[])
    as n(company_id, runbook_id, generation, failures, tripped_at, revision)
where b.company_id = n.company_id and b.runbook_id = n.runbook_id;

-- name: insert_resets
-- Resets, by the ids of their commands. Returns those that are new.
insert into resets (command_id, company_id, runbook_id, reset_by, at, reason)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
on conflict (command_id) do nothing
returning command_id;

-- name: count_breakers
-- How many keys `breakers` has.
select count(*) from breakers where revision > 0;

-- name: breakers_page
-- Published breakers after a key, in order, to be published again.
select company_id, runbook_id, generation, failures, tripped_at, revision
from breakers where revision > 0 and (company_id, runbook_id) > ($1, $2)
order by company_id, runbook_id limit $3;

-- name: silent_runs
-- Runs of these lanes that are to be asked about by now; ended ones are among them after an upgrade.
select execution_id, lane, company_id, runbook_id, mode, status = 'running' as is_running,
    coalesce(told_at, check_at) as told_at
from runs where lane = any($1::int[]) and check_at <= $2 order by lane, check_at limit $3;

-- name: mark_checked
-- When to ask about these again.
update runs r set check_at = case when r.status = 'running' then n.check_at end
from unnest($1::uuid[], $2::timestamptz[]) as n(execution_id, check_at)
where r.execution_id = n.execution_id and r.check_at is not null;

-- name: asked_runs
-- Those of these runs that go on and are not the engine's, with all that their end needs.
select * from runs
where execution_id = any($1::uuid[]) and status = 'running' and mode <> 'workflow' order by execution_id;

-- name: mark_asked
-- The first question since their last word has come back to us.
update runs r set asked_at = coalesce(r.asked_at, n.asked_at)
from unnest($1::uuid[], $2::timestamptz[]) as n(execution_id, asked_at) where r.execution_id = n.execution_id;

-- name: give_up
-- These runs have failed, if they are still as they were when that was decided. Returns them.
update runs r set status = 'failed', rank = n.rank, seq = n.seq, finished_at = n.at, steps = '[]', error = n.error,
    reason = '', told_at = n.at, check_at = null, asked_at = null
from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int[], $6::timestamptz[], $7::bytea[])
    as n(execution_id, old_rank, old_seq, rank, seq, at, error)
where r.execution_id = n.execution_id and (r.rank, r.seq) = (n.old_rank, n.old_seq) and r.status = 'running'
returning r.execution_id;

-- name: given_up_runs
-- Those of these runs that the watchdog failed.
select * from runs where execution_id = any($1::uuid[]) and rank = 2 and finished_at is not null;
