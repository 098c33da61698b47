-- Circuit breakers: what counts, who reset them, and what is published of them. A breaker that never counted has no row.
create table records.breakers (
    company_id text not null,
    runbook_id text not null,
    generation int not null default 0,
    failures int not null default 0,
    tripped_at timestamptz,
    revision bigint not null default 0,
    primary key (company_id, runbook_id)
) with (fillfactor = 50);

-- Every reset, by the id of its command: the same again changes nothing.
create table records.resets (
    command_id text primary key,
    company_id text not null,
    runbook_id text not null,
    reset_by text not null,
    at timestamptz not null,
    reason text not null
);

create table records.outbox (
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
create index outbox_unpublished on records.outbox (id) where published_topic_id is null;
create table records.outbox_topics (
    topic text primary key,
    topic_id text not null
);
create table records.compacted_topics (
    topic text primary key,
    revision bigint not null default 0,
    topic_id text not null default ''
);
