"""Run records: what happened to each execution."""
