"""Faults on the real system: processes that really die, at named points and at random moments."""
