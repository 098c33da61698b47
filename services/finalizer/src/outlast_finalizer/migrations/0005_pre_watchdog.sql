-- Runs that go on without a word. Earlier releases leave all of it alone: a run that they end may still have a `check_at`.
alter table records.runs
    add column told_at timestamptz,
    add column check_at timestamptz,
    add column asked_at timestamptz,
    add column is_slotted boolean not null default false;
update records.runs set told_at = coalesce(started_at, now()), check_at = now() where status = 'running';
create index runs_to_check on records.runs (lane, check_at) where check_at is not null;
