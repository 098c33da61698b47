-- name: incarnate
-- Begin a life of an ordinal: claims of its earlier lives are dead from now on.
insert into instances (ordinal, incarnation) values ($1, 1)
on conflict (ordinal) do update set incarnation = instances.incarnation + 1, started_at = now()
returning incarnation;

-- name: look_up
-- Every attempt recorded of these operations; a claim is dead when its time or its claimant's life is over.
select a.n, c.attempt, c.ordinal, c.incarnation, c.takeovers, c.result, coalesce(c.succeeded, false) as succeeded,
       c.deadline <= now() or c.incarnation < coalesce(i.incarnation, 0) as is_dead,
       extract(epoch from c.deadline - now())::float8 as remaining_seconds
from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as a (execution_id, activity_id, operation, n)
join claims c using (execution_id, activity_id, operation)
left join instances i on i.ordinal = c.ordinal
order by a.n, c.attempt;

-- name: commit_group
-- Settle what is still claimed by this life ($1, $2), claim what nobody has claimed, record ends of runs that have
-- none; how many of each it was.
with settled as (
    update claims c set result = s.result, succeeded = s.is_success, settled_at = now()
    from unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::bytea[], $8::bool[])
        as s (execution_id, activity_id, operation, attempt, result, is_success)
    where c.execution_id = s.execution_id and c.activity_id = s.activity_id and c.operation = s.operation
      and c.attempt = s.attempt and c.ordinal = $1 and c.incarnation = $2 and c.result is null
    returning 1
), claimed as (
    insert into claims (execution_id, activity_id, operation, attempt, ordinal, incarnation, deadline, unknown_resolution)
    select w.execution_id, w.activity_id, w.operation, w.attempt, $1, $2, now() + w.seconds * interval '1 second',
           w.resolution
    from unnest($9::uuid[], $10::text[], $11::text[], $12::int[], $13::float8[], $14::text[])
        as w (execution_id, activity_id, operation, attempt, seconds, resolution)
    where exists (select from instances i where i.ordinal = $1 and i.incarnation = $2)
    on conflict do nothing
    returning 1
), ended as (
    insert into runs (execution_id, finished, outcome)
    select e.execution_id, e.finished, e.outcome
    from unnest($15::uuid[], $16::bytea[], $17::bytea[]) as e (execution_id, finished, outcome)
    on conflict do nothing
    returning 1
)
select (select count(*) from settled) as settled, (select count(*) from claimed) as claimed,
       (select count(*) from ended) as ended, now() as at;

-- name: look_up_runs
-- What is recorded of these inline runs: the end, or else the attempts that were claimed.
select a.execution_id, r.finished, r.outcome, c.activity_id, c.attempt
from unnest($1::uuid[]) as a (execution_id)
left join runs r using (execution_id)
left join claims c on c.execution_id = a.execution_id and r.execution_id is null
where r.execution_id is not null or c.execution_id is not null;

-- name: settled_at
-- Which of these attempts this life settled at that very instant.
select a.n from unnest($1::uuid[], $2::text[], $3::text[], $4::int[]) with ordinality
    as a (execution_id, activity_id, operation, attempt, n)
join claims c using (execution_id, activity_id, operation, attempt)
where c.ordinal = $5 and c.incarnation = $6 and c.settled_at = $7;

-- name: claimed_at
-- Which of these attempts this life claimed at that very instant.
select a.n from unnest($1::uuid[], $2::text[], $3::text[], $4::int[]) with ordinality
    as a (execution_id, activity_id, operation, attempt, n)
join claims c using (execution_id, activity_id, operation, attempt)
where c.ordinal = $5 and c.incarnation = $6 and c.claimed_at = $7;

-- name: incarnation
-- The present life of an ordinal.
select incarnation from instances where ordinal = $1;

-- name: take_over
-- Replace claims that are still as they were seen, and unsettled, by claims of this life ($1, $2).
update claims c set ordinal = $1, incarnation = $2, claimed_at = now(), takeovers = c.takeovers + 1,
    deadline = now() + t.seconds * interval '1 second', unknown_resolution = coalesce(t.resolution, c.unknown_resolution)
from unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::float8[], $8::text[], $9::text[], $10::bigint[], $11::int[])
    with ordinality as t (execution_id, activity_id, operation, attempt, seconds, resolution, ordinal, incarnation,
                          takeovers, n)
where c.execution_id = t.execution_id and c.activity_id = t.activity_id and c.operation = t.operation
  and c.attempt = t.attempt and c.ordinal = t.ordinal and c.incarnation = t.incarnation
  and c.takeovers = t.takeovers and c.result is null
  and exists (select from instances i where i.ordinal = $1 and i.incarnation = $2)
returning t.n;
