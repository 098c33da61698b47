-- Runbooks and their versions, who may call, who may speak, what was accepted, what is to be published.

create table runbooks (
    company_id text not null check (company_id <> ''),
    runbook_id text not null check (runbook_id <> ''),
    name text not null,
    version int not null check (version >= 1),
    is_active boolean not null default false,
    is_deleted boolean not null default false,
    revision bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (company_id, runbook_id),
    check (not (is_deleted and is_active))
);

create table runbook_versions (
    company_id text not null,
    runbook_id text not null,
    version int not null check (version >= 1),
    author_id text not null,
    author_name text not null,
    created_at timestamptz not null default now(),
    sha256 text not null check (length(sha256) = 64),
    document bytea not null,
    source bytea not null,
    source_format text not null check (source_format in ('yaml', 'json')),
    primary key (company_id, runbook_id, version)
);

-- What ran is never edited: a version is written once.
create function versions_are_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'a saved version of a runbook is immutable' using errcode = 'check_violation';
end $$;
create trigger versions_are_immutable before update or delete on runbook_versions
    for each row execute function versions_are_immutable();

create table identities (
    id text primary key,
    key_sha256 text not null unique check (length(key_sha256) = 64),
    name text not null,
    company_id text not null default '',
    role text not null check (role in
        ('remediation_owner', 'soc_analyst', 'security_engineer', 'platform_administrator', 'service')),
    scopes text[] not null default '{}',
    is_revoked boolean not null default false,
    revision bigint not null,
    created_at timestamptz not null default now(),
    created_by text not null default '',
    revoked_at timestamptz,
    check (company_id <> '' or role in ('platform_administrator', 'service'))
);
create index identities_by_company on identities (company_id, id);

create table producers (
    name text primary key check (name <> ''),
    topic text not null,
    companies text[] not null check (cardinality(companies) > 0),
    is_revoked boolean not null default false,
    revision bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- One counter a compacted topic; its row is locked by every change, so revisions are in commit order.
create table compacted_topics (
    topic text primary key,
    revision bigint not null default 0,
    topic_id text not null default ''
);

-- An event is known by (company, source, id). Kept as long as the topic keeps the event.
create table accepted_events (
    company_id text not null,
    source text not null,
    event_id text not null,
    accepted_at timestamptz not null default now(),
    primary key (company_id, source, event_id)
);
create index accepted_events_by_age on accepted_events (accepted_at);

create table idempotency_keys (
    identity_id text not null,
    key text not null,
    request_sha256 text not null,
    status int not null,
    body bytea not null,
    created_at timestamptz not null default now(),
    primary key (identity_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

create table audit (
    sequence bigserial primary key,
    at timestamptz not null default now(),
    company_id text not null,
    identity_id text not null,
    identity_name text not null,
    verb text not null,
    object text not null,
    detail bytea not null
);
create index audit_by_company on audit (company_id, sequence);

create table outbox (
    id bigserial primary key,
    topic text not null,
    partition int,
    key bytea,
    value bytea,
    headers bytea,
    created_at timestamptz not null default now(),
    published_topic_id text,
    published_at timestamptz,
    check ((published_topic_id is null) = (published_at is null))
);
create index outbox_unpublished on outbox (id) where published_topic_id is null;
create table outbox_topics (
    topic text primary key,
    topic_id text not null
);
