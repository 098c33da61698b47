-- Runs that an event caused, and what is asked of them by the event.
create index runs_by_event on records.runs (company_id, event_id);
