-- What schedules have started that has not ended: a firing may be skipped for it.
create index dispatches_scheduled on dispatch.dispatches (company_id, runbook_id)
    where source = 'outlast/timer_scheduler' and settled_at is null;
