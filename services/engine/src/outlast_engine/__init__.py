"""One execution's history to its next events."""
