"""What is decided here without I/O: what a save changes, what a run's history says of its steps."""
