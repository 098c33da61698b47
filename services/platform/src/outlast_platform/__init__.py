"""Findings, assets, teams: REST in, domain events out."""
