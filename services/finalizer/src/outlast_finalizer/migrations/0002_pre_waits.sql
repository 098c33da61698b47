-- What a run waits for, as JSON; null while it does not wait. Earlier releases leave it alone.
alter table records.runs add column waits bytea;

create or replace view records_read.runs_v1 as
    select execution_id, company_id, runbook_id, runbook_name, runbook_version, definition_sha256, mode, status,
           event_source, event_id, event_type, event_time, started_at, finished_at, lane, payload, steps, error,
           reason, chain, waits
    from records.runs;
