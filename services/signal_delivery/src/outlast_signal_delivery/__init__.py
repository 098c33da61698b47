"""Signals to runs: taken in over HTTP, delivered until they are answered."""
