-- What was held for the engine is let go as what was deferred: company by company, oldest first.
create index dispatches_held_by_company on dispatch.dispatches (company_id, execution_id) where status = 'held';
