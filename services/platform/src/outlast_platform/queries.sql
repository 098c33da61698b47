-- name: lookup
-- Findings and assets of any companies, as runbooks see them; a row a request, in order. The asset is the one named,
-- else the finding's.
select
    case when f.id is not null then (select row_to_json(shown) from (select
        f.id, f.asset_id, f.title, f.description, f.severity, f.status, f.tags, f.assignees, f.teams, f.tool,
        f.rule_id, f.fingerprint, (select row_to_json(l) from (select f.location_path as path, f.location_line as line) l)
        as location, f.attributes, f.sla_deadline, f.first_seen, f.last_seen, f.updated_at) shown)::text end as finding,
    case when a.id is not null then (select row_to_json(shown) from (select
        a.id, a.name, a.class, a.criticality, a.attributes,
        case when t.id is not null then (select row_to_json(o) from (select t.id, t.name) o) end as owning_team,
        a.created_at, a.updated_at) shown)::text end as asset
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as r (company_id, finding_id, asset_id, n)
left join findings f on f.company_id = r.company_id and f.id = r.finding_id
left join assets a on a.company_id = r.company_id and a.id = coalesce(r.asset_id, f.asset_id)
left join teams t on t.company_id = a.company_id and t.id = a.owning_team_id
order by r.n;

-- name: put_company
-- Create or rename a company; true if it is new.
insert into companies (id, name, created_at) values ($1, $2, $3)
on conflict (id) do update set name = excluded.name
returning (xmax = 0) as is_new;

-- name: company
-- One company.
select id, name, created_at from companies where id = $1;

-- name: companies_page
-- Companies after an id, in order; one only, for who belongs to one.
select id, name, created_at from companies where id > $1 and ($3::text is null or id = $3) order by id limit $2;

-- name: put_team
-- Create or rename a team; true if it is new.
insert into teams (company_id, id, name, created_at) values ($1, $2, $3, $4)
on conflict (company_id, id) do update set name = excluded.name
returning (xmax = 0) as is_new;

-- name: add_users
-- The users a team's members are; those who exist stay as they are.
insert into users (company_id, id, name) select $1, u, u from unnest($2::text[]) as u
on conflict do nothing;

-- name: remove_members
-- Members of a team that are not in the list any more.
delete from team_members where company_id = $1 and team_id = $2 and user_id <> all($3::text[]);

-- name: add_members
-- Make users members of a team.
insert into team_members (company_id, team_id, user_id) select $1, $2, u from unnest($3::text[]) as u
on conflict do nothing;

-- name: teams_page
-- Teams after an id with their members, in order. Of one id only, where it is given.
select t.id, t.name, t.created_at,
    array(select m.user_id from team_members m where m.company_id = t.company_id and m.team_id = t.id
          order by m.user_id) as members
from teams t
where t.company_id = $1 and t.id > $2 and ($4::text is null or t.id = $4)
order by t.id limit $3;

-- name: assets_page
-- Assets after an id, in order; of one id, or of some owning teams only, where given.
select a.id, a.name, a.class, a.criticality, a.attributes::text as attributes, a.created_at, a.updated_at,
    t.id as team_id, t.name as team_name
from assets a left join teams t on t.company_id = a.company_id and t.id = a.owning_team_id
where a.company_id = $1 and a.id > $2
  and ($4::text is null or a.id = $4) and ($5::text[] is null or a.owning_team_id = any($5))
order by a.id limit $3;

-- name: asset_for_update
-- One asset, locked.
select id, name, class, criticality, owning_team_id, attributes::text as attributes
from assets where company_id = $1 and id = $2 for update;

-- name: asset_by_name_for_update
-- The asset of this name, locked.
select id from assets where company_id = $1 and name = $2 for update;

-- name: insert_asset
-- A new asset, unless the id or the name is taken: then no row.
insert into assets (company_id, id, name, class, criticality, owning_team_id, attributes, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $8)
on conflict do nothing returning id;

-- name: update_asset
-- An asset's members as they are now.
update assets set name = $3, class = $4, criticality = $5, owning_team_id = $6, attributes = $7::text::jsonb,
    updated_at = $8
where company_id = $1 and id = $2;

-- name: findings_page
-- Findings after an id, in order; narrowed by status, severity, tool, tag, asset, text, owning teams where given.
select f.id, f.asset_id, f.title, f.description, f.severity, f.status, f.tags, f.assignees, f.teams, f.tool,
    f.rule_id, f.fingerprint, f.location_path, f.location_line, f.attributes::text as attributes, f.sla_deadline,
    f.first_seen, f.last_seen, f.updated_at, f.version
from findings f
where f.company_id = $1 and f.id > $2
  and ($4::text is null or f.id = $4)
  and ($5::text is null or f.status = $5)
  and ($6::text is null or f.severity = $6)
  and ($7::text is null or f.tool = $7)
  and ($8::text is null or $8 = any(f.tags))
  and ($9::text is null or f.asset_id = $9)
  and ($10::text is null or strpos(lower(f.title), lower($10)) > 0)
  and ($11::text[] is null or f.teams && $11 or exists (
      select 1 from assets a
      where a.company_id = f.company_id and a.id = f.asset_id and a.owning_team_id = any($11)))
