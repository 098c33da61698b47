-- What holds a firing back, the three modes, and what people order: more of the dispatch row, and the windows' entries.

alter table dispatch.dispatches
    add column generation int not null default 0,
    add column started_by text not null default '',
    add column instead_of text not null default '',
    -- What it asks the gate, as JSON: windows and slot with their rendered keys. Null where nothing guards it.
    add column guard bytea,
    add column detail text not null default '',
    add column ended_by text not null default '',
    -- When it came to its status.
    add column changed_at timestamptz not null default now(),
    add column asked_at timestamptz,
    add column expires_at timestamptz,
    -- The last lifecycle message that moved its slot, the `resuming` that is not answered, and the one that was.
    add column slot_seq bigint not null default 0,
    add column resuming_seq bigint not null default 0,
    add column granted_seq bigint not null default 0,
    add column is_waiting boolean not null default false,
    -- The order to cancel it, as it is passed on.
    add column cancel bytea,
    -- What was decided about a suppressed firing, and whether it was carried out.
    add column answer text check (answer in ('run', 'let_go')),
    add column answered_by text not null default '',
    add column is_answered boolean not null default false;

-- A firing is run once; one that was suppressed may be run once more, as an execution that names it.
alter table dispatch.dispatches drop constraint dispatches_company_id_source_event_id_runbook_id_key;
create unique index dispatches_firing
    on dispatch.dispatches (company_id, source, event_id, runbook_id, instead_of);

-- What counts against a company's limit.
create index dispatches_running on dispatch.dispatches (company_id)
    where status = 'sent' and closed_at is null and not is_waiting;
-- What is accepted and not sent, by runbook: to be held back when the runbook is.
create index dispatches_unsent on dispatch.dispatches (lane, company_id, runbook_id, execution_id)
    where status in ('deferred', 'held', 'requested', 'queued');
create index dispatches_deferred on dispatch.dispatches (company_id, execution_id) where status = 'deferred';
create index dispatches_held on dispatch.dispatches (lane, execution_id) where status = 'held';
create index dispatches_requested on dispatch.dispatches (lane, asked_at) where status = 'requested';
create index dispatches_resuming on dispatch.dispatches (lane, asked_at) where resuming_seq > 0;
-- The queue of each key, first come first served, and who leaves it unserved.
create index dispatches_queue
    on dispatch.dispatches (lane, company_id, runbook_id, concurrency_key, received_at, execution_id)
    where status = 'queued';
create index dispatches_expiring on dispatch.dispatches (lane, expires_at) where status = 'queued';
-- Who had a slot of a key and has it no more, the latest last: what the gate may not have heard.
create index dispatches_freed
    on dispatch.dispatches (company_id, runbook_id, concurrency_key, slot_freed_at) where slot_freed_at is not null;
create index dispatches_suppressed on dispatch.dispatches (company_id, runbook_id, execution_id)
    where status = 'suppressed';
create index dispatches_answered on dispatch.dispatches (lane, execution_id) where answer = 'run' and not is_answered;
drop index dispatch.dispatches_admitted;

-- Who was admitted in a window, by key; kept until nothing that is still to come can be counted against it.
create table dispatch.admissions (
    company_id text not null,
    runbook_id text not null,
    window_key text not null,
    at timestamptz not null,
    execution_id uuid not null,
    until timestamptz not null,
    primary key (company_id, runbook_id, window_key, at, execution_id)
);
create index admissions_over on dispatch.admissions (until);

-- One row a runbook whose admissions are decided: whoever decides holds it, wherever the runbook's lane is read.
create table dispatch.guarded (
    company_id text not null,
    runbook_id text not null,
    primary key (company_id, runbook_id)
);
