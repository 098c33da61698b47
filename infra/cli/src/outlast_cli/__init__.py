"""The outlast command."""
