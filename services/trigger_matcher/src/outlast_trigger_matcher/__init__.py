"""Domain events to dispatches: which runbooks fire."""
