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
-- The executions that new events cause.
insert into dispatches (execution_id, company_id, source, event_id, runbook_id, runbook_name, runbook_version,
    definition_sha256, mode, lane, status, received_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
    $9::text[], $10::int[], $11::text[], $12::timestamptz[]);

-- name: close_dispatches
-- Their run records are safe.
update dispatches set status = 'settled', version = version + 1, settled_at = coalesce(settled_at, $2), closed_at = $2
where execution_id = any($1::uuid[]) and closed_at is null;

-- name: load_starts
-- The whole start of each of these executions that is not closed.
select d.execution_id, d.company_id, d.source, d.event_id, d.runbook_id, d.runbook_name, d.runbook_version,
    d.definition_sha256, d.mode, d.lane, e.event_type, e.event_time, e.subject, e.payload, e.traceparent, e.chain,
    f.body as definition
from dispatches d
join events e using (company_id, source, event_id)
join definitions f on f.sha256 = d.definition_sha256
where d.execution_id = any($1::uuid[]) and d.closed_at is null and d.status in ('sent', 'started')
order by d.execution_id;

-- name: unclosed_page
-- Accepted and not recorded executions of one lane after a given id, in order.
select execution_id from dispatches
where lane = $1 and closed_at is null and execution_id > $2::uuid
order by execution_id limit $3;
