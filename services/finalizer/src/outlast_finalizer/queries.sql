-- name: upsert_runs
-- The latest word on each run of the batch; an earlier (rank, seq) changes nothing, an equal one only fills in a
-- missing payload. Returns the runs that have ended and still have no payload.
with written as (
insert into runs as r (execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
    status, rank, seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps,
    error, chain, waits)
select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
    status, rank, seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload, steps,
    error, coalesce(string_to_array(nullif(chain, ''), ' '), '{}'), waits
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
    $9::int[], $10::int[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::int[],
    $16::timestamptz[], $17::timestamptz[], $18::bytea[], $19::bytea[], $20::bytea[], $21::text[], $22::bytea[])
    as n(execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode,
         status, rank, seq, event_source, event_id, event_type, event_time, lane, started_at, finished_at, payload,
         steps, error, chain, waits)
on conflict (execution_id) do update set
    status = excluded.status, rank = excluded.rank, seq = excluded.seq,
    started_at = coalesce(excluded.started_at, r.started_at), finished_at = excluded.finished_at,
    payload = coalesce(r.payload, excluded.payload), steps = excluded.steps, error = excluded.error,
    waits = excluded.waits
where (r.rank, r.seq) < (excluded.rank, excluded.seq)
   or ((r.rank, r.seq) = (excluded.rank, excluded.seq) and r.payload is null)
returning r.execution_id, r.payload is null and r.finished_at is not null as is_bare
)
select execution_id from written where is_bare;

-- name: finished_runs
-- Those of these runs that have ended: where they belong, and whether their record has its payload.
select execution_id, lane, company_id, runbook_id, payload is not null as has_payload from runs where execution_id = any($1::uuid[]) and finished_at is not null;
