"""The events that happened to one execution: stored for ever, the truth about it."""
