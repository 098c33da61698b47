-- Closed, and still holding a slot: none, or something is wrong. Without it the look for them walks the whole table.
create index dispatches_leaked on dispatch.dispatches (lane, execution_id)
    where slot_taken_at is not null and slot_freed_at is null and closed_at is not null;
-- Nobody asks any more who had a slot last: the gate names whom it believes to hold one, and who does not is released.
drop index dispatch.dispatches_freed;
