"""The timer scheduler's decisions, pure."""
