"""Timers: says when a run's time has come."""
