-- Companies and what they own. Every table of a company's has row-level security, forced on the owner too:
-- a session sees the company that its setting `outlast.company` names, none where it names none, and all with '*'
-- (our own work for other services, which names companies row by row).

create table companies (
    id text primary key check (id ~ '^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$'),
    name text not null check (length(name) between 1 and 200),
    created_at timestamptz not null
);

create table users (
    company_id text not null references companies,
    id text not null check (length(id) between 1 and 200),
    name text not null,
    email text not null default '',
    primary key (company_id, id)
);

create table teams (
    company_id text not null references companies,
    id text not null check (length(id) between 1 and 200),
    name text not null check (length(name) between 1 and 200),
    created_at timestamptz not null,
    primary key (company_id, id),
    unique (company_id, name)
);

create table team_members (
    company_id text not null,
    team_id text not null,
    user_id text not null,
    primary key (company_id, team_id, user_id),
    foreign key (company_id, team_id) references teams on delete cascade,
    foreign key (company_id, user_id) references users on delete cascade
);

create table assets (
    company_id text not null references companies,
    id text not null check (length(id) between 1 and 200),
    name text not null check (length(name) between 1 and 500),
    class text not null check (class in ('host', 'repository', 'dependencies', 'web', 'container', 'other')),
    criticality text not null check (criticality in ('info', 'low', 'medium', 'high', 'critical')),
    owning_team_id text,
    attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (company_id, id),
    unique (company_id, name),
    foreign key (company_id, owning_team_id) references teams
);

create table findings (
    company_id text not null references companies,
    id text not null check (length(id) between 1 and 200),
    asset_id text not null,
    tool text not null,
    fingerprint text not null,
    rule_id text not null,
    title text not null,
    description text not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    reported_severity text not null check (reported_severity in ('info', 'low', 'medium', 'high', 'critical')),
    status text not null check (status in
        ('open', 'assigned', 'in_progress', 'resolved', 'closed', 'accepted', 'false_positive')),
    tags text[] not null default '{}',
    assignees text[] not null default '{}',
    teams text[] not null default '{}',
    location_path text not null default '',
    location_line int,
    attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
    sla_deadline timestamptz,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    updated_at timestamptz not null,
    version int not null default 1,
    primary key (company_id, id),
    unique (company_id, asset_id, tool, fingerprint),
    foreign key (company_id, asset_id) references assets
);
create index findings_by_status on findings (company_id, status, id);

create table finding_history (
    id bigint generated always as identity primary key,
    company_id text not null,
    finding_id text not null,
    at timestamptz not null,
    actor_kind text not null check (actor_kind in ('user', 'service', 'import', 'runbook')),
    actor_id text not null,
    actor_name text not null,
    execution_id text not null default '',
    change text not null check (change in ('created', 'status', 'severity', 'tags', 'assigned', 'comment')),
    old_value text not null default '',
    new_value text not null default '',
    comment text not null default '',
    foreign key (company_id, finding_id) references findings on delete cascade
);
create index finding_history_by_finding on finding_history (company_id, finding_id, id);

create table applied_operations (
    company_id text not null references companies,
    idempotency_key text not null check (length(idempotency_key) between 1 and 500),
    finding_id text not null,
    action text not null,
    result bytea not null,
    applied_at timestamptz not null,
    primary key (company_id, idempotency_key)
);

create table imports (
    company_id text not null references companies,
    id text not null,
    asset_id text not null,
    tool text not null,
    sha256 text not null,
    counts jsonb not null,
    created int not null,
    updated int not null,
    closed int not null,
    actor_id text not null,
    at timestamptz not null,
    primary key (company_id, id)
);

create table audit (
    id bigint generated always as identity primary key,
    company_id text not null,
    at timestamptz not null,
    actor_kind text not null,
    actor_id text not null,
    actor_name text not null,
    verb text not null,
    object text not null,
    detail jsonb not null default '{}'
);

do $$
declare
    name text;
    mine constant text :=
        'current_setting(''outlast.company'', true) in (%s, ''*'')';
begin
    foreach name in array array['companies', 'users', 'teams', 'team_members', 'assets', 'findings',
                                'finding_history', 'applied_operations', 'imports', 'audit'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy own_company on %I using (' || mine || ')', name,
                       case name when 'companies' then 'id' else 'company_id' end);
    end loop;
end $$;

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
