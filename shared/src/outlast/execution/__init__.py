"""What a run means: state, decide, evolve, outstanding, status. Pure, and shared by every mode and service."""
