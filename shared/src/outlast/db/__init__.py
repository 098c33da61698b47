"""Postgres: pools, migrations, the fenced partition row, the outbox."""
