-- name: upsert_runs
-- The latest word on each run of the batch; an earlier (rank, seq) changes nothing. Returns the runs that need a second
-- look: ended ones whose record has no payload (is_bare), and those whose missing payload came with an earlier word
-- (is_filling). Its caller owns their lanes, so nobody writes these rows between the look and the change.
with n as materialized (
    select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status, rank, seq,
        event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps, error,
        coalesce(string_to_array(nullif(chain, ''), ' '), '{}') as chain, waits, reason, detail, ended_by, is_degraded,
        generation, started_by, instead_of
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::int[],
        $10::int[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::int[], $16::timestamptz[],
        $17::timestamptz[], $18::bytea[], $19::bytea[], $20::bytea[], $21::text[], $22::bytea[], $23::text[], $24::text[],
        $25::text[], $26::boolean[], $27::int[], $28::text[], $29::text[])
        as u(execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status, rank,
             seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps, error,
             chain, waits, reason, detail, ended_by, is_degraded, generation, started_by, instead_of)
), looked as materialized (
    select n.execution_id, n.finished_at is not null as is_end, n.payload is not null as brings_payload,
        b.has_payload, b.is_ended, coalesce((b.rank, b.seq) < (n.rank, n.seq), true) as is_news
    from n left join lateral (
        select r.rank, r.seq, r.payload is not null as has_payload, r.finished_at is not null as is_ended
        from runs r where r.execution_id = n.execution_id limit 1
    ) b on true
), written as (
    insert into runs as r (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
        status, rank, seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps,
        error, chain, waits, reason, detail, ended_by, is_degraded, generation, started_by, instead_of)
    select * from n
    on conflict (execution_id) do update set
        mode = excluded.mode, status = excluded.status, rank = excluded.rank, seq = excluded.seq,
        started_at = coalesce(excluded.started_at, r.started_at), finished_at = excluded.finished_at,
        payload = coalesce(r.payload, excluded.payload), steps = excluded.steps, error = excluded.error,
        waits = excluded.waits, reason = excluded.reason, detail = excluded.detail, ended_by = excluded.ended_by,
        is_degraded = excluded.is_degraded, generation = excluded.generation, started_by = excluded.started_by,
        instead_of = excluded.instead_of
    where (r.rank, r.seq) < (excluded.rank, excluded.seq)
), weighed as (
    select execution_id, not is_news and not has_payload and brings_payload as is_filling,
        case when is_news then is_end else is_ended end and not brings_payload and not coalesce(has_payload, false)
            as is_bare
    from looked
)
select execution_id, is_bare, is_filling from weighed where is_bare or is_filling;

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
-- Those of these runs that have ended: where they belong, whose they are, and whether the record has its payload.
select execution_id, lane, company_id, runbook_id, mode, rank, payload is not null as has_payload
from runs where execution_id = any($1::uuid[]) and finished_at is not null;

-- name: compared_runs
-- Those of these runs whose comparison is kept.
select execution_id from comparisons where execution_id = any($1::uuid[]);
