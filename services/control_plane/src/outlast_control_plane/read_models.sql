-- name: runs_page
-- Runs of one company (null: of all) before an id, newest first, by runbook, status, time, reason, event, mode and origin.
select execution_id, company_id, runbook_id, runbook_name, runbook_version, mode, status, event_source, event_id,
       event_type, event_time, started_at, finished_at, steps, error, waits, reason, detail, ended_by, is_degraded, started_by, instead_of, comparison
from records_read.runs_v1
where ($1::text is null or company_id = $1)
  and ($2::uuid is null or execution_id < $2)
  and ($3::uuid is null or execution_id >= $3)
  and ($4::text is null or runbook_id = $4)
  and ($5::text is null or status = $5)
  and ($6::text is null or case when status = 'cancelled' then 'cancelled' else reason end = $6)
  and ($7::text is null or event_id = $7)
  and ($8::text is null or mode = $8)
  and ($9::boolean is null or is_degraded = $9)
  and ($10::text is null or started_by = $10)
  and ($11::text is null or instead_of = $11)
order by execution_id desc limit $12;

-- name: run
-- One run whole.
select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status,
       event_source, event_id, event_type, event_time, started_at, finished_at, payload, steps, error, waits,
       reason, detail, ended_by, is_degraded, started_by, instead_of, comparison
from records_read.runs_v1
where execution_id = $1 and ($2::text is null or company_id = $2);

-- name: run_state
-- Whose a run is, of which runbook, and whether it has ended.
select execution_id, company_id, runbook_id, status, finished_at
from records_read.runs_v1
where execution_id = $1 and ($2::text is null or company_id = $2);

-- name: suppressed_runs
-- Which of these firings of a runbook its breaker held back.
select execution_id from records_read.runs_v1
where execution_id = any($3::uuid[]) and company_id = $1 and runbook_id = $2
  and status = 'skipped' and reason = 'breaker_open';

-- name: open_run
-- A run that the engine works on and that may have no record yet.
select execution_id, company_id, runbook_id, runbook_name, started_at, 'running' as status,
       null::timestamptz as finished_at
from engine_read.open_v1
where execution_id = $1 and ($2::text is null or company_id = $2);

-- name: history_page
-- The history of one run after a sequence number, in order.
select seq, type, at, data from engine_read.history_v1
where execution_id = $1 and seq > $2 order by seq limit $3;
