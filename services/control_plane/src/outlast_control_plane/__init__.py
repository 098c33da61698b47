"""Runbooks, runs and identities over HTTP."""
