-- Whether the durable double of a shadowed run is compared with it: until then the walk after a loss asks about it.
-- The runs of before are left as they are; so nothing is rewritten.
alter table dispatch.dispatches add column is_compared boolean not null default true;
alter table dispatch.dispatches alter column is_compared set default false;
create index dispatches_doubles on dispatch.dispatches (lane, execution_id)
    where mode = 'shadow' and status = 'settled' and not is_compared;
