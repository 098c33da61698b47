"""Which runbooks an event fires: the index. Pure."""
