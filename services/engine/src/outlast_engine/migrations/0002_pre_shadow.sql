-- Shadow runs leave `open` only when their comparison is stored: until then their Recorded is somebody's mistake.
alter table engine.open
    add column mode text not null default 'workflow',
    add column is_compared boolean not null default false;
