"""The statements of queries.sql by name."""

from outlast.db.queries import load_queries

QUERIES = load_queries("outlast_control_plane")