order by f.id limit $3;

-- name: lock_findings
-- What operations and edits change of findings, locked in one order; any companies.
select f.company_id, f.id, f.asset_id, f.severity, f.status, f.tags, f.assignees, f.teams, f.title
from findings f join unnest($1::text[], $2::text[]) as r (company_id, id)
    on f.company_id = r.company_id and f.id = r.id
order by f.company_id, f.id
for update of f;

-- name: update_findings
-- Write back what was locked.
update findings f set severity = r.severity, status = r.status,
    tags = array(select jsonb_array_elements_text(r.tags::jsonb)),
    assignees = array(select jsonb_array_elements_text(r.assignees::jsonb)),
    teams = array(select jsonb_array_elements_text(r.teams::jsonb)),
    updated_at = $8, version = f.version + 1
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    as r (company_id, id, severity, status, tags, assignees, teams)
where f.company_id = r.company_id and f.id = r.id;

-- name: insert_history
-- What happened to findings, in order.
insert into finding_history (company_id, finding_id, at, actor_kind, actor_id, actor_name, execution_id,
    change, old_value, new_value, comment)
select company_id, finding_id, $10, actor_kind, actor_id, actor_name, execution_id, change, old_value, new_value, comment
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $11::text[]) with ordinality
    as r (company_id, finding_id, actor_kind, actor_id, actor_name, execution_id, change, old_value, new_value, comment, n)
order by n;

-- name: history_page
-- A finding's history after an id, in order.
select id, at, actor_kind, actor_id, actor_name, execution_id, change, old_value, new_value, comment
from finding_history where company_id = $1 and finding_id = $2 and id > $3 order by id limit $4;

-- name: claim_operations
-- Take idempotency keys; returns those that nobody has taken before. Waits for a transaction that holds one.
insert into applied_operations (company_id, idempotency_key, finding_id, action, result, applied_at)
select company_id, key, finding_id, action, '', $5
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as r (company_id, key, finding_id, action)
order by company_id, key
on conflict do nothing
returning company_id, idempotency_key;

-- name: applied_operations
-- The recorded results of these keys.
select o.company_id, o.idempotency_key, o.finding_id, o.action, o.result
from applied_operations o join unnest($1::text[], $2::text[]) as r (company_id, key)
    on o.company_id = r.company_id and o.idempotency_key = r.key;

-- name: record_operations
-- The results of the keys taken in this transaction.
update applied_operations o set result = r.result
from unnest($1::text[], $2::text[], $3::bytea[]) as r (company_id, key, result)
where o.company_id = r.company_id and o.idempotency_key = r.key;

-- name: release_operations
-- Give back keys whose operation came to nothing, so that a later try may apply it.
delete from applied_operations o using unnest($1::text[], $2::text[]) as r (company_id, key)
where o.company_id = r.company_id and o.idempotency_key = r.key;

-- name: lock_scan_scope
-- One import at a time for a company, tool and target.
select pg_advisory_xact_lock(hashtextextended($1, 0));

-- name: findings_of_scan
-- What is known of one asset from one tool, locked.
select id, fingerprint, title, description, rule_id, severity, reported_severity, status,
    location_path, location_line, attributes::text as attributes
from findings where company_id = $1 and asset_id = $2 and tool = $3
order by id for update;

-- name: insert_findings
-- New findings of one scan.
insert into findings (company_id, id, asset_id, tool, fingerprint, rule_id, title, description, severity,
    reported_severity, status, tags, location_path, location_line, attributes, first_seen, last_seen, updated_at)
select $1, r.id, $2, $3, r.fingerprint, r.rule_id, r.title, r.description, r.severity, r.severity, 'open',
    array(select jsonb_array_elements_text(r.tags::jsonb)), r.path, r.line, r.attributes::jsonb, $4, $4, $4
from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
    $13::int[], $14::text[])
    as r (id, fingerprint, rule_id, title, description, severity, tags, path, line, attributes);

-- name: update_scanned
-- Findings whose report differs from what was known.
update findings f set title = r.title, description = r.description, rule_id = r.rule_id, severity = r.severity,
    reported_severity = r.reported_severity, status = r.status, location_path = r.path, location_line = r.line,
    attributes = r.attributes::jsonb, last_seen = case when r.is_seen then $2 else f.last_seen end,
    updated_at = $2, version = f.version + 1
from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::int[], $12::text[], $13::bool[])
    as r (id, title, description, rule_id, severity, reported_severity, status, path, line, attributes, is_seen)
where f.company_id = $1 and f.id = r.id;

-- name: touch_findings
-- Findings that a scan saw again as they were.
update findings set last_seen = $2 where company_id = $1 and id = any($3::text[]);

-- name: insert_import
-- One report taken in.
insert into imports (company_id, id, asset_id, tool, sha256, counts, created, updated, closed, actor_id, at)
values ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9, $10, $11);

-- name: imports_page
-- Imports after an id, in order.
select id, asset_id, tool, sha256, counts::text as counts, created, updated, closed, actor_id, at
from imports where company_id = $1 and id > $2 order by id limit $3;

-- name: insert_audit
-- Who did what.
insert into audit (company_id, at, actor_kind, actor_id, actor_name, verb, object, detail)
values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb);
