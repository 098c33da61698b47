"""Outlast: event-driven runbook automation that does not lose its place."""
