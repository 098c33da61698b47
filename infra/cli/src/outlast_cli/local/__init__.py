"""Tools that need no server: what a condition, a template, a runbook means, by the same code that the services run."""
