"""Runbooks, runs, identities and events over HTTP: what people and programs ask of Outlast."""
