"""The finalizer's decisions, pure."""
