"""Runs actions, each claimed before it is called."""
