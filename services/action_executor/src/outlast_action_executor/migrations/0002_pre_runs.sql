-- How inline runs ended, for whoever sends their start again. What they did on the way is in the claims.
-- A week a table, like the claims.
create table executor.runs (
    execution_id uuid primary key,
    finished bytea not null,
    outcome bytea,
    ended_at timestamptz not null default now()
) partition by range (execution_id);
create table executor.runs_default partition of executor.runs default;
