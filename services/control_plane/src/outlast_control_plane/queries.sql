-- name: count_definitions
-- How many keys `runbooks.definitions` has.
select count(*) from runbooks;

-- name: count_producers
-- How many keys `producers` has.
select count(*) from producers;

-- name: count_identities
-- How many keys `identities` has.
select count(*) from identities;

-- name: definitions_page
-- Current definitions after a key, in order, to be published again.
select r.company_id, r.runbook_id, r.name, r.version, r.is_active, r.is_deleted, r.revision, v.sha256, v.document
from runbooks r join runbook_versions v using (company_id, runbook_id, version)
where (r.company_id, r.runbook_id) > ($1, $2)
order by r.company_id, r.runbook_id limit $3;

-- name: runbook
-- One runbook with the sha256 of its current version; deleted ones too.
select r.*, v.sha256, v.created_at as saved_at, v.author_id, v.author_name
from runbooks r join runbook_versions v using (company_id, runbook_id, version)
where r.company_id = $1 and r.runbook_id = $2;

-- name: lock_runbook
-- One runbook, held until the transaction ends, so that two saves follow each other.
select r.*, v.sha256, v.created_at as saved_at, v.author_id, v.author_name
from runbooks r join runbook_versions v using (company_id, runbook_id, version)
where r.company_id = $1 and r.runbook_id = $2 for update of r;

-- name: lock_runbook_name
-- Holds a name that may not have a row yet.
select pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 17));

-- name: runbooks_page
-- The runbooks of one company after an id, in order; those that were deleted are left out.
select r.*, v.sha256, v.created_at as saved_at, v.author_id, v.author_name
from runbooks r join runbook_versions v using (company_id, runbook_id, version)
where r.company_id = $1 and not r.is_deleted and r.runbook_id > $2
order by r.runbook_id limit $3;

-- name: runbooks_by_id
-- The runbooks of one company with these ids, deleted ones too.
select r.*, v.sha256, v.created_at as saved_at, v.author_id, v.author_name
from runbooks r join runbook_versions v using (company_id, runbook_id, version)
where r.company_id = $1 and r.runbook_id = any($2::text[]);

-- name: put_runbook
-- Make a runbook, or point it at a newer version.
insert into runbooks as r (company_id, runbook_id, name, version, is_active, revision)
values ($1, $2, $3, $4, $5, $6)
on conflict (company_id, runbook_id) do update set
    name = excluded.name, version = excluded.version, is_active = excluded.is_active,
    is_deleted = false, revision = excluded.revision, updated_at = now();

-- name: put_version
-- One immutable version.
insert into runbook_versions
    (company_id, runbook_id, version, author_id, author_name, sha256, document, source, source_format)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: next_version
-- The number after the last version that ever was.
select coalesce(max(version), 0) + 1 from runbook_versions where company_id = $1 and runbook_id = $2;

-- name: set_active
-- Switch a runbook on or off.
update runbooks set is_active = $3, revision = $4, updated_at = now() where company_id = $1 and runbook_id = $2;

-- name: delete_runbook
-- Take a runbook out of use; its versions stay, because runs refer to them.
update runbooks set is_deleted = true, is_active = false, revision = $3, updated_at = now()
where company_id = $1 and runbook_id = $2;

-- name: versions_page
-- The versions of a runbook before a number, newest first.
select version, author_id, author_name, created_at, sha256
from runbook_versions
where company_id = $1 and runbook_id = $2 and version < $3
order by version desc limit $4;

-- name: version
-- One version whole.
select version, author_id, author_name, created_at, sha256, document, source, source_format
from runbook_versions where company_id = $1 and runbook_id = $2 and version = $3;

-- name: identity_by_key
-- Who holds the key with this digest.
select id, key_sha256, name, company_id, role, scopes, is_revoked, revision
from identities where key_sha256 = $1;

-- name: identity
-- One identity.
select * from identities where id = $1;

-- name: identities_page
-- Identities after an id, of one company or of all.
select * from identities where ($1::text is null or company_id = $1) and id > $2 order by id limit $3;

-- name: put_identity
-- One identity. A key that is there already changes nothing.
insert into identities (id, key_sha256, name, company_id, role, scopes, revision, created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (key_sha256) do nothing;

-- name: revoke_identity
-- Never valid again.
update identities set is_revoked = true, revoked_at = now(), revision = $2 where id = $1;

-- name: producer
-- One producer of domain events, locked.
select * from producers where name = $1 for update;

-- name: producers_page
-- Producers after a name, in order.
select * from producers where name > $1 order by name limit $2;

-- name: put_producer
-- Make a producer, or say anew for whom it may speak.
insert into producers (name, topic, companies, revision) values ($1, $2, $3, $4)
on conflict (name) do update set
    companies = excluded.companies, is_revoked = false, revision = excluded.revision, updated_at = now();

-- name: revoke_producer
-- Its messages are dead letters from now on.
update producers set is_revoked = true, revision = $2, updated_at = now() where name = $1;

-- name: accept_events
-- Note these events; returns the positions of those that were not known.
insert into accepted_events (company_id, source, event_id)
select $1, e.source, e.event_id from unnest($2::text[], $3::text[]) as e (source, event_id)
order by e.source, e.event_id
on conflict do nothing
returning source, event_id;

-- name: lock_idempotency_key
-- Two requests with one key follow each other.
select pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 23));

-- name: idempotent_answer
-- What was answered to this key.
select request_sha256, status, body from idempotency_keys where identity_id = $1 and key = $2;

-- name: keep_idempotent_answer
-- Answer the same to the same key from now on.
insert into idempotency_keys (identity_id, key, request_sha256, status, body) values ($1, $2, $3, $4, $5);

-- name: lanes
-- How many lanes there are, if that was ever asked for.
select count from lanes where topic = $1;

-- name: put_lanes
-- Keep the number of lanes; the first that was kept stays.
insert into lanes as l (topic, count) values ($1, $2)
on conflict (topic) do update set count = l.count
returning count;

-- name: add_audit
-- One line of the audit log.
insert into audit (company_id, identity_id, identity_name, verb, object, detail) values ($1, $2, $3, $4, $5, $6);

-- name: prune_idempotency_keys
-- Forget answers that nobody will ask for again.
delete from idempotency_keys where created_at < now() - make_interval(days => $1);

-- name: prune_accepted_events
-- Forget events that the topic has forgotten too.
delete from accepted_events where accepted_at < now() - make_interval(days => $1);
